"""Where the log is read from: a running engine, a copy of its files, or lines that were exported; all give the same."""

import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Protocol

import msgspec
from anyio import to_thread

from clients.api import Client
from clients.errors import LogChanged, Unusable
from clients.subscribe.position import Position
from clients.subscribe.subscriber import Subscriber
from events import chain
from events.errors import EngineError
from events.lines import Line, read_line, read_lines
from events.log import Stored
from events.sqlite_log import SqliteLog

PAGE_EVENTS: Final = 1000
_ATTEMPTS: Final = 5
_SQLITE: Final = b"SQLite format 3\0"
_BLOCK_BYTES: Final = 1 << 20


class Source(Protocol):
    """A log that ends somewhere."""

    log: str
    last: int  # sequence of its last event

    def batches(self, after: int = 0, last: int | None = None) -> AsyncGenerator[list[Line]]:
        """Its lines after an event, up to `last`. Raises Unusable that names the first event that doesn't fit."""


class EngineSource:
    """A running engine, up to where its log stood at the beginning."""

    def __init__(self, client: Client, log: str, last: int) -> None:
        self._client = client
        self.log, self.last = log, last

    @classmethod
    async def open(cls, client: Client) -> "EngineSource":
        """Raises EngineUnreachable."""
        facts = await client.get("/shiplog/log", _Facts)
        return cls(client, facts.id, facts.events)

    async def batches(self, after: int = 0, last: int | None = None) -> AsyncGenerator[list[Line]]:
        """See `Source`."""
        end = self.last if last is None else last
        if after < end:
            position = Position(log=self.log, sequence=after)
            async for batch in Subscriber(self._client, position=position, end=str(end), attempts=_ATTEMPTS).batches():
                yield batch


class _Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Of `GET /shiplog/log`."""

    id: str
    events: int


class _NoClock:
    """A copy is only read: nothing happens in it."""

    def now_ns(self) -> int:
        """No time at all."""
        return 0


class FileSource:
    """A log that was opened from a copy."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log
        self.log, self.last = log.id, log.head

    async def batches(self, after: int = 0, last: int | None = None) -> AsyncGenerator[list[Line]]:
        """See `Source`."""
        end = self.last if last is None else min(last, self.last)
        previous = b""
        while after < end:
            with _readable():
                page = await self._log.stored(after, min(PAGE_EVENTS, end - after))
                previous = _checked(self.log, after, page, previous)
            yield [
                Line(log=self.log, sequence=sequence, hash=digest.hex(), record=msgspec.Raw(record))
                for sequence, record, digest in page
            ]
            after = page[-1][0]


class LinesSource:
    """A file of lines as `GET /shiplog/events` sends and the export writes them; complete from event 1 on."""

    def __init__(self, path: Path, log: str, last: int) -> None:
        self._path = path
        self.log, self.last = log, last

    @classmethod
    async def open(cls, path: Path) -> "LinesSource":
        """Raises Unusable."""
        first, last = await to_thread.run_sync(_ends, path)
        if first.sequence != 1:
            raise Unusable(f"{path} begins with event {first.sequence}: export the log from its beginning (event 1)")
        return cls(path, first.log, last.sequence)

    async def batches(self, after: int = 0, last: int | None = None) -> AsyncGenerator[list[Line]]:
        """See `Source`."""
        end = self.last if last is None else min(last, self.last)
        reader = _pages(self._path)
        seen, previous = 0, b""
        while seen < end and (content := await to_thread.run_sync(next, reader, None)) is not None:
            with _readable():
                page = read_lines(content)
                if any(line.log != self.log for line in page):
                    raise Unusable(f"{self._path} holds events of several logs: export each to a file of its own")
                stored = [(line.sequence, bytes(line.record), bytes.fromhex(line.hash)) for line in page]
                previous = _checked(self.log, seen, stored, previous)
            seen = page[-1].sequence
            wanted = [line for line in page if after < line.sequence <= end]
            if wanted:
                yield wanted


