"""The projections folded again from a log, to be looked at or compared with a running engine's."""

import msgspec

from clients.api import Client
from clients.audit.sources import Source
from clients.errors import LogChanged, Unusable
from events.codec import recorded
from events.differences import Difference, Objects, compared, digest, objects
from events.errors import EngineError
from events.projections.state import State


class EngineState(msgspec.Struct, frozen=True, kw_only=True):
    """Of `GET /shiplog/state`."""

    log: str
    sequence: int
    digest: str
    objects: Objects = {}


async def rebuild(source: Source, last: int | None = None) -> State:
    """The state right after event `last` (the newest unless given).

    Raises Unusable for what can't be folded: an event of a newer engine, a chain that doesn't hold, no such event.
    """
    if last is not None and not 1 <= last <= source.last:
        raise Unusable(f"event {last} is not in the log, which ends with event {source.last}: choose one up to it")
    state = State()
    async for batch in source.batches(0, last):
        for line in batch:
            try:
                event = recorded(bytes(line.record), bytes.fromhex(line.hash))
            except EngineError as error:
                raise Unusable(f"event {line.sequence}: {error}") from error
            state.apply((event,))
    return state


async def compare(state: State, log: str, client: Client) -> tuple[Difference, ...]:
    """What a running engine of the same log knows otherwise, as of the same event. Raises LogChanged, ApiError."""
    at = {"at": str(state.sequence)}
    facts = await client.get("/shiplog/state", EngineState, at | {"objects": "0"})
    if facts.log != log:
        raise LogChanged(f"the engine's log is {facts.log}, this one is {log}: compare it with the engine it came from")
    rebuilt = objects(state)
    if facts.digest == digest(rebuilt):
        return ()
    theirs = await client.get("/shiplog/state", EngineState, at)
    plain = msgspec.convert(msgspec.to_builtins(rebuilt), Objects)
    return compared(theirs.objects, plain)
