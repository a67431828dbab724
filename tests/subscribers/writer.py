"""The process that is killed: a log with its stream and its relay, writing until it has so many events.

    python -m tests.subscribers.writer DIRECTORY SOCKET EVENTS NATS_URL

The clock is an hour behind once half of them are written, as if somebody had set it back.
"""

import random
import sys
import time
from pathlib import Path
from typing import cast

import anyio
import anyio.abc
import msgspec

from daemon.api.engine import Engine
from daemon.api.stream import log_events, log_facts
from daemon.bus.relay import Relay
from daemon.feed import Feed
from daemon.http.messages import Answer, Request, Route
from daemon.http.server import Server
from daemon.http.sockets import Opening, open_listeners
from events.envelope import ENGINE, Cause
from events.log import Append, EventLog
from events.messages.container import ContainerAccessed
from events.sqlite_log import SqliteLog
from handlers.context import Clock, Ids, RandomIds

BATCH = 40  # events of an append, at most
WRITERS = 4
WRITTEN = "written"  # a file beside the log: nothing more comes
HOUR_NS = 3600 * 1_000_000_000


class TurnedBack:
    """The host's clock until half is written, then an hour less."""

    def __init__(self, half: int) -> None:
        self._half = half
        self.log: EventLog | None = None

    def now_ns(self) -> int:
        late = self.log is not None and self.log.head >= self._half
        return time.time_ns() - (HOUR_NS if late else 0)


async def write(log: EventLog, total: int, number: int) -> None:
    """Append in batches of any size, with pauses that let readers come up to the head now and then."""
    choose = random.Random(f"{number} {log.head}")
    cause = Cause(actor=ENGINE, command_id=f"writer-{number}", correlation_id="writer")
    while log.head < total:
        event = ContainerAccessed(container_id="a" * 64, action=f"look {log.head}")
        await log.append(
            (Append(stream=f"container/{number}", events=(event,) * choose.randint(1, BATCH)),), cause=cause
        )
        if choose.random() < 0.05:
            await anyio.sleep(0.02)


class StreamEngine(msgspec.Struct, frozen=True, kw_only=True):
    """As much of an engine as its stream needs."""

    log: EventLog
    feed: Feed
    clock: Clock
    relay: Relay | None = None
    ids: Ids = RandomIds()
    listeners: set[str] = set()


def routes(stream: StreamEngine) -> tuple[Route, ...]:
    engine = cast(Engine, stream)

    async def events(request: Request) -> Answer:
        return await log_events(engine, request)

    async def facts(request: Request) -> Answer:
        return await log_facts(engine, request)

    return (
        Route(method="GET", pattern="/shiplog/events", endpoint=events),
        Route(method="GET", pattern="/shiplog/log", endpoint=facts),
    )


async def main(directory: Path, socket: str, total: int, nats_url: str) -> None:
    clock = TurnedBack(total // 2)
    listeners = open_listeners([f"unix://{socket}"], Opening(), environment={})
    async with SqliteLog.open(directory, clock) as log, anyio.create_task_group() as tasks:
        clock.log = log
        feed = Feed(log)
        relay = Relay(feed, [nats_url], "test")
        server = Server(routes(StreamEngine(log=log, feed=feed, clock=clock, relay=relay)), common_headers={})
        tasks.start_soon(relay.run)

        async def serve(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            await server.serve(listeners, task_status=task_status)

        await tasks.start(serve)
        async with anyio.create_task_group() as writers:
            for number in range(WRITERS):
                writers.start_soon(write, log, total, number)
        await anyio.Path(directory.with_name(WRITTEN)).touch()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], backend_options={"use_uvloop": True})