def _checked(log: str, after: int, page: Sequence[Stored], previous: bytes) -> bytes:
    """The chain over a page; the hash of its last event. Without `previous` the page's first hash is believed."""
    if after == 0:
        previous = chain.genesis(log)
    elif not previous:
        previous, page, after = page[0][2], page[1:], after + 1
    return chain.check(previous, after, page)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        raise Unusable(f"{error}: use another copy, or export up to the event before") from error


@asynccontextmanager
async def open_source(where: str | Path | Client) -> AsyncIterator[Source]:
    """An engine (`unix://...`, `tcp://...`, a client), a directory of log files, a log file, or exported lines.

    Files are left as they are: what is opened is a copy. Raises Unusable, EngineUnreachable.
    """
    if isinstance(where, Client) or "://" in str(where):
        yield await EngineSource.open(where if isinstance(where, Client) else Client(str(where)))
        return
    path = Path(where)
    if await to_thread.run_sync(_holds_lines, path):
        yield await LinesSource.open(path)
        return
    with tempfile.TemporaryDirectory(prefix="shiplog-copy-") as copy:
        await to_thread.run_sync(_copy, path, Path(copy))
        async with _opened(path, Path(copy)) as log:
            yield FileSource(log)


@asynccontextmanager
async def _opened(path: Path, copy: Path) -> AsyncIterator[SqliteLog]:
    """The copy as a log. Raises Unusable."""
    opening = SqliteLog.open(copy, _NoClock())
    try:
        log = await opening.__aenter__()
    except (EngineError, BaseExceptionGroup) as error:
        raise Unusable(f"{path} is no log that this version can read, or is damaged: {_reason(error)}") from error
    try:
        yield log
    finally:
        await opening.__aexit__(None, None, None)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


def _holds_lines(path: Path) -> bool:
    """Whether a file isn't a database. Raises Unusable when there is nothing."""
    try:
        if path.is_dir():
            return False
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) != _SQLITE
    except OSError as error:
        raise Unusable(
            f"{path} can't be read ({error.strerror}): name a log file, its directory, exported lines or an engine"
        ) from error


def _copy(path: Path, target: Path) -> None:
    """Log files with what SQLite keeps beside them. Raises Unusable where there are none."""
    if path.is_dir():
        found = [each for each in sorted(path.iterdir()) if each.name.startswith("log-")]
        if not found:
            raise Unusable(f"{path} has no log files: name the engine's `log` directory or a copy of it")
        for each in found:
            shutil.copy2(each, target / each.name)
        return
    name = path.name if path.name.startswith("log-") else "log-0000000000000001.sqlite"
    for ending in ("", "-wal"):
        beside = path.with_name(path.name + ending)
        if beside.exists():
            shutil.copy2(beside, target / (name + ending))


def _pages(path: Path) -> Iterator[list[bytes]]:
    """Whole lines, many at a time; a last one that was torn is left out."""
    with path.open("rb") as file:
        rest = b""
        while block := file.read(_BLOCK_BYTES):
            *content, rest = (rest + block).split(b"\n")
            if content:
                yield content


def _ends(path: Path) -> tuple[Line, Line]:
    """The first and the last whole line. Raises Unusable."""
    first = last = b""
    for content in _pages(path):
        first, last = first or content[0], content[-1]
    if not first:
        raise Unusable(f"{path} holds no events: name a log file, its directory or exported lines (jsonl)")
    try:
        return read_line(first), read_line(last)
    except EngineError as error:
        raise Unusable(f"{path} is neither a log file nor exported lines (jsonl): {error}") from error


def check_same(known: Position | None, source: Source) -> None:
    """A position must be in the source's log. Raises LogChanged."""
    if known is not None and known.log != source.log:
        raise LogChanged(
            f"the output stands in the log {known.log}, this is {source.log}: choose another output for it"
        )
    if known is not None and known.sequence > source.last:
        raise LogChanged(
            f"the output stands at event {known.sequence}, this log ends with event {source.last}: use a newer copy"
        )
