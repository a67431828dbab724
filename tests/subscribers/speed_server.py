"""The engine's side of `ops/bench readers`: a log of so many events, its stream, a writer that is told when to write.

python -m tests.subscribers.speed_server DIRECTORY SOCKET EVENTS
"""

import sys
from pathlib import Path

import anyio
import anyio.abc

from daemon.feed import Feed
from daemon.http.messages import Answer, Request, Response, Route
from daemon.http.server import Server
from daemon.http.sockets import Opening, open_listeners
from events.envelope import Actor, Cause
from events.log import Append
from events.messages import container as c
from events.sqlite_log import SqliteLog
from handlers.context import SystemClock
from tests.subscribers.writer import StreamEngine, routes

BATCH = 500
CAUSE = Cause(
    actor=Actor(kind="unix", uid=0, gid=0, pid=4711, executable="/usr/bin/docker", user_agent="Docker-Client/28.2.2"),
    command_id="0123456789abcdef" * 4,
    correlation_id="0123456789abcdef" * 4,
)


async def fill(log: SqliteLog, events: int) -> None:
    """Lives of containers: started, ended, died."""
    number = 0
    while log.head < events:
        appends = []
        for _ in range(BATCH // 4):
            number += 1
            key = f"{number:064x}"
            told = (
                c.ContainerStartRequested(container_id=key, run=1),
                c.ContainerStarted(container_id=key, pid=number, started_at_ns=number),
                c.ContainerExitObserved(container_id=key, exit_code=0, oom_killed=False, finished_at_ns=number),
                c.ContainerDied(container_id=key, exit_code=0, run_s=1),
            )
            appends.append(Append(stream=f"container/{key}", events=told))
        await log.append(appends, cause=CAUSE)


async def write(log: SqliteLog, rate: float, seconds: float) -> None:
    """One event at a time, evenly."""
    began = anyio.current_time()
    for number in range(int(rate * seconds)):
        await anyio.sleep_until(began + number / rate)
        event = c.ContainerAccessed(container_id="a", action="top")
        await log.append((Append(stream="container/live", events=(event,)),), cause=CAUSE)


async def main(directory: Path, socket: str, events: int) -> None:
    clock = SystemClock()
    async with SqliteLog.open(directory, clock) as log, anyio.create_task_group() as tasks:
        await fill(log, events)
        stream = StreamEngine(log=log, feed=Feed(log), clock=clock)

        async def start_writing(request: Request) -> Answer:
            rate, seconds = (float(request.query[name][0]) for name in ("rate", "seconds"))
            tasks.start_soon(write, log, rate, seconds)
            return Response(status=204)

        table = (*routes(stream), Route(method="POST", pattern="/write", endpoint=start_writing))
        listeners = open_listeners([f"unix://{socket}"], Opening(), environment={})

        async def serve(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            await Server(table, common_headers={}).serve(listeners, task_status=task_status)

        await tasks.start(serve)


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), backend_options={"use_uvloop": True})
