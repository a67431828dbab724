"""Why an object is as it is: the commands, callers and events behind it, also of what is gone by now."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final

import msgspec
from anyio import to_thread

from daemon.api.answers import as_json
from daemon.api.engine import Engine
from daemon.http.messages import Answer, Request
from daemon.http.query import text
from daemon.shapes.go_values import JsonObject
from events.causes import deeds, root_of
from events.envelope import Recorded
from events.errors import EngineError, InvalidParameter, NotFound
from events.lookup import find_image
from events.projections.state import State

SEARCHED_PAGE: Final = 5000
GATHERED_EVENTS: Final = 20_000

Find = Callable[[State, str], str]


class NoSuchObject(NotFound):
    """Nothing of this name was ever in the log."""

    def __init__(self, name: str, kinds: Iterable[str]) -> None:
        super().__init__(
            f"no {' or '.join(kinds)} named {name} was ever in this log: give a name, an id or its beginning"
        )


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked about."""

    kind: str
    id: str

    @property
    def stream(self) -> str:
        """Its own stream in the log."""
        return f"{self.kind}/{self.id}"


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    """What events say of names."""

    name: str = ""
    reference: str = ""


class _Born(msgspec.Struct, frozen=True, kw_only=True):
    """What of a record tells a name."""

    stream: str
    data: _Named


_born = msgspec.json.Decoder(_Born)
_NAMING: Final = (
    b'"container.create_requested"',
    b'"container.renamed"',
    b'"network.create_requested"',
    b'"image.tagged"',
)


async def why(engine: Engine, request: Request) -> Answer:
    """`GET /shiplog/why?object=NAME`: `kind` says which sort of object is meant where several have the name."""
    name, kind = text(request.query, "object"), text(request.query, "kind")
    if not name:
        raise InvalidParameter("'object' is missing: name a container, image, network or volume")
    if kind and kind not in FINDERS:
        raise InvalidParameter(f"kind: {kind} is none of {', '.join(FINDERS)}")
    subject = await find(engine, name, kind)
    answer: JsonObject = {"kind": subject.kind, "id": subject.id, "deeds": deeds(await gathered(engine, subject))}
    if subject.kind == "container" and (image := await _image_of(engine, subject)) is not None:
        answer["image"] = {"id": image.id, "deeds": deeds(await gathered(engine, image))}
    return as_json(answer)


async def find(engine: Engine, name: str, kind: str) -> Subject:
    """What exists comes first, then what the log remembers. Raises NoSuchObject, InvalidParameter (ambiguous)."""
    kinds = (kind,) if kind else tuple(FINDERS)
    for each in kinds:
        if found := FINDERS[each](engine.state, name):
            return Subject(kind=each, id=found)
    if (remembered := await _remembered(engine, name, kinds)) is not None:
        return remembered
    raise NoSuchObject(name, kinds)


def _container(state: State, name: str) -> str:
    found = state.containers.find(name)
    if len(found) > 1:
        raise InvalidParameter(f"multiple containers begin with {name}: give more of the id")
    return found[0].id if found else ""


def _image(state: State, name: str) -> str:
    try:
        return find_image(state.images, name).id
    except EngineError:
        return ""


def _volume(state: State, name: str) -> str:
    return name if state.volumes.get(name) is not None else ""


def _network(state: State, name: str) -> str:
    found = state.networks.find(name)
    if len(found) > 1:
        raise InvalidParameter(f"multiple networks are or begin with {name}: give the whole id")
    return found[0].id if found else ""


FINDERS: Final[dict[str, Find]] = {
    "container": _container,
    "image": _image,
    "network": _network,
    "volume": _volume,
}


async def _remembered(engine: Engine, name: str, kinds: Sequence[str]) -> Subject | None:
    """The last object that was ever called so: its stream, or the whole log, is read."""
    for kind in kinds:
        async for _ in _up_to(engine.log.read_stream(f"{kind}/{name}"), engine.state.sequence):
            return Subject(kind=kind, id=name)
    found: Subject | None = None
    after, last = 0, engine.state.sequence
    while after < last and (page := await engine.log.stored(after, min(SEARCHED_PAGE, last - after))):
        found = await to_thread.run_sync(_last_named, page, name, kinds) or found
        after = page[-1][0]
    return found


def _last_named(page: Sequence[tuple[int, bytes, bytes]], name: str, kinds: Sequence[str]) -> Subject | None:
    for _, record, _ in reversed(page):
        if any(tag in record for tag in _NAMING):
            born = _born.decode(record)
            kind, _, key = born.stream.partition("/")
            familiar = born.data.reference.removeprefix("docker.io/library/")
            names = {born.data.name, born.data.reference, familiar, familiar.removesuffix(":latest")} - {""}
            is_prefix = len(name) >= 12 and key.removeprefix("sha256:").startswith(name.removeprefix("sha256:"))
            if kind in kinds and (name.removeprefix("/") in names or is_prefix):
                return Subject(kind=kind, id=key)
    return None


async def gathered(engine: Engine, subject: Subject) -> list[Recorded]:
    """The object's own events, and those of the same commands on other objects. Raises InvalidParameter (too many)."""
    found: dict[int, Recorded] = {}
    for stream in _streams(engine.state, subject):
        async for each in _up_to(engine.log.read_stream(stream), engine.state.sequence):
            found[each.sequence] = each
            if len(found) > GATHERED_EVENTS:
                raise InvalidParameter(
                    f"{subject.kind} {subject.id} has more than {GATHERED_EVENTS} events: read the log's stream instead"
                )
    async for each in _company(engine, found.values()):
        found[each.sequence] = each
    return [found[sequence] for sequence in sorted(found)]


def _streams(state: State, subject: Subject) -> Iterable[str]:
    yield subject.stream
    if subject.kind == "container":
        yield from (f"{kind}/{subject.id}" for kind in ("process", "sandbox"))
        yield from (f"exec/{each.id}" for each in state.execs.of(subject.id))


async def _up_to(events: AsyncIterator[Recorded], sequence: int) -> AsyncIterator[Recorded]:
    async for each in events:
        if each.sequence > sequence:
            return
        yield each


async def _company(engine: Engine, own: Iterable[Recorded]) -> AsyncIterator[Recorded]:
    """What the same commands did between their first and last event here; a command's events lie close together."""
    spans: dict[str, tuple[int, int]] = {}
    for each in sorted(own, key=lambda recorded: recorded.sequence):
        root = root_of(each.cause.command_id)
        first, _ = spans.get(root, (each.sequence, 0))
        spans[root] = first, each.sequence
    left = GATHERED_EVENTS
    for root, (first, last) in spans.items():
        if root and 1 < last - first <= left:
            left -= last - first
            async for each in engine.log.read(first, limit=last - first):
                if root_of(each.cause.command_id) == root:
                    yield each


async def _image_of(engine: Engine, subject: Subject) -> Subject | None:
    async for each in engine.log.read_stream(subject.stream):
        image_id = str(getattr(each.event, "image_id", ""))
        return Subject(kind="image", id=image_id) if image_id else None
    return None
