"""Archives as a stream of uncompressed blocks; without it each reader of a tar would know four compressions.

Memory stays bounded however much a block expands. Imported by a small child process too: keep it light.
"""

import bz2
import hashlib
import lzma
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Protocol

import zstandard
from zlib_ng import zlib_ng

from events.errors import InvalidParameter

BLOCK_BYTES = 1024 * 1024
_COMPRESSED_BLOCK_BYTES = 256 * 1024
_MAGIC_BYTES = 6
_GZIP_ERROR: type[Exception] = zlib_ng.error  # type: ignore[assignment]  # the stub makes an instance of it


class CutShort(InvalidParameter):
    """The data ends before it should (the wording is Go's, which clients know)."""

    def __init__(self) -> None:
        super().__init__("unexpected EOF")


class Damaged(InvalidParameter):
    """The data isn't what its first bytes promise."""

    def __init__(self, compression: str, reason: object) -> None:
        self.compression = compression
        super().__init__(f"invalid {compression} data: {reason}")


class _Engine(Protocol):
    """What bz2 and lzma have in common, and `_Inflate` lends to zlib."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Inflate:
    """A gzip member."""

    def __init__(self) -> None:
        self._engine = zlib_ng.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        block = self._engine.decompress(self._engine.unconsumed_tail + data, max_length)
        self.needs_input = len(block) < max_length and not self._engine.unconsumed_tail
        return block


def blocks(file: BufferedReader, offset: int = 0, length: int = -1) -> Iterator[bytes]:
    """The uncompressed bytes of `length` bytes (-1: the rest) at `offset`: plain, gzip, bzip2, xz or zstd.

    `file` is freshly opened; its first bytes tell which. Raises InvalidParameter for damaged or cut off data.
    """
    if offset:
        file.seek(offset)
    magic = file.peek(_MAGIC_BYTES)[: _MAGIC_BYTES if length < 0 else length]
    source = _Region(file, length)
    for start, name, read in _COMPRESSIONS:
        if magic.startswith(start):
            return _named(name, read(source))
    return source.blocks(BLOCK_BYTES)


def is_compressed(file: BufferedReader) -> bool:
    """Whether a freshly opened file starts like one of the compressions."""
    magic = file.peek(_MAGIC_BYTES)
    return any(magic.startswith(start) for start, _, _ in _COMPRESSIONS)


def digest(path: Path, offset: int = 0, length: int = -1, *, check: Callable[[], None] = lambda: None) -> str:
    """`sha256:<hex>` of the uncompressed bytes; `check` is called now and then and may raise to stop. Blocks."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        for block in blocks(file, offset, length):
            total.update(block)
            check()
    return f"sha256:{total.hexdigest()}"


class _Region:
    """Part of a file, read once from its start to its end."""

    def __init__(self, file: BufferedReader, length: int) -> None:
        self._file, self._left = file, length

    def read(self, size: int = -1) -> bytes:
        if self._left >= 0:
            size = min(size, self._left) if size >= 0 else self._left
        data = self._file.read(size)
        if self._left >= 0:
            self._left -= len(data)
        return data

    def blocks(self, size: int) -> Iterator[bytes]:
        while block := self.read(size):
            yield block
        if self._left > 0:
            raise CutShort


def _members(engine: Callable[[], _Engine]) -> Callable[[_Region], Iterator[bytes]]:
    """A reader of concatenated compressed members; zero bytes after a member are padding, as gzip(1) has it."""

    def read(source: _Region) -> Iterator[bytes]:
        current: _Engine | None = None
        for block in source.blocks(_COMPRESSED_BLOCK_BYTES):
            data = block
            while data or (current is not None and not current.needs_input):
                if current is None:
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    current = engine()
                expanded = current.decompress(data, BLOCK_BYTES)
                data = b""
                if expanded:
                    yield expanded
                if current.eof:
                    data, current = current.unused_data, None
        if current is not None:
            raise CutShort

    return read


def _zstd(source: _Region) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor().stream_reader(
        source,  # type: ignore[arg-type]  # it needs no more than `read`
        read_size=_COMPRESSED_BLOCK_BYTES,
        read_across_frames=True,
    )
    while block := reader.read(BLOCK_BYTES):
        yield block


def _named(name: str, source: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from source
    except OSError as error:
        if error.errno is not None:  # the disk's own failure; bz2 raises OSError without a number
            raise
        raise Damaged(name, error) from error
    except (_GZIP_ERROR, lzma.LZMAError, zstandard.ZstdError, EOFError) as error:
        raise Damaged(name, error) from error


_COMPRESSIONS: tuple[tuple[bytes, str, Callable[[_Region], Iterator[bytes]]], ...] = (
    (b"\x1f\x8b\x08", "gzip", _members(_Inflate)),
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
    (b"BZh", "bzip2", _members(bz2.BZ2Decompressor)),
    (b"\xfd7zXZ\x00", "xz", _members(lzma.LZMADecompressor)),
)
