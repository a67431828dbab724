"""What of a layer's tar isn't in the layer's files: headers, padding, order. With it the very tar can be had again;
without it an image that is saved, or pushed, would have other digests than the one that came.

    8 bytes   size of the tar, little-endian
    the rest  zstd: records `R` (u32 length, bytes as they are), and `F` (u64 size, u32 length of a path, the path):
              in this place stands what the file holds

Runs in the unpacking process, and in the one that puts tars together again.
"""

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import zstandard

from events.errors import SystemFailure
from handlers.kernel.openat2 import open_in_root

_SIZE = struct.Struct("<Q")
_RAW = struct.Struct("<cI")
_FILE = struct.Struct("<cQI")
_LEVEL = 3
_GATHER_BYTES = 64 * 1024
_BLOCK_BYTES = 1024 * 1024
_BUFFER_BYTES = 256 * 1024
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW


class SkeletonDamaged(SystemFailure):
    """A layer's tar can't be had again."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the layer's archive can't be put together again: {why}")


class SkeletonWriter:
    """Records while a layer is unpacked (see `entries.Recorder`)."""

    def __init__(self, file: IO[bytes]) -> None:
        """`file` is new and seekable."""
        self._file = file
        file.write(_SIZE.pack(0))
        self._writer = zstandard.ZstdCompressor(level=_LEVEL).stream_writer(file, closefd=False)
        self._raw = bytearray()
        self._paths: set[str] = set()
        self._size = 0

    def keep(self, data: memoryview) -> None:
        """See `Recorder`."""
        self._raw += data
        self._size += len(data)
        if len(self._raw) >= _GATHER_BYTES:
            self._flush()

    def refer(self, path: str, size: int) -> None:
        """See `Recorder`."""
        if not size:
            return
        self._flush()
        name = os.fsencode(path)
        self._writer.write(_FILE.pack(b"F", size, len(name)) + name)
        self._paths.add(path)
        self._size += size

    def misses(self, cleared: list[str]) -> bool:
        """Whether something that it refers to is among what was removed again."""
        return any(
            path in self._paths or any(known.startswith(f"{path}/") for known in self._paths) for path in cleared
        )

    def finish(self) -> None:
        """Complete the file; it isn't on disk yet."""
        self._flush()
        self._writer.flush(zstandard.FLUSH_FRAME)
        self._file.seek(0)
        self._file.write(_SIZE.pack(self._size))
        self._file.flush()

    def begin_again(self) -> "SkeletonWriter":
        """A new one in the same file."""
        self._writer.flush(zstandard.FLUSH_FRAME)
        self._file.seek(0)
        self._file.truncate()
        return SkeletonWriter(self._file)

    def _flush(self) -> None:
        if self._raw:
            self._writer.write(_RAW.pack(b"R", len(self._raw)) + self._raw)
            self._raw.clear()


def tar_size(path: Path) -> int:
    """Bytes of the tar. Raises OSError, SkeletonDamaged."""
    with path.open("rb") as file:
        return _read_size(file)


def told_size(file: IO[bytes]) -> int:
    """As `tar_size`, of a file that was just opened and stays as it is. Raises OSError, SkeletonDamaged."""
    size = _read_size(file)
    file.seek(0)
    return size


def assemble(file: IO[bytes], root: int) -> Iterator[bytes]:
    """The tar, by blocks; names resolve within the open directory `root`. Raises OSError, SkeletonDamaged."""
    _read_size(file)
    with zstandard.ZstdDecompressor().stream_reader(file) as frame:
        reader = io.BufferedReader(cast(io.RawIOBase, frame), _BUFFER_BYTES)  # records are small
        while kind := reader.read(1):
            if kind == b"R":
                yield _exactly(reader, _RAW, kind)
            elif kind == b"F":
                size, name = _reference(reader, kind)
                yield from _content(root, name, size)
            else:
                raise SkeletonDamaged("unknown record")


def _read_size(file: IO[bytes]) -> int:
    head = file.read(_SIZE.size)
    if len(head) < _SIZE.size:
        raise SkeletonDamaged("it was cut off")
    return int(_SIZE.unpack(head)[0])


def _exactly(reader: IO[bytes], layout: struct.Struct, kind: bytes) -> bytes:
    (_, length) = layout.unpack(kind + _bytes(reader, layout.size - 1))
    return _bytes(reader, length)


def _reference(reader: IO[bytes], kind: bytes) -> tuple[int, bytes]:
    _, size, length = _FILE.unpack(kind + _bytes(reader, _FILE.size - 1))
    return size, _bytes(reader, length)


def _bytes(reader: IO[bytes], size: int) -> bytes:
    data = reader.read(size)
    if len(data) < size:
        raise SkeletonDamaged("it was cut off")
    return data


def _content(root: int, name: bytes, size: int) -> Iterator[bytes]:
    descriptor = open_in_root(root, os.fsdecode(name), _FLAGS)
    try:
        if os.fstat(descriptor).st_size != size:
            raise SkeletonDamaged("a file has another size")
        while size:
            block = os.read(descriptor, min(size, _BLOCK_BYTES))
            if not block:
                raise SkeletonDamaged("a file became shorter")
            size -= len(block)
            yield block
    finally:
        os.close(descriptor)
