"""Any query at any past moment: `at=TIME|SEQUENCE` answers as the engine would have answered then."""

from typing import Final

import msgspec

from daemon.api.answers import as_json
from daemon.api.engine import Engine, EngineEndpoint
from daemon.api.kept_answers import KeptAnswers
from daemon.api.moments import Place, place_of, read_moment
from daemon.http.messages import Answer, Request
from daemon.http.query import boolean, text
from daemon.shapes.go_values import JsonObject
from daemon.shapes.times import rfc3339
from events.differences import differences, digest, objects
from events.errors import InvalidParameter

# Answered from the state alone; everything else reads live data or changes something.
FROM_THE_STATE: Final = frozenset(
    {
        "/containers/json",
        "/containers/{id:path}/json",
        "/exec/{id}/json",
        "/images/json",
        "/images/{name:path}/json",
        "/images/{name:path}/history",
        "/networks",
        "/networks/",
        "/networks/{id}",
        "/volumes",
        "/volumes/{name:path}",
        "/shiplog/state",
        "/shiplog/why",
    }
)


class Standing(msgspec.Struct, frozen=True):
    """A clock that shows one moment."""

    time_ns: int

    def now_ns(self) -> int:
        """That moment."""
        return self.time_ns


def at_any_time(method: str, pattern: str, endpoint: EngineEndpoint) -> EngineEndpoint:
    """The endpoint, which heeds `at` where its answer comes from the state and refuses it everywhere else."""
    travels = method == "GET" and pattern in FROM_THE_STATE

    async def ask(engine: Engine, request: Request) -> Answer:
        if "at" not in request.query:
            return await endpoint(engine, request)
        if not travels:
            raise InvalidParameter(
                "at: only lists and inspections of containers, execs, images, networks and volumes can be told of the "
                "past: leave 'at' out"
            )
        if boolean(request.query, "size"):
            raise InvalidParameter("size: what something took on disk in the past isn't known: leave 'size' out")
        return await endpoint(await engine_at(engine, request, "at"), request)

    return ask


async def engine_at(engine: Engine, request: Request, name: str) -> Engine:
    """The engine as it was at the moment that a parameter names. Raises InvalidParameter."""
    place = await place_named(engine, request, name)
    state = await engine.past.state_at(place.sequence)
    return msgspec.structs.replace(engine, state=state, clock=Standing(place.time_ns), answers=KeptAnswers())


async def place_named(engine: Engine, request: Request, name: str, default: str = "") -> Place:
    """Where the moment of a parameter lies in the log. Raises InvalidParameter."""
    moment = text(request.query, name) or default
    if not moment:
        raise InvalidParameter(f"'{name}' is missing: name an event's sequence or a time")
    return await place_of(engine.log, read_moment(moment, name, engine.clock.now_ns()))


async def difference(engine: Engine, request: Request) -> Answer:
    """`GET /shiplog/diff`: what changed between `from` and `to` (now unless given)."""
    before = await place_named(engine, request, "from")
    after = await place_named(engine, request, "to", default=str(engine.log.head))
    if after.sequence < before.sequence:
        raise InvalidParameter("'to' is before 'from': exchange them")
    old = await engine.past.state_at(before.sequence)
    new = await engine.past.state_at(after.sequence)
    return as_json({"from": told_place(before), "to": told_place(after), "differences": differences(old, new)})


async def state(engine: Engine, request: Request) -> Answer:
    """`GET /shiplog/state`: all that the engine knows, secrets sealed, and a digest of it to compare; `objects=0` for
    the digest alone."""
    sequence, known = engine.state.sequence, objects(engine.state)
    answer: JsonObject = {"log": engine.log.id, "sequence": sequence, "digest": digest(known)}
    return as_json(answer | ({"objects": known} if boolean(request.query, "objects", default=True) else {}))


def told_place(place: Place) -> JsonObject:
    """A moment in an answer."""
    return {"sequence": place.sequence, "time": rfc3339(place.time_ns)}
