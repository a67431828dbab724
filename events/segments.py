"""All files of a log as one; without it each reader would have to know where one file ends and the next begins.

What is looked up by name in older files (a stream's version, an answer) is found by `older.sqlite`, an index that is
made again when it is missing or doesn't fit.
"""

import sqlite3
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from anyio.to_thread import run_sync

from events.codec import Record
from events.envelope import Recorded
from events.first_format import upgrade
from events.ledger import Entry, Position
from events.log import LogBroken, Stored
from events.log_directory import clear_replaced, create_file, newest_segment, segment_path, segments, sync_directory
from events.older_segments import OlderSegment
from events.segment import Segment
from events.segment_reader import SegmentReader, translated
from events.segment_schema import Identity, create

_INDEX_FILE: Final = "older.sqlite"
_INDEX_SCHEMA: Final = """
CREATE TABLE files (first INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT;
CREATE TABLE streams (
    stream INTEGER, first INTEGER, version INTEGER NOT NULL, PRIMARY KEY (stream, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE answers (
    command INTEGER, first INTEGER, PRIMARY KEY (command, first)
) STRICT, WITHOUT ROWID;
"""
_OPEN_ARCHIVES: Final = 2  # each takes its size on disk, until nobody has read it for a while


class Segments:
    """The files, oldest first; only the newest is written. Every sequence is in one of them."""

    def __init__(self, directory: Path, older: Sequence[OlderSegment], active: Segment) -> None:
        self.directory = directory
        self._older = list(older)
        self._firsts = [segment.base.sequence for segment in older]
        self._recent: list[OlderSegment] = []  # those that may be open
        self.active = active

    @classmethod
    async def open(cls, directory: Path, log_id: str) -> "Segments":
        """Open the files in a directory; `log_id` is for a new one. Raises LogBroken when they don't fit together."""
        older = await run_sync(_prepared, directory, log_id)
        active = await Segment.open(segments(directory)[-1])
        try:
            for earlier, later in zip(older, (*older, active)[1:], strict=True):
                check_joint(earlier, later)
            if older:
                await active.attach(directory / _INDEX_FILE)
        except BaseException:
            await active.close()
            raise
        return cls(directory, older, active)

    async def close(self) -> None:
        """Close everything."""
        for segment in self.older:
            await run_sync(segment.close)
        await self.active.close()

    @property
    def log_id(self) -> str:
        """Random id of the log."""
        return self.active.rows.identity.id

    @property
    def older(self) -> tuple[OlderSegment, ...]:
        """The files that are complete, oldest first."""
        return tuple(self._older)

    async def insert(self, entries: Sequence[Entry]) -> None:
        """Store entries durably, all or none. Raises VersionTaken, Unavailable (disk full), LogBroken."""
        await self.active.insert(entries)

    async def roll(self, position: Position) -> None:
        """Begin a new file after `position`, which is where the log stands. Nothing may be stored meanwhile."""
        complete = self.active
        older = OlderSegment(complete.path, complete.rows, position)
        await run_sync(make_index, self.directory, [*self._older, older])
        path = await run_sync(_new_file, self.directory, self.active.rows.identity, position)
        try:
            active = await Segment.open(path)
            await active.attach(self.directory / _INDEX_FILE)
        except BaseException:
            path.unlink()  # what is appended next goes where it went before
            raise
        self._older.append(older)
        self._firsts.append(older.base.sequence)
        self.active = active
        await complete.close()

    async def archive(self, segment: OlderSegment) -> None:
        """Verify a file and replace it by an archive. Raises LogBroken, OSError."""
        await run_sync(segment.archive)

    async def close_unread(self) -> bool:
        """Close the older files that nobody has read since the last call; whether there were any."""
        return any([await run_sync(segment.close_unread) for segment in self.older])

    def _at(self, sequence: int) -> SegmentReader:
        """The file that an event is in, or will be."""
        if sequence > self.active.base.sequence:
            return self.active
        return self._older[max(0, bisect_right(self._firsts, sequence - 1) - 1)]

    async def _opened(self, sequence: int) -> SegmentReader:
        """The same; of the older ones only a few stay open."""
        segment = self._at(sequence)
        if isinstance(segment, OlderSegment):
            if segment in self._recent:
                self._recent.remove(segment)
            self._recent.append(segment)
            if len(self._recent) > _OPEN_ARCHIVES:
                await run_sync(self._recent.pop(0).close)
        return segment

    async def position(self) -> Position:
        """Where the log stands."""
        return await self.active.position()

    async def page(self, after: int, last: int, limit: int) -> list[Recorded]:
        """Events with sequences in (after, last], at most `limit`, fewer at the end of a file."""
        return await (await self._opened(after + 1)).page(after, last, limit) if after < last else []

    async def stored(self, after: int, last: int, limit: int) -> list[Stored]:
        """The same as they are hashed."""
        return await (await self._opened(after + 1)).stored(after, last, limit) if after < last else []

    async def stream_page(self, stream: str, after: int, last: int, limit: int) -> list[Recorded]:
        """Events of a stream with versions greater than `after` and sequences up to `last`, at most `limit`."""
        sql = "SELECT first FROM older.streams WHERE stream = ? AND version > ? ORDER BY first LIMIT 1"
        holding = await self._first(sql, self.active.rows.key(stream), after)
        return await holding.stream_page(stream, after, last, limit)

    async def reply(self, command_id: str, last: int) -> bytes | None:
        """The first answer to a command up to a sequence."""
        sql = "SELECT first FROM older.answers WHERE command = ? ORDER BY first LIMIT 1"
        return await (await self._first(sql, self.active.rows.key(command_id))).reply(command_id, last)

    async def _first(self, sql: str, *parameters: object) -> SegmentReader:
        """The older file that a query of the index finds, else the newest."""
        asked = None
        while self._older and asked is not self.active:  # one that was the newest when it was asked may be older by now
            asked = self.active
            found = await asked.fetch(sql, *parameters)
            if found:
                return await self._opened(found[0][0] + 1)
        return self.active

    async def versions(self, streams: Iterable[str]) -> dict[str, int]:
        """The versions of streams; 0 for one that has no events."""
        named = list(streams)
        versions = dict.fromkeys(named, 0)
        if self._older:
            sql = "SELECT max(version) FROM older.streams WHERE stream = ?"
            for stream in named:
                ((version,),) = await self.active.fetch(sql, self.active.rows.key(stream))
                versions[stream] = version or 0
        return versions | await self.active.versions(named)

    async def fold_claims(self, holders: dict[str, str], after: int) -> None:
        """Bring who holds which claim up to date, by the events after a sequence that changed any."""
        for older in self._older:
            if older.last.sequence > after:
                await (await self._opened(older.last.sequence)).fold_claims(holders, after)
        await self.active.fold_claims(holders, after)

    async def hash_of(self, sequence: int) -> bytes:
        """The hash of an event; of 0, what stands before the first. Raises LogBroken when there is no such event."""
        return await (await self._opened(max(1, sequence))).hash_of(sequence)

    async def checked(self, after: int, last: int) -> AsyncIterator[list[Record]]:
        """The records of all events with sequences in (after, last], page by page; chain and columns hold.

        Raises LogBroken that names the first bad sequence.
        """
        previous = await self.hash_of(after)
        while after < last:
            rows, records = await (await self._opened(after + 1)).checked_page(after, last, previous)
            yield records
            after, previous = rows[-1][0], rows[-1][6]

    async def check(self, first: int, last: int) -> None:
        """Recompute the chain over a range and compare the columns. Raises LogBroken that names a bad sequence."""
        after = first - 1
        previous = await self.hash_of(after)
        while after < last:
            after, previous = await (await self._opened(after + 1)).check_page(after, last, previous)


