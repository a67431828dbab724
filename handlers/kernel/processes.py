"""Starting programs in about a millisecond and waiting for them by descriptor.

Without it each step of a container's life would pay for a fork of the daemon and a watcher thread.
Sources: posix_spawn(3), pidfd_open(2), waitid(2).
"""

import os
import signal
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from events.errors import SystemFailure
from handlers.kernel.calls import attempt
from handlers.kernel.mounts import in_directory

_OUTPUT_BYTES = 64 * 1024
_KILL_TIMEOUT_S = 5.0
# Python ignores these; a program is entitled to find them as they are at boot
_RESTORED_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TZ": "UTC", "LC_ALL": "C"}


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    """A program that has ended."""

    code: int  # exit code; 128 + n for signal n
    output: str  # stdout and stderr, the last 64 KiB


async def run(
    arguments: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] = ENVIRONMENT, text: str = ""
) -> Completed:
    """Run a program with `text` as its input and wait for it. Killed and SystemFailure after `timeout_s`."""
    with memory_file("input") as source, memory_file("output") as sink:
        source.write(text.encode())
        source.seek(0)
        child = await spawn(
            arguments,
            environment=environment,
            standard=(source.fileno(), sink.fileno(), sink.fileno()),
        )
        code = await child.wait(timeout_s)
        size = sink.seek(0, os.SEEK_END)
        sink.seek(max(0, size - _OUTPUT_BYTES))
        return Completed(code=code, output=sink.read().decode(errors="replace"))


def memory_file(name: str) -> FileIO:
    """A file without a name, gone when it is closed: no pipe that somebody must read."""
    return os.fdopen(os.memfd_create(f"shiplog-{name}"), "w+b", buffering=0)


async def spawn(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] = ENVIRONMENT,
    directory: Path | None = None,
    standard: tuple[int | None, int | None, int | None] = (None, None, None),
    inherit: Sequence[int] = (),
) -> "Child":
    """Start a program in a session of its own, with no descriptors but `standard` (None is /dev/null) and `inherit`.

    `inherit` keep their numbers. Raises KernelRefused.
    """
    return await anyio.to_thread.run_sync(_spawn, arguments, environment, directory, standard, inherit)


def _spawn(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: Path | None,
    standard: tuple[int | None, ...],
    inherit: Sequence[int],
) -> "Child":
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        sources = [nothing if source is None else source for source in standard]
        actions = [(os.POSIX_SPAWN_DUP2, source, number) for number, source in enumerate(sources)]
        # a duplicate onto itself only clears the close-on-exec flag, in the child alone
        actions += [(os.POSIX_SPAWN_DUP2, number, number) for number in inherit]

        def start() -> int:
            return os.posix_spawn(
                arguments[0],
                list(arguments),
                environment,
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=_RESTORED_SIGNALS,
            )

        with attempt(f"run {arguments[0]}"):
            # posix_spawn can't change directory, but a child starts in that of the thread that makes it
            pid = in_directory(str(directory), start) if directory else start()
            return Child(pid, os.pidfd_open(pid))
    finally:
        os.close(nothing)


class Child:
    """A program we started; it must be waited for."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor

    async def wait(self, timeout_s: float) -> int:
        """Its exit code (128 + n for signal n). After `timeout_s`, or when cancelled, it is killed.

        Raises SystemFailure after `timeout_s`.
        """
        try:
            with anyio.fail_after(timeout_s):
                await anyio.wait_readable(self._descriptor)
        except BaseException as error:
            await self.kill()
            if isinstance(error, TimeoutError):
                raise SystemFailure(f"process {self.pid} did not end within {timeout_s:g} s and was killed") from error
            raise
        return self._reap()

    async def kill(self) -> None:
        """End it now, instead of waiting for it."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(_KILL_TIMEOUT_S):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
            await anyio.wait_readable(self._descriptor)
        self._reap(os.WNOHANG)

    def _reap(self, flags: int = 0) -> int:
        try:
            result = os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | flags)
        finally:
            os.close(self._descriptor)
        if result is None:
            return -1
        exited = result.si_code == os.CLD_EXITED
        return result.si_status if exited else 128 + result.si_status
