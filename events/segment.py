"""The file of the log that is written; without it the log's rules and SQLite's would be tangled.

https://www.sqlite.org/wal.html and https://www.sqlite.org/pragma.html#pragma_synchronous say why a commit is durable.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import aiosqlite
from typing_extensions import override

from events.errors import Unavailable
from events.ledger import Entry
from events.segment_reader import CACHE_SIZE, SegmentReader, translated
from events.segment_rows import Rows, UnknownFormat, rows_of
from events.segment_schema import FORMAT, LOG

BUSY_TIMEOUT_S: Final = 5.0  # only programs that aren't ours can lock the database
CHECKPOINT_PAGES: Final = 4000  # fewer, larger checkpoints: the median append never meets one
JOURNAL_BYTES: Final = 32 * 1024 * 1024

_PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    CACHE_SIZE,
    f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
    f"journal_size_limit = {JOURNAL_BYTES}",
)
_OLDER_STREAMS: Final = """
CREATE TEMP TRIGGER older_streams BEFORE INSERT ON main.events
    WHEN NEW.version = 1 AND EXISTS (SELECT 1 FROM older.streams WHERE stream = NEW.stream)
    BEGIN SELECT RAISE(ABORT, 'the stream is in an older file'); END
"""
_INSERT: Final = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)"


class _WholeTransactions(sqlite3.Connection):
    """aiosqlite crosses to its thread once for every call, so a whole transaction is made one call."""

    def executemany(  # type: ignore[explicit-override]  # typing.override came with Python 3.12
        self, sql: str, parameters: Iterable[Any], /
    ) -> sqlite3.Cursor:
        with self:
            return super().executemany(sql, parameters)


class Segment(SegmentReader):
    """An open file: one connection that writes, one that reads, and one for those who read all of it.

    Whoever catches up keeps a connection busy: commands don't wait for it.
    """

    def __init__(
        self,
        path: Path,
        rows: Rows,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        follower: aiosqlite.Connection,
    ) -> None:
        super().__init__(rows)
        self.path = path
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
                rows = await _configure(writer, path)
                reader = await stack.enter_async_context(_reading(path))
                follower = await stack.enter_async_context(_reading(path))
                for each in (reader, follower):
                    await _run(each, "PRAGMA query_only = ON")
                    await _run(each, f"PRAGMA {CACHE_SIZE}")
            except sqlite3.Error as error:
                raise translated(error) from error
            stack.pop_all()
        return cls(path, rows, writer, reader, follower)

    async def attach(self, index: Path) -> None:
        """Let it know the streams of older files: a stream that is there can't begin here anew."""
        try:
            for each in (self._writer, self._reader):
                await each.execute("ATTACH ? AS older", (str(index),))
            await _run(self._writer, _OLDER_STREAMS)
        except sqlite3.Error as error:
            raise translated(error) from error

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
            await self._writer.executemany(_INSERT, [self.rows.made(entry) for entry in entries])
        except sqlite3.Error as error:
            raise translated(error) from error

    @override
    async def fetch(self, sql: str, *parameters: object) -> list[Any]:
        """Rows of a query."""
        return await _fetched(self._reader, sql, *parameters)

    @override
    async def fetch_apart(self, sql: str, *parameters: object) -> list[Any]:
        """On a connection of its own."""
        return await _fetched(self._follower, sql, *parameters)


def _reading(path: Path) -> aiosqlite.Connection:
    return aiosqlite.connect(path, timeout=BUSY_TIMEOUT_S)


async def _fetched(connection: aiosqlite.Connection, sql: str, *parameters: object) -> list[Any]:
    try:
        return list(await connection.execute_fetchall(sql, parameters))
    except sqlite3.Error as error:
        raise translated(error) from error
    except ValueError as error:  # aiosqlite's word for a closed connection
        raise Unavailable("the event log is closed") from error


async def _configure(writer: aiosqlite.Connection, path: Path) -> Rows:
    """Set the writer up and read what the file says of itself."""
    ((version,),) = await _run(writer, "PRAGMA user_version")
    if version != FORMAT:
        raise UnknownFormat(path, version)
    for pragma in _PRAGMAS:
        await _run(writer, f"PRAGMA {pragma}")
    return rows_of(*(await _run(writer, LOG))[0])


async def _run(connection: aiosqlite.Connection, sql: str) -> list[Any]:
    return list(await connection.execute_fetchall(sql))
