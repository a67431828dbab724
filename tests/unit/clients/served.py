"""An engine's API on a real socket, over a log in memory; it can go away and come back with the same past."""

import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc

from clients.api import Client
from daemon.api.routes import routes
from daemon.http.server import Server
from daemon.http.sockets import Opening, open_listeners
from events.messages.container import ContainerAccessed
from tests.unit.daemon.api.support import Api
from tests.unit.daemon.http.serving import COMMON, NOW_NS
from tests.unit.daemon.story import Story


class Served:
    """`stop` cuts every connection, as a killed engine does."""

    def __init__(self, path: Path, tasks: anyio.abc.TaskGroup) -> None:
        self.path, self.story = path, Story()
        self.api = Api(self.story)
        self._tasks = tasks
        self._scope: anyio.CancelScope | None = None
        self._ended = anyio.Event()

    @property
    def host(self) -> str:
        return f"unix://{self.path}"

    @property
    def client(self) -> Client:
        return Client(self.host)

    async def start(self) -> None:
        listeners = open_listeners([self.host], Opening(), environment={})
        ended = self._ended = anyio.Event()
        server = Server(routes(self.api.engine), common_headers=COMMON, clock_ns=lambda: NOW_NS)

        async def serve(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            with anyio.CancelScope() as self._scope:
                try:
                    await server.serve(listeners, task_status=task_status)
                finally:
                    for listener in listeners:
                        listener.close()
                    ended.set()

        await self._tasks.start(serve)

    async def stop(self) -> None:
        if self._scope is not None:
            self._scope.cancel()
            await self._ended.wait()

    async def restart(self) -> None:
        """Everything that the engine held in memory is made anew; the log is the same."""
        await self.stop()
        self.api = Api(self.story)
        await self.start()

    async def tell(self, count: int = 1, action: str = "top") -> None:
        for _ in range(count):
            await self.story.tell("container/a", ContainerAccessed(container_id="a", action=action))


@asynccontextmanager
async def served():
    with tempfile.TemporaryDirectory(prefix="sl", dir="/tmp") as directory:
        async with anyio.create_task_group() as tasks:
            engine = Served(Path(directory) / "s.sock", tasks)
            await engine.start()
            with anyio.fail_after(60):
                yield engine
            tasks.cancel_scope.cancel()
