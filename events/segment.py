"""One SQLite file of the log; without it the log's rules and SQLite's would be tangled.

`record` holds the exact bytes that are hashed. The other columns are indexes of it, and `check` compares them.
https://www.sqlite.org/wal.html and https://www.sqlite.org/pragma.html#pragma_synchronous say why a commit is durable.
"""

import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import aiosqlite
import msgspec

from events import chain, claims, codec
from events.envelope import Recorded
from events.errors import EngineError, Unavailable
from events.ledger import Entry, Position
from events.log import LogBroken, Stored
from events.segment_schema import FORMAT

PAGE_ROWS: Final = 200
REPLAYED_ROWS: Final = 1000
BUSY_TIMEOUT_S: Final = 5.0  # only programs that aren't ours can lock the database
CHECKPOINT_PAGES: Final = 4000  # fewer, larger checkpoints: the median append never meets one
JOURNAL_BYTES: Final = 32 * 1024 * 1024

_PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
    f"journal_size_limit = {JOURNAL_BYTES}",
)
_INSERT: Final = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

_CHECKED: Final = "SELECT * FROM events WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"

_NO_SPACE: Final = "no space left on device for the event log: nothing was changed, free some space and try again"
_BUSY: Final = "the event log's database is locked by another program: nothing was changed, try again"


class VersionTaken(LogBroken):
    """The stream has an event of this version: its writer knew less than the file does. Nothing was stored."""


class _WholeTransactions(sqlite3.Connection):
    """aiosqlite crosses to its thread once for every call, so a whole transaction is made one call."""

    def executemany(  # type: ignore[explicit-override]  # typing.override came with Python 3.12
        self, sql: str, parameters: Iterable[Any], /
    ) -> sqlite3.Cursor:
        with self:
            return super().executemany(sql, parameters)


class Segment:
    """An open file: one connection that writes, one that reads, and one for those who read all of it.

    No read transaction outlives a call. Whoever catches up keeps a connection busy: commands don't wait for it.
    """

    def __init__(
        self,
        path: Path,
        log_id: str,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        follower: aiosqlite.Connection,
    ) -> None:
        self.path = path
        self.log_id = log_id
        self._writer = writer
        self._reader = reader
        self._follower = follower

    @classmethod
    async def open(cls, path: Path) -> "Segment":
        """Open the connections. Raises LogBroken for a file that isn't ours or can't be read."""
        async with AsyncExitStack() as stack:
            try:
                writer = await stack.enter_async_context(
                    aiosqlite.connect(path, factory=_WholeTransactions, timeout=BUSY_TIMEOUT_S)
                )
                log_id = await _configure(writer, path)
                reader = await stack.enter_async_context(_reading(path))
                follower = await stack.enter_async_context(_reading(path))
                for each in (reader, follower):
                    await _run(each, "PRAGMA query_only = ON")
            except sqlite3.Error as error:
                raise translated(error) from error
            stack.pop_all()
        return cls(path, log_id, writer, reader, follower)

    async def close(self) -> None:
        """Close the connections; SQLite then moves its write-ahead log into the file."""
        try:
            await self._follower.close()
        finally:
            try:
                await self._reader.close()
            finally:
                await self._writer.close()

    async def insert(self, entries: Sequence[Entry]) -> None:
        """Store entries durably, all or none. Raises VersionTaken, Unavailable (disk full), LogBroken."""
        try:
            await self._writer.executemany(_INSERT, [_columns(entry) for entry in entries])
        except sqlite3.Error as error:
            raise translated(error) from error

    async def versions(self, streams: Iterable[str]) -> dict[str, int]:
        """The versions of streams; 0 for one that has no events."""
        named = list(streams)
        sql = "SELECT stream, max(version) FROM events WHERE stream IN (SELECT value FROM json_each(?)) GROUP BY stream"
        return dict.fromkeys(named, 0) | dict(await self._fetch(sql, msgspec.json.encode(named).decode()))

    async def position(self) -> Position:
        """Where the log stands."""
        rows = await self._fetch("SELECT record, hash FROM events ORDER BY sequence DESC LIMIT 1")
        if not rows:
            return Position(hash=chain.genesis(self.log_id))
        record = codec.decode_record(rows[0][0])
        return Position(sequence=record.sequence, time_ns=record.time_ns, clock_ns=record.clock_ns, hash=rows[0][1])

    async def page(self, after: int, last: int, limit: int) -> list[Recorded]:
        """Events with sequences in (after, last], at most `limit`."""
        sql = "SELECT record, hash FROM events WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"
        return [codec.recorded(*row) for row in await self._fetch(sql, after, last, limit)]

    async def stored(self, after: int, last: int, limit: int) -> list[Stored]:
        """Events with sequences in (after, last] as they are stored, at most `limit`."""
        sql = "SELECT sequence, record, hash FROM events WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"
        return await _fetched(self._follower, sql, after, last, limit)

    async def stream_page(self, stream: str, after: int, last: int, limit: int) -> list[Recorded]:
        """Events of a stream with versions greater than `after` and sequences up to `last`, at most `limit`."""
        sql = (
            "SELECT record, hash FROM events WHERE stream = ? AND version > ? AND sequence <= ?"
            " ORDER BY version LIMIT ?"
        )
        return [codec.recorded(*row) for row in await self._fetch(sql, stream, after, last, limit)]

    async def reply(self, command_id: str, last: int) -> bytes | None:
        """The first answer to a command up to a sequence."""
        sql = (
            "SELECT record FROM events WHERE command_id = ? AND replies = 1 AND sequence <= ? ORDER BY sequence LIMIT 1"
        )
        rows = await self._fetch(sql, command_id, last)
        return bytes(codec.decode_record(rows[0][0]).reply) if rows else None

    async def fold_claims(self, holders: dict[str, str], after: int) -> None:
        """Bring who holds which claim up to date, by the events after a sequence that changed any."""
        sql = "SELECT sequence, record FROM events WHERE claims = 1 AND sequence > ? ORDER BY sequence LIMIT ?"
        while rows := await self._fetch(sql, after, PAGE_ROWS):
            for _, record in rows:
                claims.fold(holders, codec.decode_record(record))
            after = rows[-1][0]

    async def replay(self, after: int, last: int) -> AsyncIterator[list[Recorded]]:
        """Events with sequences in (after, last], checked as `check` does, page by page. Raises LogBroken."""
        previous = await self.hash_of(after)
        while after < last:
            rows = await self._fetch(_CHECKED, after, last, REPLAYED_ROWS)
            previous = _check_rows(previous, after, rows)
            yield [codec.recorded(row[7], row[8]) for row in rows]
            after += len(rows)

    async def check(self, first: int, last: int) -> None:
        """Recompute the chain over a range and compare the columns. Raises LogBroken that names a bad sequence."""
        after, previous = first - 1, await self.hash_of(first - 1)
        while after < last:
            rows = await self._fetch(_CHECKED, after, last, PAGE_ROWS)
            previous = _check_rows(previous, after, rows)
            after += len(rows)

    async def hash_of(self, sequence: int) -> bytes:
        """The hash of an event; of 0, what stands before the first. Raises LogBroken when there is no such event."""
        if sequence == 0:
            return chain.genesis(self.log_id)
        rows = await self._fetch("SELECT hash FROM events WHERE sequence = ?", sequence)
        if not rows:
            raise LogBroken(f"event {sequence} is missing from the log")
        return bytes(rows[0][0])

    async def _fetch(self, sql: str, *parameters: object) -> list[Any]:
        return await _fetched(self._reader, sql, *parameters)


