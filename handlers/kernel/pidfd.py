"""Processes held by descriptor; without it a signal could hit whoever got the number of one that has ended.

Sources: pidfd_open(2), pidfd_send_signal(2), proc_pid_stat(5).
"""

import os
import signal
from pathlib import Path
from typing import Self

import anyio

_ENDED_STATES = frozenset({"Z", "X"})


def start_time(pid: int) -> int:
    """When a process began, in clock ticks since boot; 0 when there is none. With the pid it is unique until reboot."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else 0


def parent_of(pid: int) -> int:
    """Pid of a process's parent; 0 when there is none."""
    fields = _stat_fields(pid)
    return int(fields[1]) if fields else 0


def _stat_fields(pid: int) -> list[str]:
    """Fields from the third (state) on; the second may hold spaces and parentheses."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def boot_id() -> str:
    """Random id of this boot of the kernel: pids and start times of another one mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class ProcessHandle:
    """A process that can't be mistaken for a later one with the same number. A zombie counts as ended.

    Use as a context manager, or call `close`.
    """

    def __init__(self, pid: int, descriptor: int, started: int) -> None:
        self.pid, self.started = pid, started
        self._descriptor = descriptor

    @classmethod
    def open(cls, pid: int, started: int = 0) -> Self | None:
        """The process, if it lives and (unless `started` is 0) began at `started`."""
        if pid <= 0:
            return None
        try:
            descriptor = os.pidfd_open(pid)
        except (ProcessLookupError, OSError):
            return None
        fields = _stat_fields(pid)
        began = int(fields[19]) if fields else 0
        if not fields or fields[0] in _ENDED_STATES or (started and began != started):
            os.close(descriptor)
            return None
        return cls(pid, descriptor, began)

    def fileno(self) -> int:
        """Readable when the process has ended."""
        return self._descriptor

    def send(self, number: int) -> bool:
        """Send a signal; False when the process has ended. Raises OSError."""
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            return False
        return True

    async def wait(self) -> None:
        """Return when it has ended. Of one handle only one task may wait."""
        await anyio.wait_readable(self._descriptor)

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
