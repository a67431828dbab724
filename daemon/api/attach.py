"""The endpoint that joins a client to a container's first process, also before it starts."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import anyio
import msgspec

from daemon.api.answers import stream_type
from daemon.api.commands import send
from daemon.api.detach import parse_keys
from daemon.api.engine import Engine
from daemon.api.lookup import visible_container
from daemon.api.runs import Run
from daemon.api.streams import Joint
from daemon.http.messages import Answer, Hijack, RawStream, Request
from daemon.http.query import boolean, text
from events.errors import Conflict
from events.messages.container import RecordAccess
from events.projections.containers import Container
from handlers.exec.ports import LogQuery, Session

_CLOSE_S: Final = 5.0


class AttachToPaused(Conflict):
    """Nothing would come of it until it goes on."""

    def __init__(self, name: str) -> None:
        super().__init__(f"container {name} is paused, unpause the container before attach")


class AttachToRestarting(Conflict):
    """There is no process between two runs."""

    def __init__(self, name: str) -> None:
        super().__init__(f"container {name} is restarting, wait until the container is running")


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the client asked for."""

    logs: bool  # what was written before
    stream: bool  # what is written from now on
    stdin: bool
    stdout: bool
    stderr: bool
    keys: bytes  # to detach with


async def attach(engine: Engine, request: Request) -> Answer:
    """`POST /containers/{id}/attach`: position and run are fixed before the answer, so that no output is lost."""
    wishes = read_wishes(request)
    container = visible_container(engine.state, request.parameters["id"])
    if container.status == "paused":
        raise AttachToPaused(request.parameters["id"])
    if container.status == "restarting":
        raise AttachToRestarting(request.parameters["id"])
    attachment = Attachment(engine, request, container, wishes)
    await send(engine, request, RecordAccess(container=container.id, action="attach"))
    kind = stream_type(request.version, is_terminal=container.config.tty)
    return Hijack(content_type=kind, run=attachment.run)


def read_wishes(request: Request) -> Wishes:
    """Raises InvalidDetachKeys."""
    flags = {name: boolean(request.query, name) for name in ("logs", "stream", "stdin", "stdout", "stderr")}
    return Wishes(**flags, keys=parse_keys(text(request.query, "detachKeys")))


class Attachment:
    """One client at one run of a container."""

    def __init__(self, engine: Engine, request: Request, container: Container, wishes: Wishes) -> None:
        self._engine = engine
        self._request = request
        self._container = container
        self._wishes = wishes
        self._run = Run(engine, container)
        self._session: Session | None = None
        self._chunks = self._chosen_output()

    async def run(self, stream: RawStream) -> None:
        """Own the connection until the run has ended and all its output was delivered."""
        config, wishes = self._container.config, self._wishes
        has_input = wishes.stream and wishes.stdin and config.open_stdin
        joint = Joint(
            stream,
            self._request.wait_disconnect,
            source=self if has_input else None,
            keys=wishes.keys if has_input and config.tty else b"",
            eof_ends=config.stdin_once and not config.tty,
        )
        try:
            await joint.run(partial(self._output, joint))
        finally:
            await self._close()

    async def open(self) -> Session | None:
        """Stdin of the run, once it lives."""
        await self._run.until(lambda: self._run.is_live or self._run.has_ended())
        if self._session is None and self._run.is_live:
            self._session = await self._engine.streams.open_stdin(self._container.id)
        return self._session

    async def _close(self) -> None:
        if self._session is not None:
            with anyio.move_on_after(_CLOSE_S, shield=True):
                await self._session.aclose()

    async def detach(self) -> None:
        """Leave a trace, as Docker does."""
        command = RecordAccess(container=self._container.id, action="detach")
        await self._engine.dispatch(self._request.actor, command, command_id=self._engine.ids.new())

    def _chosen_output(self) -> AsyncIterator[bytes] | None:
        """What to send; the run and the place to begin are settled here, before the client has its answer."""
        wishes, container_id, streams = self._wishes, self._container.id, self._engine.streams
        framed = not self._container.config.tty
        query = LogQuery(stdout=wishes.stdout, stderr=wishes.stderr, follow=wishes.stream, framed=framed)
        if not wishes.stdout and not wishes.stderr:
            return None
        if not wishes.stream:
            return streams.output(container_id, query) if wishes.logs else None
        return streams.output_from(container_id, 0 if wishes.logs else streams.output_position(container_id), query)

    async def _output(self, joint: Joint) -> None:
        """Without output, stay for stdin until the end of the run."""
        if self._chunks is None:
            if self._wishes.stream:
                await self._run.ended()
            return
        async with anyio.create_task_group() as group:
            if self._wishes.stream:
                group.start_soon(self._stop_if_it_never_began, group.cancel_scope)
            await joint.send_all(self._chunks)
            group.cancel_scope.cancel()

    async def _stop_if_it_never_began(self, scope: anyio.CancelScope) -> None:
        """A run that never began has no output to end."""
        ending = await self._run.ended()
        if not ending.began:
            scope.cancel()
