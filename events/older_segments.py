"""Files of the log that are complete: as they were written, or compressed into an archive (`archives`)."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from anyio.to_thread import run_sync
from typing_extensions import override

from events.archives import ArchiveHeader, compress, connect, is_archive, read_header
from events.ledger import Position
from events.log import LogBroken
from events.log_directory import ARCHIVED, create_file, sync_directory, sync_file
from events.segment_reader import CACHE_SIZE, SegmentReader, translated
from events.segment_rows import Row, Rows, UnknownFormat, rows_of
from events.segment_schema import FORMAT, LOG

_CHECKED_ROWS: Final = 500  # in the processor's cache from when they are read until they are checked


class OlderSegment(SegmentReader):
    """Opened when it is first asked, closed by `close` or `close_unread`; asked again it is opened again."""

    def __init__(self, path: Path, rows: Rows, last: Position) -> None:
        super().__init__(rows)
        self.path = path
        self.last = last
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._was_read = False

    @classmethod
    def read(cls, path: Path) -> "OlderSegment":
        """What a file says of itself (blocking). Raises LogBroken."""
        if is_archive(path):
            with path.open("rb") as file:
                header = read_header(file, path)
            return cls(path, Rows(header.log, header.base), header.last)
        try:
            with closing(_opened(path)) as connection:
                rows = _rows(connection, path)
                return cls(path, rows, _last(connection, rows))
        except sqlite3.Error as error:
            raise translated(error) from error

    @property
    def is_archived(self) -> bool:
        """Whether it is compressed."""
        return is_archive(self.path)

    @override
    async def fetch(self, sql: str, *parameters: object) -> list[Any]:
        """Rows of a query."""
        return await run_sync(self.select, sql, parameters)

    def select(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Any]:
        """The same (blocking)."""
        return list(self.each(sql, parameters))

    def each(self, sql: str, parameters: tuple[object, ...] = ()) -> Iterator[Any]:
        """One by one, where all of them would take much memory (blocking); others wait until the last was taken."""
        try:
            with self._lock:
                self._was_read = True
                if self._connection is None:
                    self._connection = _opened(self.path)
                    self.rows = _rows(self._connection, self.path)
                yield from self._connection.execute(sql, parameters)
        except sqlite3.Error as error:
            raise translated(error) from error

    def close(self) -> None:
        """Let go of the file, and of the room that an archive takes unpacked (blocking)."""
        with self._lock:
            self._close()

    def close_unread(self) -> bool:
        """Close it if nobody has read it since the last call; whether that was so (blocking)."""
        with self._lock:
            is_unread = self._connection is not None and not self._was_read
            self._was_read = False
            if is_unread:
                self._close()
            return is_unread

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @override
    async def check_page(self, after: int, last: int, previous: bytes) -> tuple[int, bytes]:
        """All of them, in the thread that reads them."""
        return await run_sync(self._check, after, last, previous)

    def verify(self) -> None:
        """Check every event of it, and that it ends where the next file begins (blocking). Raises LogBroken."""
        self._check(self.base.sequence, self.last.sequence, self.base.hash)

    def _check(self, after: int, last: int, previous: bytes) -> tuple[int, bytes]:
        with self._lock:  # so long the path stays
            apart = OlderSegment(self.path, self.rows, self.last)  # others unpack meanwhile: not with the same
            apart.select(LOG)
        try:
            for before, digest, rows in apart._pages(after, previous, last, _CHECKED_ROWS):
                apart.rows.check(rows, digest, before)
                after, previous = rows[-1][0], rows[-1][6]
        finally:
            apart.close()
        return after, previous

    def checked_rows(self, last: int, limit: int) -> Iterator[list[Row]]:
        """Its events up to `last`, at most `limit` at once; chain and columns hold (blocking).

        Raises LogBroken that names the first bad sequence.
        """
        for after, previous, rows in self._pages(self.base.sequence, self.base.hash, last, limit):
            self.rows.check(rows, previous, after)
            yield rows

    def checked_stored(self, limit: int) -> Iterator[list[bytes]]:
        """All its events as they are hashed, otherwise the same."""
        for after, previous, rows in self._pages(self.base.sequence, self.base.hash, self.last.sequence, limit):
            yield self.rows.checked_stored(rows, previous, after)

    def _pages(self, after: int, previous: bytes, last: int, limit: int) -> Iterator[tuple[int, bytes, list[Row]]]:
        """Rows after an event up to `last`, with sequence and hash of the event before them."""
        while after < min(last, self.last.sequence):
            rows = self._readable(after, min(limit, last - after))
            yield after, previous, rows
            after, previous = rows[-1][0], rows[-1][6]
        if after == self.last.sequence and previous != self.last.hash:
            raise LogBroken(f"event {after} isn't the one that {self.path.name} ends with")

    def _readable(self, after: int, limit: int) -> list[Row]:
        """The next rows; where the file itself is damaged, those before the damage, then the error with a name."""
        sql = "SELECT * FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"
        while True:
            try:
                return self.select(sql, (after, limit))
            except LogBroken as error:
                if limit == 1:
                    raise LogBroken(f"event {after + 1} can't be read: {error}") from error
                limit = max(1, limit // 10)

    def archive(self) -> None:
        """Verify it, and replace the file by an archive of it; who reads meanwhile goes on in that (blocking).

        Raises LogBroken, Unavailable, OSError; then the file is as it was.
        """
        self.verify()
        with self._lock:
            self._close()
            _settle(self.path)
            path = self.path.with_name(self.path.name + ARCHIVED)
            draft = path.with_name(path.name + ".new")
            try:
                self._write_archive(draft)
                draft.rename(path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
            sync_directory(path.parent)
            replaced, self.path = self.path, path
            replaced.unlink()
            sync_directory(path.parent)

    def _write_archive(self, draft: Path) -> None:
        header = ArchiveHeader(
            log=self.rows.identity,
            base=self.base,
            last=self.last,
            size_bytes=self.path.stat().st_size,
        )
        create_file(draft)
        compress(self.path, draft, header)
        sync_file(draft)
        OlderSegment(draft, self.rows, self.last).verify()


def _opened(path: Path) -> sqlite3.Connection:
    if is_archive(path):
        connection = connect(path)
    else:
        present = f"file:{quote(str(path))}?mode=rw"  # a file that is missing isn't made
        connection = sqlite3.connect(present, uri=True, check_same_thread=False)
        connection.execute("PRAGMA query_only = ON")
    connection.execute(f"PRAGMA {CACHE_SIZE}")
    return connection


def _rows(connection: sqlite3.Connection, path: Path) -> Rows:
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    if version != FORMAT:
        raise UnknownFormat(path, version)
    return rows_of(*connection.execute(LOG).fetchall()[0])


def _last(connection: sqlite3.Connection, rows: Rows) -> Position:
    """Where it ends, by its newest row. Whether that is true, `checked_rows` tells, and names what isn't."""
    found = connection.execute("SELECT sequence, record, hash FROM events ORDER BY sequence DESC LIMIT 1").fetchall()
    if not found:
        return rows.base
    sequence, frame, digest = found[0]
    try:
        record = rows.record(frame)
    except LogBroken:
        return Position(sequence=sequence, hash=digest)
    return Position(sequence=sequence, time_ns=record.time_ns, clock_ns=record.clock_ns, hash=digest)


def _settle(path: Path) -> None:
    """Leave everything in the one file: nothing in a write-ahead log beside it. Raises Unavailable while it is read."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise translated(error) from error
