"""A layer's entries put on disk as they are: owners, modes, times, attributes, links, devices, holes.

Without it there are archives and no file systems. It works below the root of the process, which the caller has moved
into the layer's directory: a symbolic link in a path resolves inside the layer, the last component is never followed,
and nothing that exists is ever opened. Runs in the unpacking process.
"""

# paths stay strings, as the archive has them: many thousand entries pass here
# ruff: noqa: PTH101, PTH102, PTH108, PTH116, PTH211
import errno
import os
import posixpath
import shutil
import stat
import tarfile
from collections.abc import Callable

from events.errors import EngineError
from handlers.compression import CutShort
from handlers.kernel.calls import KernelRefused, reason
from handlers.layers.drivers.lineage import Lineage, Metadata
from handlers.layers.drivers.whiteouts import (
    OPAQUE,
    OVERLAY_ATTRIBUTES,
    PREFIX,
    RESERVED,
    Whiteouts,
    is_overlay_whiteout,
    lstat,
)
from handlers.layers.ports import BLOCK_BYTES
from handlers.tar_entries import BadEntry, Stream, clean, extended_attributes, modified_ns

_PERMISSIONS = 0o777  # what a new file is made with; set-user-id and its like come when its owner is right
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HOST_FAILURES = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EPERM, errno.EACCES, errno.ENOMEM, errno.EMFILE)
)
_SHORTEST_LINK_ON_DISK = 32  # shorter ones lie in the inode everywhere
_IN_THE_WAY = (FileExistsError, IsADirectoryError)


