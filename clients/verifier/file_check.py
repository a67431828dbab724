"""Checks one file of a log by itself, from where it says that it begins; whether that is true, only the log tells."""

import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import msgspec
import zstandard

from clients.verifier.records import Beginning, beginning, opened

MAXIMUM_RECORD_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Checked:
    """What a file says of itself, and how its events end; or what is wrong with the first that isn't right."""

    start: Beginning
    sequence: int = 0  # of its last event
    digest: bytes = b""  # of that event
    met: Mapping[int, bytes] = field(default_factory=dict)  # hashes of those that were asked for
    wrong: str = ""


class _Told(msgspec.Struct, frozen=True, gc=False):
    """What a record must tell; the rest of it needs to be JSON."""

    sequence: int


_read = msgspec.json.Decoder(_Told).decode


def check(path: Path, room: Path, wanted: Collection[int] = ()) -> Checked:
    """Check a copy of the file below `room`. Raises AuditFailed where it can't even be told how the file begins."""
    with opened(path, room) as connection:
        return _follow(connection, beginning(path, connection), wanted)


def _follow(connection: sqlite3.Connection, start: Beginning, wanted: Collection[int]) -> Checked:
    """Each event follows on the one before. There are millions: what is done for each of them is done right here."""
    dictionary = zstandard.ZstdCompressionDict(start.dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    unpack = zstandard.ZstdDecompressor(dict_data=dictionary).decompress
    rows = "SELECT sequence, record, hash FROM events ORDER BY sequence"
    sequence, previous, met = start.sequence, start.digest, {}
    try:
        for expected, (sequence, frame, digest) in enumerate(connection.execute(rows), start=start.sequence + 1):
            record = unpack(frame, max_output_size=MAXIMUM_RECORD_BYTES)
            if sequence != expected:
                return Checked(start, wrong=f"event {expected} is missing")
            if sha256(previous + record).digest() != digest:
                return Checked(start, wrong=_unfit(sequence))
            told = _read(record.decode()).sequence  # as a text: what is skipped must be UTF-8 too
            if told != sequence:
                return Checked(start, wrong=f"event {sequence} says that it is event {told}: events were moved")
            if sequence in wanted:
                met[sequence] = digest
            previous = digest
    except sqlite3.Error as error:
        return Checked(start, wrong=f"event {sequence + 1} can't be read ({error}): the file is damaged")
    except (zstandard.ZstdError, MemoryError, TypeError) as error:  # a damaged frame may claim any size
        return Checked(start, wrong=f"event {sequence} can't be unpacked ({error!r}): it was changed or damaged")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Checked(start, wrong=f"event {sequence} can't be read ({error!r})")
    return Checked(start, sequence, previous, met)


def _unfit(sequence: int) -> str:
    return (
        f"event {sequence} doesn't fit the chain of hashes: it, or what comes before it, "
        "was changed, or events were exchanged"
    )
