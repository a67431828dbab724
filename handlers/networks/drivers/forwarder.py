"""Starts and directs the forwarder process (`forwarding/program.py`), which goes on when the engine doesn't."""

import contextlib
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import ByteStream

from events.errors import SystemFailure
from events.messages.network import PublishedPort
from handlers.kernel.calls import attempt
from handlers.networks.drivers.forwarding.program import CONTROL_DESCRIPTOR
from handlers.networks.errors import PortInUse

ANSWER_LIMIT_S = 10.0
_MAXIMUM_ANSWER_BYTES = 1 << 24
_ATTEMPTS = 3
_BACKLOG = 16
_ROOT = Path(__file__).resolve().parents[3]
# Isolated and without site-packages: the process sees the standard library and this package, nothing else.
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from handlers.networks.drivers.forwarding import program; program.main()"
)
_log = logging.getLogger(__name__)


class _Publish(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="publish"):
    container: str
    address: str
    forward: bool
    ports: list[tuple[str, int, str, int]]


class _Withdraw(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="withdraw"):
    container: str


class _List(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="list"):
    pass


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    ok: bool
    errno: int = 0
    reason: str = ""
    port: tuple[str, int, str, int] | None = None
    published: dict[str, list[tuple[str, int, str, int]]] = {}


class Forwarder:
    """The forwarder of one instance, controlled by `<exec-root>/forwarder.sock` (0600). Raises SystemFailure."""

    def __init__(self, exec_root: Path, *, forward: bool = True) -> None:
        self._path = exec_root / "forwarder.sock"
        self._errors = exec_root / "forwarder.log"
        self._forward = forward
        self._starting = anyio.Lock()
        self._pid = 0

    async def publish(self, container_id: str, address: str, ports: Sequence[PublishedPort]) -> None:
        """Hold ports for a container, all or none, in place of what it had. Raises PortInUse."""
        entries = [_entry(port) for port in ports]
        command = _Publish(container=container_id, address=address, forward=self._forward, ports=entries)
        answer = await self._ask_or_start(command)
        if answer.ok:
            return
        reason = os.strerror(answer.errno).lower() if answer.port else answer.reason
        if answer.port is None:
            raise SystemFailure(f"port forwarder: {reason}")
        raise PortInUse(_published(answer.port), address, reason)

    async def withdraw(self, container_id: str) -> None:
        """Give its ports back; absent is fine, also the whole process."""
        with contextlib.suppress(ConnectionError, FileNotFoundError):
            await self._ask(_Withdraw(container=container_id))

    async def published(self) -> dict[str, tuple[PublishedPort, ...]]:
        """What is held now, by container id."""
        try:
            answer = await self._ask(_List())
        except (ConnectionError, FileNotFoundError):
            return {}
        return {
            container_id: tuple(_published(entry) for entry in entries)
            for container_id, entries in answer.published.items()
        }

    async def gone(self) -> None:
        """Wait until there is no process, or until it ends."""
        with contextlib.suppress(ConnectionError, FileNotFoundError, anyio.BrokenResourceError, anyio.EndOfStream):
            async with self._connected() as stream:
                await stream.receive()
        async with self._starting:  # who starts the next one takes note of the end too
            await anyio.to_thread.run_sync(self._reap)

    async def _ask_or_start(self, command: msgspec.Struct) -> _Answer:
        for _ in range(_ATTEMPTS):
            try:
                return await self._ask(command)
            except (ConnectionError, FileNotFoundError):
                await self._start()
        raise SystemFailure("the port forwarder ends as soon as it is started; see forwarder.log below exec-root")

    async def _ask(self, command: msgspec.Struct) -> _Answer:
        try:
            with anyio.fail_after(ANSWER_LIMIT_S):
                async with self._connected() as stream:
                    await stream.send(msgspec.json.encode(command) + b"\n")
                    return msgspec.json.decode(await _line(stream), type=_Answer)
        except (anyio.BrokenResourceError, anyio.EndOfStream) as error:
            raise ConnectionResetError("the port forwarder ended") from error
        except TimeoutError as error:
            raise SystemFailure(f"the port forwarder didn't answer within {ANSWER_LIMIT_S:.0f} s") from error
        except (ConnectionError, FileNotFoundError):
            raise
        except OSError as error:
            raise SystemFailure(f"port forwarder: {error}") from error
        except msgspec.MsgspecError as error:
            raise SystemFailure(f"the port forwarder answers nonsense: {error}") from error

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[ByteStream]:
        stream = await anyio.connect_unix(self._path)
        async with stream:
            yield stream

    async def _start(self) -> None:
        async with self._starting:
            if not await self._answers():
                with attempt("start the port forwarder"):
                    await anyio.to_thread.run_sync(self._spawn)

    async def _answers(self) -> bool:
        try:
            async with self._connected():
                return True
        except (ConnectionError, FileNotFoundError):
            return False

    def _spawn(self) -> None:
        """Start the process with a socket that already listens, so that nobody has to wait for it to be ready."""
        self._reap()
        temporary = self._path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, self._errors.open("wb") as errors:
            listener.bind(str(temporary))
            temporary.chmod(0o600)
            listener.listen(_BACKLOG)
            temporary.rename(self._path)
            self._pid = self._spawn_with(listener.fileno(), errors.fileno())
        _log.info("port forwarder started with pid %d", self._pid)

    def _spawn_with(self, listener: int, errors: int) -> int:
        null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)
        actions = [
            null,
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, errors, 2),
            (os.POSIX_SPAWN_DUP2, listener, CONTROL_DESCRIPTOR),
        ]
        arguments = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(_ROOT), str(self._path)]
        return os.posix_spawn(sys.executable, arguments, {}, file_actions=actions, setsid=True)

    def _reap(self) -> None:
        """Take note of the end of a process that this engine started; another's belongs to somebody else."""
        if self._pid:
            with contextlib.suppress(ChildProcessError):
                pid, _ = os.waitpid(self._pid, os.WNOHANG)
                if pid == 0:
                    return
            self._pid = 0


async def _line(stream: ByteStream) -> bytes:
    received = b""
    while not received.endswith(b"\n"):
        if len(received) > _MAXIMUM_ANSWER_BYTES:
            raise SystemFailure("the port forwarder's answer is too long")
        received += await stream.receive()
    return received


def _entry(port: PublishedPort) -> tuple[str, int, str, int]:
    return port.host_address, port.host_port, port.protocol, port.container_port


def _published(entry: tuple[str, int, str, int]) -> PublishedPort:
    address, host_port, protocol, container_port = entry
    return PublishedPort(container_port=container_port, protocol=protocol, host_address=address, host_port=host_port)