class Extraction:
    """One layer being filled."""

    def __init__(self, stream: Stream, whiteouts: Whiteouts) -> None:
        self._stream = stream
        self._whiteouts = whiteouts
        self._directory_times: dict[str, int] = {}
        self._implied: dict[str, None] = {}  # directories that the archive takes for granted, parents first
        self.size_bytes = 0
        self._blocks = 0  # of files and links, as stat counts them
        self._directory_blocks = 0
        self.cleared: list[str] = []  # what stood in the way and was removed
        self._makers: dict[bytes, Callable[[str, tarfile.TarInfo], None]] = {
            tarfile.REGTYPE: self._file,
            tarfile.AREGTYPE: self._file,
            tarfile.CONTTYPE: self._file,
            tarfile.GNUTYPE_SPARSE: self._file,
            tarfile.DIRTYPE: self._directory,
            tarfile.SYMTYPE: self._symbolic_link,
            tarfile.LNKTYPE: self._hard_link,
            tarfile.CHRTYPE: self._device,
            tarfile.BLKTYPE: self._device,
            tarfile.FIFOTYPE: self._fifo,
        }

    @property
    def disk_bytes(self) -> int:
        """What everything that was placed takes on disk, once it is finished."""
        return (self._blocks + self._directory_blocks) * BLOCK_BYTES

    def begin(self) -> None:
        """The root is as the lower layers have it, unless the archive says otherwise."""
        self._implied[""] = None

    def place(self, entry: tarfile.TarInfo) -> None:
        """Put one entry in its place. Raises BadEntry, or KernelRefused for what the host is to blame for."""
        try:
            self._place(clean(entry.name, entry=entry.name), entry)
        except CutShort as error:
            raise BadEntry(entry.name, str(error)) from error  # it says that it is larger than it is
        except EngineError:
            raise
        except OSError as error:
            number = error.errno or 0
            if number in _HOST_FAILURES:
                raise KernelRefused(f"unpack {entry.name}", number) from error
            raise BadEntry(entry.name, reason(number)) from error
        except (ValueError, OverflowError) as error:
            raise BadEntry(entry.name, str(error)) from error

    def finish(self, lineage: Lineage) -> None:
        """Settle what depends on the lower layers, which are complete by now: deletion marks, and directories that the
        archive has only implied. Then the directories' times, which every later entry had changed."""
        self._whiteouts.finish(lineage.descriptors)
        for path in self._implied:
            self._adorn(path, lineage)
        for path, time_ns in reversed(self._directory_times.items()):
            found = lstat(path or ".")
            if found is not None:  # a later entry may have moved a link on the way
                self._directory_blocks += found.st_blocks
                os.utime(path or ".", ns=(time_ns, time_ns), follow_symlinks=False)

    def _place(self, path: str, entry: tarfile.TarInfo) -> None:
        directory, base = posixpath.split(path)
        if base == OPAQUE and not directory.startswith(RESERVED):
            self._make_directories(directory)
            self._whiteouts.hide_content(directory)
        elif f"/{path}".find("/" + RESERVED) >= 0:
            return  # other engines' private marks (aufs)
        elif base.startswith(PREFIX):
            self._hide(directory, base.removeprefix(PREFIX), entry)
        else:
            self._make(path, entry)

    def _hide(self, directory: str, base: str, entry: tarfile.TarInfo) -> None:
        if base in ("", ".", ".."):
            raise BadEntry(entry.name, "whiteout of no file")
        self._make_directories(directory)
        self._whiteouts.hide(posixpath.join(directory, base))

    def _make(self, path: str, entry: tarfile.TarInfo) -> None:
        make = self._makers.get(entry.type)
        if make is None:
            raise BadEntry(entry.name, f"unhandled tar header type {entry.type!r}")
        if not path and not entry.isdir():
            raise BadEntry(entry.name, "the root of a layer must be a directory")
        make(path, entry)

    def _create(self, path: str, create: Callable[[], int | None]) -> int | None:
        """Create something new; missing parents are made, what stands in the way is removed."""
        replaced = None
        try:
            result = create()
        except (FileNotFoundError, NotADirectoryError):
            self._make_directories(posixpath.dirname(path))
            result = create()
        except _IN_THE_WAY:
            replaced = os.lstat(path)
            self._clear(path, replaced)
            result = create()
        self._whiteouts.placed(path, replaced=replaced)
        return result

    def _clear(self, path: str, found: os.stat_result) -> None:
        self.cleared.append(path)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(path)
            self._blocks -= found.st_blocks if found.st_nlink == 1 else 0
            return
        shutil.rmtree(path)
        for table in (self._directory_times, self._implied):
            for known in [known for known in table if known == path or known.startswith(f"{path}/")]:
                del table[known]

    def _make_directories(self, path: str) -> None:
        """Make absent parents, each with the metadata that it has in the lower layers."""
        found = lstat(path) if path else os.lstat(".")
        if found is not None and is_overlay_whiteout(found):
            os.unlink(path)
        elif found is not None:
            _require_directory(path)
            return
        self._make_directories(posixpath.dirname(path))
        os.mkdir(path, 0o755)
        self._whiteouts.placed(path, replaced=found)
        self._implied[path] = None

    def _adorn(self, path: str, lineage: Lineage) -> None:
        """Give a directory the metadata that it has in the lower layers, if they have it."""
        found, metadata = lstat(path or "."), lineage.directory(path)
        if found is None or not stat.S_ISDIR(found.st_mode):
            return  # a later entry may have moved a link on the way
        if metadata is None:
            self._directory_blocks += found.st_blocks
            return
        _give(path or ".", metadata)
        self._directory_times[path] = metadata.modified_ns

    def _directory(self, path: str, entry: tarfile.TarInfo) -> None:
        found = lstat(path) if path else os.lstat(".")
        if found is None or not stat.S_ISDIR(found.st_mode):
            self._create(path, lambda: os.mkdir(path, 0o700))
        else:
            self._whiteouts.placed(path or ".", replaced=None)
        os.chown(path or ".", entry.uid, entry.gid, follow_symlinks=False)
        os.chmod(path or ".", stat.S_IMODE(entry.mode))
        _set_attributes(path or ".", entry)
        self._implied.pop(path, None)
        self._directory_times.pop(path, None)
        self._directory_times[path] = modified_ns(entry)

    def _file(self, path: str, entry: tarfile.TarInfo) -> None:
        descriptor = self._create(path, lambda: os.open(path, _NEW_FILE, entry.mode & _PERMISSIONS))
        assert descriptor is not None
        try:
            written_bytes = self._write(path, descriptor, entry)
            found = os.fstat(descriptor)
            if (found.st_uid, found.st_gid) != (entry.uid, entry.gid):
                os.fchown(descriptor, entry.uid, entry.gid)  # before the mode and capabilities, which it takes away
            if stat.S_IMODE(found.st_mode) != stat.S_IMODE(entry.mode):
                os.fchmod(descriptor, stat.S_IMODE(entry.mode))
            if _set_attributes(descriptor, entry):
                found = os.fstat(descriptor)  # they may lie in a block of their own
            _set_time(descriptor, entry)
            # zfs counts blocks when it has written them, some seconds later
            self._blocks += max(found.st_blocks, -(-written_bytes // BLOCK_BYTES))
        finally:
            os.close(descriptor)
        self.size_bytes += entry.size

    def _write(self, path: str, descriptor: int, entry: tarfile.TarInfo) -> int:
        """Bytes that aren't holes."""
        holes_between: list[tuple[int, int]] | None = entry.sparse  # type: ignore[assignment]  # typeshed is wrong
        if holes_between is None:
            for part in self._stream.data(entry.size, path=path):
                _write_all(descriptor, part)
            return entry.size
        for offset, size in holes_between:
            if offset < 0 or size < 0 or offset + size > entry.size:
                raise BadEntry(entry.name, "invalid sparse map")
            os.lseek(descriptor, offset, os.SEEK_SET)
            for part in self._stream.data(size):
                _write_all(descriptor, part)
        os.ftruncate(descriptor, entry.size)
        return sum(size for _, size in holes_between)

    def _symbolic_link(self, path: str, entry: tarfile.TarInfo) -> None:
        self._create(path, lambda: os.symlink(entry.linkname, path))
        self._finish_special(path, entry)
        if len(entry.linkname) >= _SHORTEST_LINK_ON_DISK:
            self._blocks += os.lstat(path).st_blocks

    def _hard_link(self, path: str, entry: tarfile.TarInfo) -> None:
        target = clean(entry.linkname, entry=entry.name)
        if target == path:
            raise BadEntry(entry.name, "hard link to itself")
        found = lstat(target)
        if found is None or stat.S_ISDIR(found.st_mode):
            number = errno.ENOENT if found is None else errno.EISDIR
            raise BadEntry(entry.name, f'hard link to "{entry.linkname}": {reason(number)}')
        self._create(path, lambda: os.link(target, path, follow_symlinks=False))

    def _device(self, path: str, entry: tarfile.TarInfo) -> None:
        kind = stat.S_IFCHR if entry.ischr() else stat.S_IFBLK
        number = os.makedev(entry.devmajor, entry.devminor)
        self._create(path, lambda: os.mknod(path, kind | 0o600, number))
        self._finish_special(path, entry)

    def _fifo(self, path: str, entry: tarfile.TarInfo) -> None:
        self._create(path, lambda: os.mkfifo(path, 0o600))
        self._finish_special(path, entry)

    def _finish_special(self, path: str, entry: tarfile.TarInfo) -> None:
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        if not entry.issym():
            os.chmod(path, stat.S_IMODE(entry.mode))
        _set_attributes(path, entry)
        _set_time(path, entry)


def _give(path: str, metadata: Metadata) -> None:
    os.chown(path, metadata.uid, metadata.gid, follow_symlinks=False)
    os.chmod(path, metadata.mode)
    for name, value in metadata.attributes.items():
        os.setxattr(path, name, value, follow_symlinks=False)


def _require_directory(path: str) -> None:
    """A parent may be reached through links, inside the layer. Raises OSError."""
    if path and not stat.S_ISDIR(os.stat(path).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _set_time(target: int | str, entry: tarfile.TarInfo) -> None:
    time_ns = modified_ns(entry)
    if isinstance(target, int):
        os.utime(target, ns=(time_ns, time_ns))
    else:
        os.utime(target, ns=(time_ns, time_ns), follow_symlinks=False)


def _set_attributes(target: int | str, entry: tarfile.TarInfo) -> bool:
    """Whether there are any."""
    attributes = extended_attributes(entry)
    for name, value in attributes.items():
        if name.startswith(OVERLAY_ATTRIBUTES):
            continue
        try:
            if isinstance(target, int):
                os.setxattr(target, name, value)
            else:
                os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            # as Docker: a file system without such attributes, or a kind of file that has none, isn't fatal
            if error.errno != errno.ENOTSUP and not (error.errno == errno.EPERM and name.startswith("user.")):
                raise
    return bool(attributes)
