"""An engine in memory with its API on it: the real log, state and endpoints; commands and processes are scripted."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import anyio
import msgspec

from daemon.api.engine import Engine
from daemon.api.routes import routes
from daemon.feed import Feed
from daemon.http.messages import Answer, Hijack, Response, Route, StreamResponse
from daemon.http.router import Router
from daemon.past import Past
from daemon.shapes.information import Information
from events.base import Command
from events.checkpoints import Checkpoint
from events.container_lookup import find_container
from events.envelope import Actor, Cause
from events.errors import Conflict
from events.messages import container as c
from events.projections.state import State
from handlers.exec.ports import LogQuery, Session
from handlers.images.content import ContentStore
from handlers.images.drivers.http_registry import HttpRegistries
from handlers.images.drivers.transport import Transport
from handlers.images.registry_settings import RegistrySettings
from handlers.layers.drivers.container_files import HelperFiles
from handlers.layers.drivers.layer_tars import KeptTars
from handlers.progress import Progress
from tests.fakes.graph_driver import FakeGraphDriver
from tests.unit.daemon.story import CLIENT, LAYOUT, Story

FACTS = Information(
    engine_id="id",
    version="0.1.0",
    host_name="vm",
    kernel_version="6.18",
    operating_system="Debian",
    architecture="x86_64",
    go_architecture="amd64",
    cpus=2,
    memory_bytes=1 << 30,
    data_root="/data",
    storage_driver="overlay2",
)
Act = Callable[[Any], Awaitable[object]]


class Numbers:
    """Ids that count up."""

    def __init__(self) -> None:
        self._last = 0

    def new(self) -> str:
        self._last += 1
        return f"{self._last:064x}"


class Desk:
    """Takes commands: remembers each one, and does what the test has agreed on for its kind."""

    def __init__(self, story: Story) -> None:
        self.taken: list[Command[Any]] = []
        self.ids: list[str] = []
        self.causes: list[Cause] = []
        self.deadlines: list[int] = []
        self.on_begin: Callable[[str], None] = lambda command_id: None
        self._story = story
        self._acts: dict[type[Command[Any]], Act] = {c.RecordAccess: self._record_access}

    def agree(self, kind: type[Command[Any]], act: Act) -> None:
        self._acts[kind] = act

    async def request(
        self, command: Command[Any], *, command_id: str, cause: Cause, deadline_ns: int = 0
    ) -> tuple[Any, int]:
        self.taken.append(command)
        self.ids.append(command_id)
        self.causes.append(cause)
        self.deadlines.append(deadline_ns)
        act = self._acts.get(type(command))
        answer = await act(command) if act else None
        return answer, self._story.state.sequence

    async def begin(
        self,
        command: Command[Any],
        *,
        command_id: str,
        cause: Cause,
        deadline_ns: int = 0,
        on_reply: Callable[[], None] | None = None,
    ) -> "Begun":
        self.taken.append(command)
        self.ids.append(command_id)
        self.on_begin(command_id)
        act = self._acts.get(type(command))
        return Begun(self._story, act, command, on_reply or (lambda: None))

    async def _record_access(self, command: c.RecordAccess) -> None:
        container = find_container(self._story.state.containers, command.container)
        event = c.ContainerAccessed(container_id=container.id, action=command.action, attributes=command.attributes)
        await self._story.tell(f"container/{container.id}", event)


class Begun:
    """A command that runs when it is asked for its answer, or when the test has agreed that it ends."""

    def __init__(self, story: Story, act: Act | None, command: Command[Any], on_reply: Callable[[], None]) -> None:
        self._story, self._act, self._command = story, act, command
        self.closed = False
        on_reply()

    def close(self) -> None:
        self.closed = True

    async def answer(self) -> tuple[Any, int]:
        answer = await self._act(self._command) if self._act else None
        return answer, self._story.state.sequence


class MemorySession:
    """One process's streams; a test plays the process."""

    def __init__(self) -> None:
        self.received = b""
        self.ended = anyio.Event()
        self.closed = False
        self._send, self._receive = anyio.create_memory_object_stream[tuple[int, bytes]](16)

    async def write(self, stream: int, data: bytes) -> None:
        await self._send.send((stream, data))

    def end(self) -> None:
        self._send.close()

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        with self._receive:
            async for chunk in self._receive:
                yield chunk

    async def send(self, data: bytes) -> None:
        if self.closed:
            raise Conflict("the process has ended")
        self.received += data

    async def send_eof(self) -> None:
        self.ended.set()

    async def aclose(self) -> None:
        self.closed = True
        self._send.close()
        self._receive.close()


class MemoryStreams:
    """Output of containers: what is there, and what follows until the run ends."""

    def __init__(self) -> None:
        self.written: dict[str, list[bytes]] = {}
        self.over: dict[str, anyio.Event] = {}
        self.queries: list[LogQuery] = []
        self.sessions: dict[str, MemorySession] = {}
        self.announced: list[str] = []

    def write(self, container_id: str, data: bytes) -> None:
        self.written.setdefault(container_id, []).append(data)

    def end(self, container_id: str) -> None:
        self.over.setdefault(container_id, anyio.Event()).set()

    def output_position(self, container_id: str) -> int:
        return len(self.written.get(container_id, ()))

    async def output(self, container_id: str, query: LogQuery) -> AsyncIterator[bytes]:
        self.queries.append(query)
        for data in self.written.get(container_id, ()):
            yield data

    async def output_from(self, container_id: str, position: int, query: LogQuery) -> AsyncIterator[bytes]:
        self.queries.append(query)
        await self.over.setdefault(container_id, anyio.Event()).wait()
        for data in self.written.get(container_id, [])[position:]:
            yield data

    async def open_stdin(self, container_id: str) -> Session:
        return self.sessions[container_id]

    async def exec_session(self, exec_id: str) -> Session:
        self.announced.append(exec_id)
        return self.sessions[exec_id]


