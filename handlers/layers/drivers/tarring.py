"""Files as a tar, the way Docker writes them; without it nothing could leave a container or a layer.

The same tree gives the same bytes: whole seconds, no names of users, PAX headers only where they are needed. Runs in
the helper process.
"""

# paths stay strings, and descriptors are what is read: many thousand entries pass here
import errno
import os
import stat
import tarfile
from collections.abc import Iterator

from handlers.layers.drivers.walking import Found

_BLOCK_BYTES = 512
_BUFFER_BYTES = 256 * 1024
_CHUNK_BYTES = 16 * 1024 * 1024
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_XATTR_PREFIX = "SCHILY.xattr."
_KEPT_ATTRIBUTES = ("security.capability",)
_KEPT_PREFIXES = ("user.",)
_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}
_END = bytes(2 * _BLOCK_BYTES)


class TarWriter:
    """Entries to an open file or pipe."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._buffer = bytearray()
        self._first: dict[tuple[int, int], str] = {}
        self.size_bytes = 0  # of the regular files

    def add(self, name: str, found: Found) -> None:
        """One entry; sockets are left out, as Docker does. What vanishes before it is opened is left out too."""
        kind = _TYPES.get(stat.S_IFMT(found.status.st_mode))
        if kind is None:
            return
        if kind == tarfile.REGTYPE:
            self._file(name, found)
        else:
            self._special(name, found, kind)

    def add_empty(self, name: str) -> None:
        """An empty file that stands for something, such as a deletion."""
        self._header(tarfile.TarInfo(name), {})

    def finish(self) -> None:
        """Close the archive."""
        self._buffer += _END
        self._flush()

    def _file(self, name: str, found: Found) -> None:
        first = self._linked_to(name, found.status)
        if first is not None:
            entry = _entry(name, found.status, tarfile.LNKTYPE)
            entry.linkname = first
            self._header(entry, {})
            return
        try:
            descriptor = os.open(found.name, _FILE, dir_fd=found.directory)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                return
            raise
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                self._content(name, descriptor, status)
        finally:
            os.close(descriptor)

    def _linked_to(self, name: str, status: os.stat_result) -> str | None:
        """The name under which the same file was added before."""
        if status.st_nlink < 2:
            return None
        first = self._first.setdefault((status.st_dev, status.st_ino), name)
        return first if first != name else None

    def _content(self, name: str, descriptor: int, status: os.stat_result) -> None:
        entry = _entry(name, status, tarfile.REGTYPE)
        entry.size = status.st_size
        self._header(entry, _attributes(descriptor))
        self.size_bytes += entry.size
        self._flush()
        left = entry.size
        while left:
            sent = os.sendfile(self._target, descriptor, None, min(left, _CHUNK_BYTES))
            if not sent:
                break
            left -= sent
        while left:  # it became shorter meanwhile: as tar(1) does
            zeros = min(left, _BUFFER_BYTES)
            self._buffer += bytes(zeros)
            left -= zeros
            self._flush()
        self._buffer += bytes(-entry.size % _BLOCK_BYTES)

    def _special(self, name: str, found: Found, kind: bytes) -> None:
        entry = _entry(name, found.status, kind)
        if kind == tarfile.SYMTYPE:
            try:
                entry.linkname = os.readlink(found.name, dir_fd=found.directory)
            except OSError:
                return
        elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            entry.devmajor, entry.devminor = os.major(found.status.st_rdev), os.minor(found.status.st_rdev)
        attributes = _directory_attributes(found) if kind == tarfile.DIRTYPE else {}
        self._header(entry, attributes)

    def _header(self, entry: tarfile.TarInfo, attributes: dict[str, bytes]) -> None:
        entry.pax_headers = {
            _XATTR_PREFIX + name: value.decode("utf-8", "surrogateescape") for name, value in attributes.items()
        }
        self._buffer += entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if len(self._buffer) >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        left = memoryview(bytes(self._buffer))
        self._buffer.clear()
        while left:
            left = left[os.write(self._target, left) :]


def _entry(name: str, status: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(f"{name.rstrip('/')}/" if kind == tarfile.DIRTYPE else name)
    entry.type, entry.mode = kind, stat.S_IMODE(status.st_mode)
    entry.uid, entry.gid, entry.mtime = status.st_uid, status.st_gid, status.st_mtime_ns // 1_000_000_000
    return entry


def _directory_attributes(found: Found) -> dict[str, bytes]:
    try:
        descriptor = os.open(found.name, os.O_DIRECTORY | _FILE, dir_fd=found.directory)
    except OSError:
        return {}
    try:
        return _attributes(descriptor)
    finally:
        os.close(descriptor)


def _attributes(descriptor: int) -> dict[str, bytes]:
    """What of a file's extended attributes belongs to it wherever it goes."""
    return {name: os.getxattr(descriptor, name) for name in _kept(descriptor)}


def _kept(descriptor: int) -> Iterator[str]:
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return
    for name in sorted(names):
        if name in _KEPT_ATTRIBUTES or name.startswith(_KEPT_PREFIXES):
            yield name
