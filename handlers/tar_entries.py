"""A layer's tar, entry by entry and strictly: what the standard library lets pass (a cut off or damaged archive) is
an error here. Without it half a layer could look like a whole one.

Runs in the unpacking process: standard library only.
"""

import hashlib
import posixpath
import tarfile
from collections.abc import Iterator
from typing import IO, Protocol, cast

from events.errors import InvalidParameter
from handlers.compression import CutShort

_HEADER_LIMIT_BYTES = 1024 * 1024  # of a PAX or GNU long-name header; Go's archive/tar has the same bound
ENTRIES_LIMIT = 4_000_000  # the largest images have a quarter of that; more only eats inodes and memory
_XATTR_PREFIX = "SCHILY.xattr."
_CHECKSUM = slice(148, 156)  # of a header; counted as spaces
_LOW_BYTES = bytes(range(0x80))


class BadArchive(InvalidParameter):
    """Not a tar as we know it (the wording is Go's, which clients know)."""

    def __init__(self, reason: str = "invalid tar header") -> None:
        super().__init__(f"archive/tar: {reason}")


class BadEntry(InvalidParameter):
    """An entry that can't be unpacked, by name."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"{name!a}: {reason}" if not name.isprintable() else f"{name}: {reason}")


class Recorder(Protocol):
    """Keeps what of a tar isn't in the files that come out of it."""

    def keep(self, data: memoryview) -> None:
        """Bytes that nothing else will have."""

    def refer(self, path: str, size: int) -> None:
        """In their place: `size` bytes, all that a file will hold."""


class Stream:
    """Uncompressed bytes, read forward only and hashed on the way; `tarfile` takes it for a file."""

    def __init__(self, blocks: Iterator[bytes], recorder: Recorder | None = None) -> None:
        self._blocks, self._recorder = blocks, recorder
        self._block = memoryview(b"")
        self._position = 0
        self._digest = hashlib.sha256()

    def tell(self) -> int:
        """Bytes read so far."""
        return self._position

    def read(self, size: int) -> bytes:
        """At most `size` bytes of a header; fewer at the end."""
        if size > _HEADER_LIMIT_BYTES:
            raise BadArchive("header field too long")
        if size <= len(self._block):
            return bytes(self._take(size))
        return b"".join(bytes(part) for part in self._parts(size))

    def data(self, size: int, *, path: str = "") -> Iterator[memoryview]:
        """Exactly `size` bytes of an entry, in parts; `path` is the file that will hold just these. Raises CutShort."""
        left = size
        if path and self._recorder is not None:
            self._recorder.refer(path, size)
        for part in self._parts(size, kept=not path):
            yield part
            left -= len(part)
        if left:
            raise CutShort

    def skip_to(self, position: int) -> None:
        """Read on to a position. Raises CutShort."""
        for _ in self.data(position - self._position):
            pass

    def finish(self) -> str:
        """Read to the end and return the digest of everything, `sha256:<hex>`."""
        while self._fill():
            self._take(len(self._block))
        return f"sha256:{self._digest.hexdigest()}"

    def _parts(self, size: int, *, kept: bool = True) -> Iterator[memoryview]:
        while size > 0 and self._fill():
            part = self._take(min(size, len(self._block)), kept=kept)
            size -= len(part)
            yield part

    def _take(self, size: int, *, kept: bool = True) -> memoryview:
        part, self._block = self._block[:size], self._block[size:]
        self._position += size
        if kept and self._recorder is not None:
            self._recorder.keep(part)
        return part

    def _fill(self) -> bool:
        while not self._block:
            block = next(self._blocks, None)
            if block is None:
                return False
            self._digest.update(block)
            self._block = memoryview(block)
        return True


def checksums(header: bytes) -> tuple[int, int]:
    """The sums of a header's bytes (512) taken as unsigned and as signed.

    The library unpacks each byte for itself, which was a tenth of all that it takes to unpack a layer.
    """
    field = header[_CHECKSUM]
    unsigned = sum(header) - sum(field) + len(field) * ord(" ")
    negative = len(header.translate(None, _LOW_BYTES)) - len(field.translate(None, _LOW_BYTES))
    return unsigned, unsigned - 0x100 * negative


tarfile.calc_chksums = checksums  # type: ignore[attr-defined]  # missing in typeshed


def entries(stream: Stream, *, limit: int = ENTRIES_LIMIT) -> Iterator[tarfile.TarInfo]:
    """The archive's entries; after each the caller may read its data from the stream (or not).

    Global PAX headers apply as in POSIX. Raises BadArchive, CutShort, and BadEntry for one more than `limit`.
    """
    # mode "w" only because "r" reads the first entry at once, in its lenient way; nothing is ever written
    archive = tarfile.TarFile(fileobj=cast(IO[bytes], stream), mode="w", errors="surrogateescape")
    number = 0
    while (entry := _next(archive, stream)) is not None:
        number += 1
        if number > limit:
            raise BadEntry(entry.name, f"the archive has more than {limit} entries")
        yield entry
        stream.skip_to(archive.offset)


def _next(archive: tarfile.TarFile, stream: Stream) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.fromtarfile(archive)
    except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]  # missing in typeshed
        return None
    except tarfile.TruncatedHeaderError as error:  # type: ignore[attr-defined]  # missing in typeshed
        raise CutShort from error
    except tarfile.SubsequentHeaderError as error:  # type: ignore[attr-defined]  # missing in typeshed
        raise (BadArchive() if stream.read(1) else CutShort()) from error
    except (tarfile.HeaderError, ValueError, IndexError, RecursionError) as error:
        raise BadArchive from error


def clean(name: str, *, entry: str) -> str:
    """A path below the root without leading slash, `.` and `..`; "" is the root itself.

    Raises BadEntry for a relative path that leads out, worded for the entry that has it.
    """
    path = posixpath.normpath(name)
    if path == ".." or path.startswith("../"):
        raise BadEntry(entry, f'"{name}" is outside of the layer')
    path = path.lstrip("/")
    return "" if path == "." else path


def modified_ns(entry: tarfile.TarInfo) -> int:
    """Modification time, exact: the library's float of a PAX time has lost the nanoseconds."""
    text = entry.pax_headers.get("mtime")
    if text is None:
        return int(entry.mtime) * 1_000_000_000
    seconds, _, fraction = text.partition(".")
    nanoseconds = int((fraction + "000000000")[:9])
    if seconds.startswith("-"):
        nanoseconds = -nanoseconds
    return int(seconds) * 1_000_000_000 + nanoseconds


def extended_attributes(entry: tarfile.TarInfo) -> dict[str, bytes]:
    """Extended attributes by name, values as bytes (PAX `SCHILY.xattr.`, as Docker, GNU tar and star write them)."""
    return {
        key[len(_XATTR_PREFIX) :]: value.encode("utf-8", "surrogateescape")
        for key, value in entry.pax_headers.items()
        if key.startswith(_XATTR_PREFIX)
    }