class FixedUsage:
    """Sizes that a test knows."""

    async def container_bytes(self, container_id: str) -> int:
        return 5

    async def directory_bytes(self, path: str) -> int:
        return 7


class WireRequest:
    """A request as the server would hand it over."""

    def __init__(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        actor: Actor = CLIENT,
    ) -> None:
        self.method = method
        self.path, _, query = target.partition("?")
        self.parameters: Mapping[str, str] = {}
        self.query: Mapping[str, list[str]] = parse_qs(query, keep_blank_values=True)
        given = headers or {}
        self.headers: Mapping[str, str] = ({"content-type": "application/json"} if body else {}) | dict(given)
        self.version = (1, 51)
        self.actor = actor
        self.wants_upgrade = False
        self.gone = anyio.Event()
        self._body = body

    async def read(self, limit_bytes: int = 4 * 1024 * 1024) -> bytes:
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    async def spool(self, path: Path) -> int:
        return await anyio.Path(path).write_bytes(self._body)

    async def wait_disconnect(self) -> None:
        await self.gone.wait()


class FixedSigning:
    """Always says the same."""

    public_key = "the public key"

    async def sign(self) -> Checkpoint:
        return Checkpoint(log="log-1", sequence=7, hash="ab", time_ns=5, key="k", signature="cd")


class Api:
    """Endpoints found by path, as a client would call them."""

    def __init__(self, story: Story, scratch: Path = Path("/nonexistent")) -> None:
        self.story = story
        self.desk = Desk(story)
        self.streams = MemoryStreams()
        self.processes: tuple[int, ...] = ()
        self.printed = ""
        self.asked_of_ps: list[Sequence[str]] = []
        self.progress = Progress()
        graph = FakeGraphDriver(scratch)
        self.engine = Engine(
            state=story.state,
            log=story.log,
            feed=Feed(story.log),
            checkpoints=FixedSigning(),
            past=Past(partial(_folded, story)),
            keyring=story.keyring,
            streams=self.streams,
            watcher=story.watcher,
            clock=story.clock,
            ids=Numbers(),
            requester=self.desk,
            progress=self.progress,
            registries=HttpRegistries(Transport(RegistrySettings)),
            usage=FixedUsage(),
            information=lambda: FACTS,
            layout=LAYOUT,
            processes=lambda _: self.processes,
            measure=lambda _: None,
            process_table=self._process_table,
            scratch=scratch,
            files=HelperFiles(graph, scratch),
            layer_tars=KeptTars(graph),
            image_content=ContentStore(scratch),
        )
        table: tuple[Route, ...] = routes(self.engine)
        self._router = Router(table, minimum=(1, 24), maximum=(1, 51))

    async def _process_table(self, arguments: Sequence[str]) -> str:
        self.asked_of_ps.append(arguments)
        return self.printed

    async def call(self, request: WireRequest) -> Answer:
        found = self._router.find(request.method, request.path)
        request.parameters, request.version = found.parameters, found.version
        return await found.endpoint(request)

    async def send(self, method: str, target: str, body: object = None, **headers: str) -> Response:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        answer = await self.call(WireRequest(method, target, raw, headers))
        assert isinstance(answer, Response)
        return answer

    async def get(self, target: str) -> Any:
        return msgspec.json.decode((await self.send("GET", target)).body)

    async def stream(self, method: str, target: str, **headers: str) -> StreamResponse:
        answer = await self.call(WireRequest(method, target, b"", headers))
        assert isinstance(answer, StreamResponse)
        return answer

    async def hijack(self, target: str, body: object = None) -> tuple[Hijack, WireRequest]:
        raw = b"" if body is None else json.dumps(body).encode()
        request = WireRequest("POST", target, raw)
        answer = await self.call(request)
        assert isinstance(answer, Hijack)
        return answer, request


async def _folded(story: Story, sequence: int) -> State:
    """The state right after an event, from the beginning."""
    state = State()
    if sequence:
        async for recorded in story.log.read(limit=sequence):
            state.apply((recorded,))
    return state


class Wire:
    """The client's end of a hijacked connection."""

    def __init__(self) -> None:
        self.sent = b""
        self.eof = anyio.Event()
        self.broken = False
        self._input, self._output = anyio.create_memory_object_stream[bytes](16)

    def type(self, data: bytes) -> None:
        self._input.send_nowait(data)

    def hang_up(self) -> None:
        self._input.close()

    async def receive(self) -> bytes:
        try:
            return await self._output.receive()
        except anyio.EndOfStream:
            return b""

    async def send(self, data: bytes) -> None:
        if self.broken:
            raise anyio.BrokenResourceError
        self.sent += data

    async def send_eof(self) -> None:
        self.eof.set()

    def close(self) -> None:
        self._input.close()
        self._output.close()


async def lines(answer: StreamResponse) -> list[Any]:
    """All objects of a stream that ends."""
    return [msgspec.json.decode(chunk) async for chunk in answer.chunks]
