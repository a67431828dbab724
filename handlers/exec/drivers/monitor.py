"""Launching conmon: the process that keeps a container's streams and exit status while the daemon may come and go.

Manual: conmon(8). What its pipes say, and when, was measured; see the comments.
"""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import anyio
import msgspec

from events.errors import SystemFailure
from handlers.exec.drivers.record import speaks_of
from handlers.kernel import cgroups, processes
from handlers.kernel.pidfd import ProcessHandle
from handlers.kernel.readiness import wait_any

NO_WORD = "conmon ended before it could tell what became of the process"
LAUNCH_TIMEOUT_S = 10.0
_PATIENCE_S = 5.0
_MESSAGE_BYTES = 64 * 1024


class RuntimeRefused(Exception):
    """The OCI runtime made nothing; `text` is what it said."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    """`{"data": 4711}`, or `{"data": -1, "message": "why"}`."""

    data: int = -1
    pid: int = 0
    message: str = ""


class Pipe:
    """A pipe of which conmon is handed one end or both."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        self._buffer = b""

    async def message(self, monitor: ProcessHandle | None) -> int:
        """The number in the next line. Raises RuntimeRefused, also when conmon ends, or has ended, without a word."""
        os.set_blocking(self.read_end, False)  # not for the pipe that conmon itself reads: it takes no EAGAIN
        while b"\n" not in self._buffer:
            await self._read_more(monitor)
        line, _, self._buffer = self._buffer.partition(b"\n")
        message = msgspec.json.decode(line, type=_Message)
        if message.data < 0:
            raise RuntimeRefused(message.message)
        return message.data

    async def _read_more(self, monitor: ProcessHandle | None) -> None:
        ended = monitor is None or monitor.fileno() in await wait_any((self.read_end, monitor.fileno()))
        more = self._at_hand()  # after the look at conmon: it may have spoken and ended between two looks
        if (ended and not more) or len(self._buffer) > _MESSAGE_BYTES:
            raise RuntimeRefused(NO_WORD)
        self._buffer += more

    def _at_hand(self) -> bytes:
        try:
            return os.read(self.read_end, _MESSAGE_BYTES)
        except BlockingIOError:
            return b""

    def write(self) -> None:
        """Say "go on"."""
        os.write(self.write_end, b"\0")

    def close(self) -> None:
        """Close both ends on our side."""
        os.close(self.read_end)
        os.close(self.write_end)


@contextmanager
def pipes(count: int) -> Iterator[tuple[Pipe, ...]]:
    """Pipes for one launch."""
    made = tuple(Pipe() for _ in range(count))
    try:
        yield made
    finally:
        for pipe in made:
            pipe.close()


class Launch:
    """A conmon that was started, before its monitor proper has parted from it."""

    def __init__(self, child: processes.Child, said: FileIO, directory: Path) -> None:
        self._child, self._said, self._directory = child, said, directory

    async def monitor(self) -> ProcessHandle | None:
        """Hold the monitor. The launched process forks, writes conmon.pid and ends; first it waits for its start pipe.

        None when the monitor has ended by now: what it had to say lies in its pipe. Raises SystemFailure.
        """
        with self._said as said:
            code = await self._child.wait(LAUNCH_TIMEOUT_S)
            if code != 0:
                said.seek(0)
                text = said.read(_MESSAGE_BYTES).decode(errors="replace")
                raise SystemFailure(f"conmon failed (exit {code}): {text}")
        pid = int((self._directory / "conmon.pid").read_text())
        handle = ProcessHandle.open(pid)
        if handle is not None and not speaks_of(pid, self._directory):  # somebody else has its number by now
            handle.close()
            return None
        return handle

    async def give_up(self) -> None:
        """End one that still waits for its start."""
        with self._said:
            await self._child.kill()


async def launch(
    arguments: Sequence[str], directory: Path, environment: dict[str, str], inherit: Sequence[int]
) -> Launch:
    """Start conmon with `directory` as its working directory: it leaves its `oom` file there. Raises SystemFailure."""
    said = processes.memory_file("conmon")
    try:
        child = await processes.spawn(
            arguments,
            environment=processes.ENVIRONMENT | environment,
            directory=directory,
            standard=(None, said.fileno(), said.fileno()),
            inherit=inherit,
        )
    except BaseException:
        said.close()
        raise
    return Launch(child, said, directory)


def arguments(
    conmon: str,
    runtime: str,
    runtime_arguments: Sequence[str],
    container_id: str,
    unit_id: str,
    directory: Path,
    exits: Path,
) -> list[str]:
    """What conmon needs for a first process and for an exec alike."""
    flags = [f"--runtime-arg={word}" for word in runtime_arguments]
    return [
        conmon,
        *("--api-version", "1", "-c", container_id, "-u", unit_id, "-n", container_id[:12], "-r", runtime),
        *("-b", str(directory), "-p", str(directory / "pidfile"), "-P", str(directory / "conmon.pid")),
        *("--exit-dir", str(exits), "-0", str(directory / "persist"), "--full-attach", "--no-sync-log"),
        *flags,
        f"--runtime-arg=--log={directory / 'runtime.log'}",
        "--runtime-arg=--log-format=json",
    ]


async def bounded(timeout_s: float, pipe: Pipe, monitor: ProcessHandle | None, what: str) -> int:
    """Wait for a message. Raises RuntimeRefused, and SystemFailure after `timeout_s`."""
    try:
        with anyio.fail_after(timeout_s):
            return await pipe.message(monitor)
    except TimeoutError as error:
        raise SystemFailure(f"{what} did not end within {timeout_s:g} s") from error


async def see_off(handle: ProcessHandle, *, at_once: bool = False) -> None:
    """Wait for the end of a process whose work is done; kill it if it lingers, or `at_once`. Closes the handle.

    Raises SystemFailure when even that doesn't help.
    """
    with handle:
        for patience_s in (0.0 if at_once else _PATIENCE_S, _PATIENCE_S):
            if await wait_any((handle.fileno(),), patience_s):
                return
            handle.send(signal.SIGKILL)
        if not await wait_any((handle.fileno(),), _PATIENCE_S):
            raise SystemFailure(f"process {handle.pid} could not be ended")


def ease_next_move() -> None:
    """To be called some milliseconds before a runtime moves a new process into its control groups: it waits less then.

    Nobody waits for this: a thread of its own tries it once and ends.
    """
    threading.Thread(target=cgroups.ease_next_move, name="ease", daemon=True).start()
