"""A log of the first file format is read, verified and written on."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from anyio.to_thread import run_sync

from events.envelope import ENGINE, Cause
from events.log import Append, LogBroken
from events.memory_log import MemoryLog
from events.messages.container import ContainerCreated
from events.sqlite_log import SqliteLog
from tests.fakes.clock import SetClock

FILE = "log-0000000000000001.sqlite"
SCHEMA = """
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
CREATE TABLE log (id TEXT NOT NULL) STRICT;
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY, stream TEXT NOT NULL, version INTEGER NOT NULL, type TEXT NOT NULL,
    command_id TEXT NOT NULL, replies INTEGER NOT NULL, claims INTEGER NOT NULL, record BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
"""


async def written(directory: Path, *, damaged: bool = False) -> MemoryLog:
    """A log in memory, and its events in a file of the first format."""
    log = MemoryLog(SetClock())
    for number in range(20):
        created = (ContainerCreated(container_id=str(number)),)
        cause = Cause(actor=ENGINE, command_id=f"command-{number}", correlation_id="request-1")
        batch = [Append(stream=f"container/{number % 3}", events=created, take=(f"name/{number}",))]
        await log.append(batch, cause=cause, reply=b'"%d"' % number if number % 2 else None)
    await run_sync(directory.mkdir)
    with closing(sqlite3.connect(directory / FILE)) as connection:
        connection.executescript(SCHEMA)
        connection.execute("INSERT INTO log VALUES (?)", (log.id,))
        for sequence, record, digest in await log.stored(0, 100):
            changed = record.replace(b'"1"', b'"7"') if damaged and sequence == 2 else record
            row = (sequence, "s", sequence, "t", "c", 0, 1, changed, digest)
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        connection.commit()
    return log


async def test_nothing_of_it_changes(tmp_path: Path) -> None:
    before = await written(tmp_path / "log")
    for _ in range(2):
        async with SqliteLog.open(tmp_path / "log", SetClock()) as log:
            assert log.id == before.id
            assert [r async for r in log.read(limit=20)] == [r async for r in before.read(limit=0)]
            assert await log.stored(0, 20) == await before.stored(0, 20)
            assert await log.reply_to("command-3") == b'"3"'
            assert await log.claim_holder("name/4") == "container/1"
            await log.verify()
            event = (ContainerCreated(container_id="x"),)
            cause = Cause(actor=ENGINE, command_id="c", correlation_id="c")
            await log.append([Append(stream="container/0", events=event)], cause=cause)


async def test_what_was_changed_in_it_is_still_found(tmp_path: Path) -> None:
    await written(tmp_path / "log", damaged=True)
    with pytest.raises(LogBroken, match="event 2 does not fit"):
        async with SqliteLog.open(tmp_path / "log", SetClock()):
            pass
