"""The endpoint that tells what happened: the whole log, also of objects that are gone, then live."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

import anyio
import msgspec

from daemon.api.answers import json_line
from daemon.api.engine import Engine
from daemon.http.messages import Answer, Request, StreamResponse
from daemon.http.query import filters, text
from daemon.http.timestamps import EVENTS, timestamp
from daemon.shapes.event_shaper import EventShaper
from daemon.shapes.events import Filters, Message, wanted
from daemon.shapes.go_values import Version
from events.envelope import Recorded
from events.errors import InvalidParameter

_EPOCH_NS: Final = 1  # 1970 as a bound that was given: `--since 0` is all that ever happened
_JSON: Final = "application/json"
_SEQUENCE: Final = "application/json-seq"
_ACCEPTED: Final = ("application/jsonl", "application/x-ndjson", _SEQUENCE)
_RECORD_SEPARATOR: Final = b"\x1e"  # RFC 7464


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """Which events by their time: wall clock in ns, 0 for no bound."""

    since_ns: int = 0
    until_ns: int = 0

    def has(self, time_ns: int) -> bool:
        """Whether a time lies in it, ends included."""
        return self.since_ns <= time_ns and (not self.until_ns or time_ns <= self.until_ns)


async def events(engine: Engine, request: Request) -> Answer:
    """`GET /events`."""
    period = read_period(request, engine.clock.now_ns())
    chosen = filters(request.query)  # unknown ones are ignored, as in Docker
    shaper = EventShaper(engine.keyring)
    after = 0
    if not period.since_ns and not period.until_ns:
        shaper.know(engine.state)
        after = engine.state.sequence
    kind = content_type(request.headers.get("accept", ""))
    messages = _messages(engine, shaper, after, period)
    chunks = _chunks(engine, messages, chosen, request.version, _RECORD_SEPARATOR if kind == _SEQUENCE else b"")
    return StreamResponse(content_type=kind, chunks=chunks)


def read_period(request: Request, now_ns: int) -> Period:
    """`since` and `until`. Raises InvalidParameter."""
    given = {name: text(request.query, name) for name in ("since", "until")}
    bounds = {
        name: (timestamp(value, now_ns=now_ns, wording=EVENTS, name=name) or _EPOCH_NS) if value else 0
        for name, value in given.items()
    }
    if bounds["until"] and bounds["since"] > bounds["until"]:
        raise InvalidParameter(f"`since` time ({given['since']}) cannot be after `until` time ({given['until']})")
    return Period(since_ns=bounds["since"], until_ns=bounds["until"])


def content_type(accept: str) -> str:
    """The kind of stream: plain JSON objects unless the client asks for another."""
    asked = {part.partition(";")[0].strip() for part in accept.split(",")}
    return next((kind for kind in _ACCEPTED if kind in asked), _JSON)


async def _chunks(
    engine: Engine, messages: AsyncGenerator[Message], chosen: Filters, version: Version, prefix: bytes
) -> AsyncGenerator[bytes]:
    """One chunk for every message that the client wants."""
    listener = engine.ids.new()
    engine.listeners.add(listener)
    try:
        async with aclosing(messages):
            async for message in messages:
                if wanted(message, chosen, version):
                    yield prefix + json_line(message.shape(version))
    finally:
        engine.listeners.discard(listener)


async def _messages(engine: Engine, shaper: EventShaper, after: int, period: Period) -> AsyncGenerator[Message]:
    async with aclosing(_recorded(engine, after, period.until_ns)) as found:
        async for recorded in found:
            for message in shaper.shape(recorded):
                if period.has(message.time_ns):
                    yield message


async def _recorded(engine: Engine, after: int, until_ns: int) -> AsyncGenerator[Recorded]:
    """The log after a position, live until the end has come, then the rest up to where the log stands."""
    left_ns = until_ns - engine.clock.now_ns()
    if not until_ns or left_ns > 0:
        deadline = anyio.current_time() + left_ns / 1e9 if until_ns else float("inf")
        async with engine.log.subscribe(after) as subscription:
            while (recorded := await _next(subscription, deadline)) is not None:
                after = recorded.sequence
                yield recorded
    async for recorded in engine.log.read(after, limit=0):
        yield recorded


async def _next(subscription: AsyncIterator[Recorded], deadline: float) -> Recorded | None:
    """The next event; None when the time is up. (No scope stays open over a yield.)"""
    with anyio.CancelScope(deadline=deadline):
        return await anext(subscription, None)
    return None
