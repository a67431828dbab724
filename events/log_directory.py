"""The directory a log lives in: lock, modes, file names. Without it two engines could write one log."""

import fcntl
import os
import tempfile
from pathlib import Path
from types import TracebackType

from events.errors import Unavailable
from events.log import LogBroken

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
ARCHIVED = ".zst"
_LOCK = "lock"


class LogInUse(Unavailable):
    """Another process has the log open."""

    def __init__(self, directory: Path, holder: str) -> None:
        self.directory, self.holder = directory, holder
        super().__init__(f"the event log in {directory} is in use by process {holder or 'unknown'}")


def segment_path(directory: Path, first: int) -> Path:
    """The file whose first event has this sequence."""
    return directory / f"log-{first:016d}.sqlite"


def segments(directory: Path) -> list[Path]:
    """The files of a log, oldest first; the last one is written to. A file whose archive is complete isn't one."""
    found = {path.name.partition(".")[0]: path for path in directory.glob("log-*.sqlite")}
    found |= {path.name.partition(".")[0]: path for path in directory.glob(f"log-*.sqlite{ARCHIVED}")}
    return [found[name] for name in sorted(found)]


def newest_segment(directory: Path) -> Path | None:
    """The file that is written to; None in a new directory. Raises LogBroken when that is an archive."""
    found = segments(directory)
    if found and found[-1].suffix == ARCHIVED:
        raise LogBroken(f"the newest file of the log in {directory} is missing: {found[-1].name} is followed by none")
    return found[-1] if found else None


def clear_replaced(directory: Path) -> None:
    """Remove what a killed process left: drafts, and files that their archive has replaced."""
    kept = set(segments(directory))
    for path in (*directory.glob("log-*.new"), *directory.glob("log-*.sqlite")):
        if path not in kept:
            path.unlink(missing_ok=True)  # a check that outlived its engine removes its own


def sync_directory(directory: Path) -> None:
    """Make the directory's entries durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_file(path: Path) -> None:
    """Make an empty file that only its owner may read, in place of one that a crash left there."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))


def create_draft(directory: Path) -> tuple[int, Path]:
    """Make an empty file for a while, of a name that no other has, and open it; only its owner may read it."""
    descriptor, name = tempfile.mkstemp(".new", "log-", directory)
    return descriptor, Path(name)


class DirectoryLock:
    """Holds a directory for this process; the kernel lets go when the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        """Make the directory if need be and lock it. Raises LogInUse that names the holder."""
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        directory.chmod(DIRECTORY_MODE)
        self._descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, FILE_MODE)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise LogInUse(directory, holder) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def __enter__(self) -> "DirectoryLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
