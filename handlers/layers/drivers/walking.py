"""Trees walked by open directories, in the order of their names, and through no symbolic link.

Without it a path that is swapped for a link meanwhile would be followed. Runs in the helper process.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Found(NamedTuple):
    """An entry of an open directory; `path` is relative to where the walk began."""

    path: str
    name: str
    directory: int
    status: os.stat_result


def walk(directory: int, path: str = "") -> Iterator[Found]:
    """Everything below an open directory, parents first; what vanishes meanwhile is left out. Raises OSError."""
    for found in entries(directory, path):
        yield found
        if stat.S_ISDIR(found.status.st_mode):
            below = open_directory(directory, found.name)
            if below is not None:
                try:
                    yield from walk(below, found.path)
                finally:
                    os.close(below)


def entries(directory: int, path: str = "") -> Iterator[Found]:
    """What an open directory holds. Raises OSError."""
    prefix = f"{path}/" if path else ""
    for name in sorted(os.listdir(directory)):
        status = look(directory, name)
        if status is not None:
            yield Found(prefix + name, name, directory, status)


def look(directory: int, name: str) -> os.stat_result | None:
    """The status of an entry itself; None when it isn't there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    return None


def open_directory(directory: int, name: str) -> int | None:
    """A descriptor of a directory in another; None when it isn't there, or no directory. Raises OSError."""
    try:
        return os.open(name, DIRECTORY, dir_fd=directory)
    except OSError as error:
        if error.errno in _VANISHED:
            return None
        raise
