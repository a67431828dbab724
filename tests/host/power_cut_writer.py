"""A program that writes a log and says, on its standard output, what was confirmed; `test_power_cut` cuts its power."""

import os
import sys
from pathlib import Path

import anyio

import events.segment
from events.envelope import ENGINE, Cause
from events.log import Append
from events.messages.container import ContainerCreated
from events.sqlite_log import SqliteLog
from handlers.context import SystemClock

WRITERS = 3
EACH = 10
CAUSE = Cause(actor=ENGINE, command_id="command-1", correlation_id="request-1")


async def main(directory: Path) -> None:
    """Several writers, files that fill up, and checkpoints of the database now and then."""
    async with SqliteLog.open(directory, SystemClock(), segment_events=9) as log, anyio.create_task_group() as tasks:
        for number in range(WRITERS):
            tasks.start_soon(write, log, number)


async def write(log: SqliteLog, writer: int) -> None:
    """Append and confirm."""
    for number in range(EACH):
        event = ContainerCreated(container_id=f"{writer}-{number}")
        (recorded,) = await log.append([Append(stream=f"container/{writer}", events=(event,))], cause=CAUSE)
        os.write(1, f"{recorded.sequence} {writer}-{number}\n".encode())


if __name__ == "__main__":
    more = ["wal_autocheckpoint = 8"]
    if "careless" in sys.argv:
        more.append("synchronous = OFF")
    vars(events.segment)["_PRAGMAS"] = (*events.segment._PRAGMAS, *more)
    anyio.run(main, Path(sys.argv[1]))