def check_joint(earlier: OlderSegment, later: SegmentReader) -> None:
    """A file goes on from the one before it. Raises LogBroken."""
    if later.rows.identity.origin != earlier.rows.identity.origin:
        raise LogBroken(f"{earlier.path.name} is of another log than the file after it")
    if later.base != earlier.last:
        raise LogBroken(
            f"event {earlier.last.sequence + 1} is missing from the log: {earlier.path.name} isn't followed by the "
            "file that goes on from it"
        )


def _prepared(directory: Path, log_id: str) -> list[OlderSegment]:
    """Make what is missing (blocking): the first file, the index; the older files."""
    clear_replaced(directory)
    paths = segments(directory)
    if newest_segment(directory) is None:
        _new_file(directory, Identity(log_id), Position.genesis(log_id))
        return []
    if paths[0] != segment_path(directory, 1) and paths[0].name.partition(".")[0] != segment_path(directory, 1).stem:
        raise LogBroken(f"event 1 is missing from the log: the first file in {directory} is {paths[0].name}")
    upgrade(paths[-1])
    older = [OlderSegment.read(path) for path in paths[:-1]]
    if older:
        make_index(directory, older)
    return older


def _new_file(directory: Path, identity: Identity, base: Position) -> Path:
    """A new file; it has its name only once it is complete and durable."""
    path = segment_path(directory, base.sequence + 1)
    draft = path.with_suffix(".new")
    create_file(draft)
    create(draft, identity, base)
    draft.rename(path)
    sync_directory(directory)
    return path


def make_index(directory: Path, older: Sequence[OlderSegment]) -> None:
    """Bring the index up to date with the older files (blocking)."""
    path = directory / _INDEX_FILE
    wanted = {segment.base.sequence: segment.last.hash for segment in older}
    try:
        with closing(_opened_index(path)) as connection:
            known = dict(connection.execute("SELECT first, hash FROM files").fetchall())
            if all(wanted.get(first) == digest for first, digest in known.items()):
                for segment in older:
                    if segment.base.sequence not in known:
                        _index_segment(connection, segment)
                return
    except sqlite3.DatabaseError:
        pass  # it is made again
    for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        each.unlink(missing_ok=True)
    try:
        with closing(_opened_index(path)) as connection:
            for segment in older:
                _index_segment(connection, segment)
    except sqlite3.Error as error:
        raise translated(error) from error


def _opened_index(path: Path) -> sqlite3.Connection:
    if not path.exists():
        create_file(path)
    connection = sqlite3.connect(path)
    if not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        connection.executescript(
            f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN; {_INDEX_SCHEMA} COMMIT;"
        )
    return connection


def _index_segment(connection: sqlite3.Connection, segment: OlderSegment) -> None:
    first = segment.base.sequence
    streams = segment.each("SELECT stream, max(version) FROM events GROUP BY stream")
    answers = segment.each("SELECT DISTINCT command FROM events WHERE command IS NOT NULL")
    with connection:
        connection.executemany("INSERT INTO streams VALUES (?, ?, ?)", ((key, first, top) for key, top in streams))
        connection.executemany("INSERT INTO answers VALUES (?, ?)", ((key, first) for (key,) in answers))
        connection.execute("INSERT INTO files VALUES (?, ?)", (first, segment.last.hash))
    segment.close()
