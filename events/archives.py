"""Archives: complete files of the log, compressed; how one is written, and how it is read like the file that it was.

An archive is a zstd file: a skippable frame that says what is in it, then the SQLite file as it was.
https://www.rfc-editor.org/rfc/rfc8878#name-skippable-frames

To be read it is unpacked beside itself, not in memory: what a process took once for so much it wouldn't give back. Only
on a full disk it is held there, for questions are answered then too. The unpacked file loses its name as soon as SQLite
has it open (SQLite opens no file that never had one), so its room is free again when the connection is closed or the
process ends; what dies before that leaves a draft, which the next opening of the log clears.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

import msgspec
import zstandard

from events.ledger import Position
from events.log import LogBroken
from events.log_directory import ARCHIVED, create_draft
from events.reserve import has_room
from events.segment_schema import Identity

_SKIPPABLE: Final = 0x184D2A53.to_bytes(4, "little")
_LENGTH_BYTES: Final = 4
_LEVEL: Final = 9
_CHUNK_BYTES: Final = 1 << 18


class ArchiveHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive says of itself; `size_bytes` is the SQLite file's."""

    log: Identity
    base: Position  # before its first event
    last: Position  # its last event
    size_bytes: int


def is_archive(path: Path) -> bool:
    """Whether it is one, or the draft of one."""
    return ARCHIVED in path.suffixes


def read_header(file: BinaryIO, path: Path) -> ArchiveHeader:
    """What is in an archive. Raises LogBroken."""
    magic, length = file.read(len(_SKIPPABLE)), int.from_bytes(file.read(_LENGTH_BYTES), "little")
    try:
        if magic == _SKIPPABLE:
            return msgspec.json.decode(file.read(length), type=ArchiveHeader)
    except msgspec.MsgspecError:
        pass
    raise LogBroken(f"{path} isn't an archive of this engine's log, or its beginning is damaged")


def compress(source: Path, target: Path, header: ArchiveHeader) -> None:
    """Fill an empty file with an archive of another one (blocking). Raises OSError."""
    encoded = msgspec.json.encode(header)
    with source.open("rb") as read, target.open("r+b") as written:
        written.write(_SKIPPABLE + len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded)
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        compressor.copy_stream(read, written, size=os.fstat(read.fileno()).st_size)


def connect(path: Path) -> sqlite3.Connection:
    """A connection to what is in an archive, for reading (blocking). Raises LogBroken, OSError."""
    try:
        return _on_disk(path) or _in_memory(path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _in_memory(path)


def _on_disk(path: Path) -> sqlite3.Connection | None:
    """None where the disk has no room for it."""
    descriptor, draft = create_draft(path.parent)
    try:
        with os.fdopen(descriptor, "wb") as unpacked:
            for chunk in _content(path):
                if not has_room(path.parent, len(chunk)):
                    return None
                unpacked.write(chunk)
        return sqlite3.connect(f"file:{quote(str(draft))}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    finally:
        draft.unlink(missing_ok=True)


def _in_memory(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.deserialize(b"".join(_content(path)))
    return connection


def _content(path: Path) -> Iterator[bytes]:
    """The file that it was, piece by piece."""
    with path.open("rb") as file:
        left_bytes = read_header(file, path).size_bytes
        try:
            with zstandard.ZstdDecompressor().stream_reader(file) as content:
                while left_bytes >= 0 and (chunk := content.read(_CHUNK_BYTES)):
                    left_bytes -= len(chunk)
                    yield chunk
        except zstandard.ZstdError as error:
            raise LogBroken(f"{path} can't be unpacked: {error}") from error
    if left_bytes:
        raise LogBroken(f"{path} is incomplete")
