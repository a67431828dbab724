"""A log to do harm to; without it each test of damage would build its own."""

import contextlib
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

from events.compression import Records
from events.envelope import ENGINE, Cause, Recorded
from events.log import Append
from events.log_directory import segments
from events.messages.container import ContainerCreated
from events.sqlite_log import SqliteLog
from tests.fakes.clock import SetClock

CAUSE = Cause(actor=ENGINE, command_id="command-1", correlation_id="request-1")
EVENTS = 8  # in one file


def open_log(directory: Path) -> AbstractAsyncContextManager[SqliteLog]:
    return SqliteLog.open(directory / "log", SetClock(), segment_events=EVENTS)


async def append(log: SqliteLog, number: int) -> None:
    event = (ContainerCreated(container_id=f"c{number}"),)
    await log.append([Append(stream=f"container/{number % 3}", events=event, take=(f"name/{number}",))], cause=CAUSE)


async def everything(log: SqliteLog) -> Sequence[Recorded]:
    return [recorded async for recorded in log.read(limit=0)]


async def filled(directory: Path, count: int = 20) -> Sequence[Recorded]:
    async with open_log(directory) as log:
        for number in range(1, count + 1):
            await append(log, number)
        return await everything(log)


def edit(path: Path, *statements: str) -> None:
    """Change a closed file as somebody would who wants to hide something."""
    with closing(sqlite3.connect(path)) as connection:
        ((dictionary,),) = connection.execute("SELECT dictionary FROM log").fetchall()
        records = Records(dictionary)
        connection.create_function(
            "swapped", 3, lambda f, old, new: records.pack(records.unpack(f).replace(old.encode(), new.encode()))
        )
        for (trigger,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def file_of(directory: Path, sequence: int) -> Path:
    """The file that an event is in."""
    return segments(directory / "log")[(sequence - 1) // EVENTS]


def change(directory: Path, sequence: int) -> None:
    """Another content of an event."""
    sql = f"""UPDATE events SET record = swapped(record, '"c{sequence}"', '"x"') WHERE sequence = {sequence}"""
    edit(file_of(directory, sequence), sql)


def fill(path: Path) -> None:
    """Take all the space that is left."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
