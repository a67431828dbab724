"""Endpoints about processes run in a container later."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Final

import anyio

from daemon.api.answers import as_json, empty, stream_type
from daemon.api.bodies import ExecBody, ExecStartBody, read_body
from daemon.api.commands import send
from daemon.api.containers import terminal_size
from daemon.api.detach import parse_keys
from daemon.api.engine import Engine
from daemon.api.lookup import find_exec
from daemon.api.streams import Joint
from daemon.http.messages import Answer, Hijack, RawStream, Request
from daemon.http.stdcopy import STDOUT, frame
from daemon.shapes.execs import inspection
from events.errors import Conflict, EngineError
from events.messages.container import RecordAccess
from events.messages.exec import CreateExec, ExecConfig, ResizeExec, StartExec
from events.projections.execs import Exec
from handlers.exec.ports import STDERR, Session

LOGGER = logging.getLogger(__name__)
_EXIT_S: Final = 10.0  # from the end of its output until its exit is in the log


class ExecHasRun(Conflict):
    """An exec runs once."""

    def __init__(self, exec_id: str) -> None:
        super().__init__(f"Error: Exec command {exec_id} has already run")


class ExecIsRunning(Conflict):
    """An exec runs once."""

    def __init__(self, exec_id: str) -> None:
        super().__init__(f"Error: Exec command {exec_id} is already running")


async def create_exec(engine: Engine, request: Request) -> Answer:
    """`POST /containers/{id}/exec`."""
    body = await read_body(request, ExecBody)
    if body.detach_keys:
        parse_keys(body.detach_keys)
    command = CreateExec(
        container=request.parameters["id"], config=exec_config(body, request.version), cmd=body.cmd, env=body.env
    )
    created, headers = await send(engine, request, command)
    return as_json({"Id": created.exec_id}, 201, headers)


def exec_config(body: ExecBody, version: tuple[int, int]) -> ExecConfig:
    """The part that isn't secret; the terminal's first size counts from 1.42 on."""
    return ExecConfig(
        user=body.user,
        privileged=body.privileged,
        tty=body.tty,
        attach_stdin=body.attach_stdin,
        attach_stdout=body.attach_stdout,
        attach_stderr=body.attach_stderr,
        detach_keys=body.detach_keys,
        working_dir=body.working_dir,
        console_size=body.console_size if version >= (1, 42) else (0, 0),
    )


async def start_exec(engine: Engine, request: Request) -> Answer:
    """`POST /exec/{id}/start`: detached, or joined to the process."""
    body = await read_body(request, ExecStartBody, optional=True)
    size = body.console_size if request.version >= (1, 42) else (0, 0)
    command = StartExec(exec_id=request.parameters["id"], detach=body.detach, tty=body.tty, console_size=size)
    if body.detach:
        _, headers = await send(engine, request, command)
        return empty(200, headers)
    process = find_exec(engine.state, command.exec_id)
    check_startable(process)
    kind = stream_type(request.version, is_terminal=body.tty)
    return Hijack(content_type=kind, run=ExecAttachment(engine, request, process, command).run)


def check_startable(process: Exec) -> None:
    """Raise ExecIsRunning, ExecHasRun while the answer can still be an error."""
    if process.status in ("starting", "running"):
        raise ExecIsRunning(process.id)
    if process.status == "exited":
        raise ExecHasRun(process.id)


async def resize_exec(engine: Engine, request: Request) -> Answer:
    """`POST /exec/{id}/resize`."""
    process = find_exec(engine.state, request.parameters["id"])
    height, width = terminal_size(request)
    _, headers = await send(engine, request, ResizeExec(exec_id=process.id, height=height, width=width))
    return empty(200, headers)


async def inspect_exec(engine: Engine, request: Request) -> Answer:
    """`GET /exec/{id}/json`."""
    return as_json(inspection(find_exec(engine.state, request.parameters["id"]), engine.keyring))


class ExecAttachment:
    """The client that starts an exec and stays with it."""

    def __init__(self, engine: Engine, request: Request, process: Exec, command: StartExec) -> None:
        self._engine = engine
        self._request = request
        self._process = process
        self._command = command
        self._session: Session | None = None

    async def run(self, stream: RawStream) -> None:
        """Own the connection: start the process, then carry bytes until it has ended."""
        config = self._process.config
        session = await self._engine.streams.exec_session(self._process.id)
        self._session = session
        joint = Joint(
            stream,
            self._request.wait_disconnect,
            source=self if config.attach_stdin else None,
            keys=parse_keys(config.detach_keys) if config.attach_stdin and config.tty else b"",
            eof_ends=True,
        )
        try:
            if await self._started(stream):
                await joint.run(partial(self._output, joint, session))
        finally:
            with anyio.move_on_after(_EXIT_S, shield=True):
                await session.aclose()

    async def open(self) -> Session | None:
        """It runs already."""
        return self._session

    async def detach(self) -> None:
        """Leave a trace, as Docker does."""
        attributes = {"execID": self._process.id}
        command = RecordAccess(container=self._process.container_id, action="exec_detach", attributes=attributes)
        await self._engine.dispatch(self._request.actor, command, command_id=self._engine.ids.new())

    async def _started(self, stream: RawStream) -> bool:
        """Whether it runs. A failure is told on the stream: the head of the answer is out; the exit code says more."""
        try:
            await send(self._engine, self._request, self._command)
        except EngineError as error:
            await self._tell(stream, f"{error}\r\n".encode())
            return False
        return True

    async def _tell(self, stream: RawStream, text: bytes) -> None:
        try:
            await stream.send(text if self._command.tty else frame(STDOUT, text))
            await stream.send_eof()
        except anyio.BrokenResourceError:
            LOGGER.debug("the client of a failed exec left")

    async def _output(self, joint: Joint, session: Session) -> None:
        await joint.send_all(self._chunks(session))
        with anyio.move_on_after(_EXIT_S), self._engine.watch(f"exec/{self._process.id}") as changed:
            while self._is_running():
                await changed()

    async def _chunks(self, session: Session) -> AsyncIterator[bytes]:
        config = self._process.config
        wanted = {STDOUT: config.attach_stdout or config.tty, STDERR: config.attach_stderr}
        output = session.output()
        try:
            async for number, data in output:
                if wanted.get(number):
                    yield data if self._command.tty else frame(number, data)
        finally:
            if isinstance(output, AsyncGenerator):
                await output.aclose()

    def _is_running(self) -> bool:
        """Clients ask for the exit code right after the end of the stream."""
        now = self._engine.state.execs.get(self._process.id)
        return now is not None and now.status != "exited"
