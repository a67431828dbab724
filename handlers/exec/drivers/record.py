"""What is remembered of a process beside it, so that a daemon that comes later finds it again."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from handlers.kernel import cgroups
from handlers.kernel.pidfd import ProcessHandle, boot_id, parent_of, start_time

_NAME = "record.json"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A first process or an exec. Pids count only in the boot that they are from."""

    container_id: str
    runtime: str
    boot_id: str
    exec_id: str = ""
    run: int = 0
    terminal: bool = False
    stdin: bool = False
    stdin_once: bool = False
    cgroups_path: str = ""
    pid: int = 0
    pid_started: int = 0  # 0 while it is being made
    monitor_pid: int = 0
    monitor_started: int = 0
    started: bool = False  # known to have been let run
    cgroup: cgroups.Group | None = None

    def process(self) -> ProcessHandle | None:
        """The process, if it lives."""
        return _held(self.boot_id, self.pid, self.pid_started)

    def monitor(self) -> ProcessHandle | None:
        """Its conmon, if it lives."""
        return _held(self.boot_id, self.monitor_pid, self.monitor_started)


def _held(boot: str, pid: int, started: int) -> ProcessHandle | None:
    return ProcessHandle.open(pid, started) if started and boot == boot_id() else None


def read(directory: Path) -> Record | None:
    """The record in a directory, with what conmon's own files tell of a process that was still being made."""
    try:
        record = msgspec.json.decode((directory / _NAME).read_bytes(), type=Record)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return record if record.pid_started or record.boot_id != boot_id() else _from_pid_files(record, directory)


def _from_pid_files(record: Record, directory: Path) -> Record:
    """A pid file is only believed if its process speaks of this directory: the number may be someone else's by now."""
    monitor = _pid_in(directory / "conmon.pid")
    if not monitor or not speaks_of(monitor, directory):
        return record
    record = msgspec.structs.replace(record, monitor_pid=monitor, monitor_started=start_time(monitor))
    pid = _pid_in(directory / "pidfile")
    return msgspec.structs.replace(record, pid=pid, pid_started=start_time(pid)) if pid else record


def _pid_in(path: Path) -> int:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return 0


def write(directory: Path, record: Record) -> None:
    """Replace the record in one step."""
    staged = directory / f".{_NAME}"
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(record))
    staged.rename(directory / _NAME)


def speaks_of(pid: int, directory: Path, programs: frozenset[str] = frozenset()) -> bool:
    """Whether a process (of one of these programs) has the directory, or what is in it, on its command line."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    if programs and os.fsdecode(words[0]) not in programs:
        return False
    place = os.fsencode(directory)
    return any(word == place or word.startswith(place + b"/") for word in words)


def helpers(directory: Path, programs: frozenset[str]) -> Iterator[ProcessHandle]:
    """Processes of these programs that work for a directory, and all their descendants. The caller closes them."""
    parents = {
        int(entry.name): parent_of(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdecimal()
    }
    found = {pid for pid in parents if speaks_of(pid, directory, programs)}
    while children := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= children
    for pid in found:
        handle = ProcessHandle.open(pid)
        if handle is not None:
            yield handle
