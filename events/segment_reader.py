"""What can be asked of one file of the log, whether it is the one that is written or an older one."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from events import claims
from events.codec import Record
from events.envelope import Recorded
from events.errors import EngineError, Unavailable
from events.ledger import Position
from events.log import LogBroken, Stored
from events.segment_rows import Row, Rows

REPLAYED_ROWS: Final = 4000
CACHE_SIZE: Final = "cache_size = -512"  # KiB that a connection never gives back; the kernel caches pages too

_PAGE: Final = "SELECT record, hash FROM events WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"
_STORED: Final = (
    "SELECT sequence, record, hash FROM events WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"
)
_CHECKED: Final = "SELECT * FROM events WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"
_STREAM: Final = (
    "SELECT record, hash FROM events WHERE stream = ? AND version > ? AND sequence <= ? ORDER BY version LIMIT ?"
)
_VERSIONS: Final = (
    "SELECT stream, max(version) FROM events WHERE stream IN (SELECT value FROM json_each(?)) GROUP BY stream"
)
_REPLY: Final = "SELECT record FROM events WHERE command = ? AND sequence <= ? ORDER BY sequence LIMIT 1"
_CLAIMS: Final = "SELECT sequence, record FROM events WHERE claims = 1 AND sequence > ? ORDER BY sequence LIMIT ?"

_BUSY: Final = "the event log's database is locked by another program: nothing was changed, try again"
_WRITES: Final = ("SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_TRUNCATE")
_TAKEN: Final = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_TRIGGER)


class NoSpace(Unavailable):
    """The disk is full, or a quota is used up."""

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message or "no space left on device for the event log: nothing was changed, free some space and try again"
        )


class VersionTaken(LogBroken):
    """The stream has an event of this version: its writer knew less than the file does. Nothing was stored."""


class SegmentReader(ABC):
    """One file. No read transaction outlives a call."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.base = rows.base  # where the log stood before this file

    @abstractmethod
    async def fetch(self, sql: str, *parameters: object) -> list[Any]:
        """Rows of a query. Raises LogBroken, Unavailable."""

    async def fetch_apart(self, sql: str, *parameters: object) -> list[Any]:
        """The same for those who read all of it, beside the others where that can be."""
        return await self.fetch(sql, *parameters)

    async def versions(self, streams: Iterable[str]) -> dict[str, int]:
        """The versions of those streams that have events here."""
        keys = {self.rows.key(stream): stream for stream in streams}
        found = await self.fetch(_VERSIONS, msgspec.json.encode(list(keys)).decode())
        return {keys[key]: version for key, version in found}

    async def position(self) -> Position:
        """Where the log stands after this file."""
        found = await self.fetch("SELECT sequence, record, hash FROM events ORDER BY sequence DESC LIMIT 1")
        if not found:
            return self.base
        sequence, frame, digest = found[0]
        try:
            record = self.rows.record(frame)
        except LogBroken as error:
            raise LogBroken(f"event {sequence}: {error}") from error
        return Position(sequence=sequence, time_ns=record.time_ns, clock_ns=record.clock_ns, hash=digest)

    async def page(self, after: int, last: int, limit: int) -> list[Recorded]:
        """Events with sequences in (after, last], at most `limit`."""
        return [self.rows.recorded(*row) for row in await self.fetch(_PAGE, after, last, limit)]

    async def stored(self, after: int, last: int, limit: int) -> list[Stored]:
        """Events with sequences in (after, last] as they are hashed, at most `limit`."""
        found = await self.fetch_apart(_STORED, after, last, limit)
        return [(sequence, self.rows.stored(frame), digest) for sequence, frame, digest in found]

    async def stream_page(self, stream: str, after: int, last: int, limit: int) -> list[Recorded]:
        """Events of a stream with versions greater than `after` and sequences up to `last`, at most `limit`."""
        found = await self.fetch(_STREAM, self.rows.key(stream), after, last, limit)
        events = [self.rows.recorded(*row) for row in found]
        return [event for event in events if event.stream == stream]

    async def reply(self, command_id: str, last: int) -> bytes | None:
        """The first answer to a command up to a sequence."""
        found = await self.fetch(_REPLY, self.rows.key(command_id), last)
        record = self.rows.record(found[0][0]) if found else None
        return bytes(record.reply) if record is not None and record.cause.command_id == command_id else None

    async def fold_claims(self, holders: dict[str, str], after: int) -> None:
        """Bring who holds which claim up to date, by the events after a sequence that changed any."""
        while found := await self.fetch(_CLAIMS, after, REPLAYED_ROWS):
            for _, frame in found:
                claims.fold(holders, claims.told_by(self.rows.stored(frame)))
            after = found[-1][0]

    async def hash_of(self, sequence: int) -> bytes:
        """The hash of an event, or of what stands before this file. Raises LogBroken when there is no such event."""
        if sequence == self.base.sequence:
            return self.base.hash
        found = await self.fetch("SELECT hash FROM events WHERE sequence = ?", sequence)
        if not found:
            raise LogBroken(f"event {sequence} is missing from the log")
        return bytes(found[0][0])

    async def checked_page(self, after: int, last: int, previous: bytes) -> tuple[list[Row], list[Record]]:
        """The next rows with sequences in (after, last], and their records; chain and columns hold.

        `previous` is the hash of event `after`. Raises LogBroken that names the first bad sequence.
        """
        found = await self._readable_page(after, last)
        return found, self.rows.checked(found, previous, after)

    async def check_page(self, after: int, last: int, previous: bytes) -> tuple[int, bytes]:
        """The same without the records; sequence and hash of the last of the rows."""
        found = await self._readable_page(after, last)
        self.rows.check(found, previous, after)
        return found[-1][0], found[-1][6]

    async def _readable_page(self, after: int, last: int) -> list[Row]:
        """The next rows; where the file itself is damaged, those before the damage, then the error with a name."""
        limit = REPLAYED_ROWS
        while True:
            try:
                return await self.fetch_apart(_CHECKED, after, last, limit)
            except LogBroken as error:
                if limit == 1:
                    raise LogBroken(f"event {after + 1} can't be read: {error}") from error
                limit = max(1, limit // 10)


def translated(error: sqlite3.Error) -> EngineError:
    """What an error of SQLite means to those who use the log."""
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return NoSpace()
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Unavailable(_BUSY)
        case _ if getattr(error, "sqlite_errorcode", 0) in _TAKEN:
            return VersionTaken(f"another program wrote to the event log: {error}")
        case _:
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            broken = LogBroken(f"the event log can't be trusted any more: {error} ({name})")
            broken.is_write = name in _WRITES
            return broken
