"""The log itself, for programs that follow it: from any event or time on, every event once, however slow they read."""

from collections.abc import AsyncGenerator
from typing import Final

from daemon.api.answers import as_json
from daemon.api.engine import Engine
from daemon.api.moments import first_of, place_of, read_moment
from daemon.http.messages import Answer, Request, StreamResponse
from daemon.http.query import boolean, text
from daemon.shapes.times import rfc3339
from events.errors import Conflict, InvalidParameter
from events.moments import times_of

LOG_HEADER: Final = "X-Shiplog-Log"
LINES: Final = "application/x-ndjson"


async def log_events(engine: Engine, request: Request) -> Answer:
    """`GET /shiplog/events`: lines (`events/lines.py`) from `from` to `to`, both included.

    Without `from` the next event is the first, without `to` it goes on for ever, with `follow=false` up to now. `log`
    is the id of the log that the reader's position is in: another one is refused, its sequences mean other events.
    """
    now_ns = engine.clock.now_ns()
    _check_log(engine, text(request.query, "log"))
    first, last = engine.log.head + 1, None
    if begin := text(request.query, "from"):
        first = await first_of(engine.log, read_moment(begin, "from", now_ns))
    if end := text(request.query, "to"):
        last = (await place_of(engine.log, read_moment(end, "to", now_ns))).sequence
        if last < first - 1:
            raise InvalidParameter(f"'to' ({end}) is before 'from' ({begin or 'now'}): exchange them")
    elif not boolean(request.query, "follow", default=True):
        last = engine.log.head
    return StreamResponse(
        content_type=LINES, headers={LOG_HEADER: engine.log.id}, chunks=_chunks(engine, first - 1, last)
    )


async def log_facts(engine: Engine, request: Request) -> Answer:
    """`GET /shiplog/log`: which log this is, where it begins and ends, and how far the relay has come with it."""
    head = engine.log.head
    bounds = {
        name: {"sequence": sequence, "time": rfc3339((await times_of(engine.log, sequence)).time_ns)}
        for name, sequence in (("first", 1), ("last", head))
        if head
    }
    relayed = {"relay": engine.relay.status()} if engine.relay is not None else {}
    return as_json({"id": engine.log.id, "events": head, **bounds, **relayed})


def _check_log(engine: Engine, known: str) -> None:
    if known and known != engine.log.id:
        raise Conflict(
            f"this engine's log is {engine.log.id}, your position is in {known}: it was repaired or restored, or is "
            "another engine's; read it from its beginning (from=1) without 'log'"
        )


async def _chunks(engine: Engine, after: int, last: int | None) -> AsyncGenerator[bytes]:
    listener = engine.ids.new()
    engine.listeners.add(listener)
    try:
        while last is None or after < last:
            chunk, after = await engine.feed.after(after, last)
            yield chunk
    finally:
        engine.listeners.discard(listener)
