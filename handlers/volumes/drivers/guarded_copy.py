"""Copies into a directory that a container may change meanwhile; without it a link planted there would lead the
engine's writes to the host's own files.

cp(1) walks its target by path. Here everything is made new, by name in an open directory, and what was opened is known
to be no link: whoever moves things about spoils the copy in the volume, and reaches nothing outside of it.
"""

import errno
import os
import stat

import anyio.from_thread

from handlers.kernel.copying import copy_attributes
from handlers.kernel.openat2 import open_in_root

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ITSELF = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK_BYTES = 16 * 1024 * 1024


def copy_guarded(source: int, target: int) -> None:
    """Copy what an open directory holds, and its own attributes, into another open one, which is empty.

    Keeps what `copy_directory` keeps, but shares no blocks. Blocking, in a worker thread of anyio: stops when its
    caller is cancelled. Raises OSError.
    """
    try:
        _Copy(target).directory(source, target, "")
    except RecursionError as error:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)) from error


class _Copy:
    """One copy: where it goes, and the first name of every file with several."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._first: dict[tuple[int, int], tuple[str, str]] = {}

    def directory(self, source: int, target: int, path: str) -> None:
        """Copy entries and attributes; `path` is the directory's below the root."""
        status = os.fstat(source)
        for name in os.listdir(source):
            anyio.from_thread.check_cancelled()
            found = os.stat(name, dir_fd=source, follow_symlinks=False)
            if not self._linked(found, target, path, name):
                self._entry(source, target, path, name, found)
        copy_attributes(source, status, target)

    def _linked(self, found: os.stat_result, target: int, path: str, name: str) -> bool:
        """Whether it is another name of something copied before, and has become one here."""
        if stat.S_ISDIR(found.st_mode) or found.st_nlink == 1:
            return False
        key = found.st_dev, found.st_ino
        if key not in self._first:
            self._first[key] = path, name
            return False
        first_path, first_name = self._first[key]
        directory = open_in_root(self._root, first_path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.link(first_name, name, src_dir_fd=directory, dst_dir_fd=target, follow_symlinks=False)
        finally:
            os.close(directory)
        return True

    def _entry(self, source: int, target: int, path: str, name: str, found: os.stat_result) -> None:
        match stat.S_IFMT(found.st_mode):
            case stat.S_IFDIR:
                self._subdirectory(source, target, path, name)
            case stat.S_IFREG:
                _file(source, target, name)
            case stat.S_IFLNK:
                os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
                os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
                times = (found.st_atime_ns, found.st_mtime_ns)
                os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)
            case _:
                os.mknod(name, found.st_mode, found.st_rdev, dir_fd=target)
                _adorn_special(source, target, name, found)

    def _subdirectory(self, source: int, target: int, path: str, name: str) -> None:
        os.mkdir(name, 0o700, dir_fd=target)
        inner_target = os.open(name, _DIRECTORY, dir_fd=target)
        try:
            inner_source = os.open(name, _DIRECTORY, dir_fd=source)
            try:
                self.directory(inner_source, inner_target, f"{path}/{name}")
            finally:
                os.close(inner_source)
        finally:
            os.close(inner_target)


def _file(source: int, target: int, name: str) -> None:
    original = os.open(name, _SOURCE, dir_fd=source)
    try:
        copy = os.open(name, _NEW_FILE, 0o600, dir_fd=target)
        try:
            status = os.fstat(original)
            _content(original, copy, status.st_size)
            copy_attributes(original, status, copy)
        finally:
            os.close(copy)
    finally:
        os.close(original)


def _content(original: int, copy: int, size: int) -> None:
    """What lies between holes (lseek(2), SEEK_DATA)."""
    position = 0
    while position < size:
        try:
            position = os.lseek(original, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        position = _stretch(original, copy, position, os.lseek(original, position, os.SEEK_HOLE))
    os.ftruncate(copy, size)


def _stretch(original: int, copy: int, start: int, end: int) -> int:
    os.lseek(copy, start, os.SEEK_SET)
    while start < end:
        anyio.from_thread.check_cancelled()
        sent = os.sendfile(copy, original, start, min(_BLOCK_BYTES, end - start))
        if not sent:
            raise OSError(errno.EIO, "a file became shorter while it was copied")
        start += sent
    return start


def _adorn_special(source: int, target: int, name: str, found: os.stat_result) -> None:
    """Devices, FIFOs and sockets are never opened; by its descriptor's link the inode itself is reached."""
    original = os.open(name, _ITSELF, dir_fd=source)
    try:
        copy = os.open(name, _ITSELF, dir_fd=target)
        try:
            copy_attributes(f"/proc/self/fd/{original}", found, f"/proc/self/fd/{copy}")
        finally:
            os.close(copy)
    finally:
        os.close(original)