def _reading(path: Path) -> aiosqlite.Connection:
    return aiosqlite.connect(path, timeout=BUSY_TIMEOUT_S)


async def _fetched(connection: aiosqlite.Connection, sql: str, *parameters: object) -> list[Any]:
    try:
        return list(await connection.execute_fetchall(sql, parameters))
    except sqlite3.Error as error:
        raise translated(error) from error
    except ValueError as error:  # aiosqlite's word for a closed connection
        raise Unavailable("the event log is closed") from error


async def _configure(writer: aiosqlite.Connection, path: Path) -> str:
    """Set the writer up and return the log's id."""
    ((version,),) = await _run(writer, "PRAGMA user_version")
    if version != FORMAT:
        raise LogBroken(f"{path} has format {version}, this engine knows {FORMAT}")
    for pragma in _PRAGMAS:
        await _run(writer, f"PRAGMA {pragma}")
    ((log_id,),) = await _run(writer, "SELECT id FROM log")
    return str(log_id)


async def _run(connection: aiosqlite.Connection, sql: str) -> list[Any]:
    return list(await connection.execute_fetchall(sql))


def translated(error: sqlite3.Error) -> EngineError:
    """What an error of SQLite means to those who use the log."""
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return Unavailable(_NO_SPACE)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Unavailable(_BUSY)
        case _ if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_UNIQUE:
            return VersionTaken(f"another program wrote to the event log: {error}")
        case _:
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            return LogBroken(f"the event log can't be trusted any more: {error} ({name})")


def _columns(entry: Entry) -> tuple[object, ...]:
    event = entry.recorded
    return (
        event.sequence,
        event.stream,
        event.version,
        event.event.TYPE,
        event.cause.command_id,
        event.reply is not None,
        entry.changes_claims,
        entry.stored,
        event.hash,
    )


def _check_rows(previous: bytes, after: int, rows: Sequence[Any]) -> bytes:
    """Rows follow on event `after` with hash `previous`, and their columns fit; the hash of the last."""
    if not rows:
        raise LogBroken(f"event {after + 1} is missing from the log")
    previous = chain.check(previous, after, ((row[0], row[7], row[8]) for row in rows))
    for row in rows:
        _check_columns(row)
    return previous


def _check_columns(row: Sequence[Any]) -> None:
    """The columns say what the hashed record says."""
    record = codec.decode_record(row[7])
    changes_claims = bool(record.take or record.release)
    told = (
        record.sequence,
        record.stream,
        record.version,
        record.type,
        record.cause.command_id,
        record.reply != codec.NO_REPLY,
        changes_claims,
    )
    if told != tuple(row[:7]):
        raise LogBroken(f"event {row[0]} has index columns that differ from its record")
