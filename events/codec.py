"""How events become bytes and come back; without it the log would hold Python objects instead of a language.

Bytes are canonical: maps are sorted by key and structs are in the order of their declaration, so equal events give
equal bytes.
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final, TypeVar

import msgspec

from events.base import Command, Event
from events.envelope import Cause, Recorded
from events.log import LogBroken, NewerLog
from events.messages import (
    build,
    container,
    exec,  # noqa: A004  # Docker's own word
    image,
    layer,
    network,
    system,
    volume,
)

Message = TypeVar("Message", bound=type)
Upcasts = Mapping[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]]

MODULES: Final[tuple[ModuleType, ...]] = (build, container, exec, image, layer, network, system, volume)


def by_tag(kind: Message, modules: tuple[ModuleType, ...]) -> dict[str, Message]:
    """Every message class of a kind that the modules define, by its TYPE. Raises ValueError for a tag used twice."""
    table: dict[str, Message] = {}
    for module in modules:
        for candidate in vars(module).values():
            if not _defined_in(module, candidate, kind):
                continue
            if candidate.TYPE in table:
                raise ValueError(f"tag {candidate.TYPE} names both {table[candidate.TYPE]} and {candidate}")
            table[candidate.TYPE] = candidate
    return table


def _defined_in(module: ModuleType, candidate: object, kind: type) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, kind) and candidate.__module__ == module.__name__


EVENTS: Final[dict[str, type[Event]]] = by_tag(Event, MODULES)
COMMANDS: Final[dict[str, type[Command[Any]]]] = by_tag(Command, MODULES)


def _gains_defaults(fields: dict[str, Any]) -> dict[str, Any]:
    """The next schema has more fields, whose defaults say what was true before."""
    return fields


# (type, schema) -> function from that schema's fields to the next one's. Entries are added and never removed.
UPCASTS: Final[Upcasts] = {
    ("container.start_requested", 1): _gains_defaults,
    ("container.stop_requested", 1): _gains_defaults,
    ("container.kill_requested", 1): _gains_defaults,
    ("layer.applied", 1): _gains_defaults,
    ("image.created", 1): _gains_defaults,
}


NO_REPLY: Final = msgspec.Raw(b"")  # msgspec leaves out a default that is this very object


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event as it is stored and hashed. All that is authoritative is in here; whatever else is kept is an index."""

    sequence: int
    time_ns: int
    clock_ns: int
    stream: str
    version: int
    type: str
    schema: int
    data: msgspec.Raw
    cause: Cause
    take: tuple[str, ...] = ()  # claims that the stream holds from here on
    release: tuple[str, ...] = ()  # claims that it holds no longer
    reply: msgspec.Raw = NO_REPLY


_encoder = msgspec.json.Encoder(order="deterministic")
_record_decoder = msgspec.json.Decoder(Record)
_raw_decoder = msgspec.json.Decoder(msgspec.Raw)
_event_decoders = {tag: msgspec.json.Decoder(event) for tag, event in EVENTS.items()}


def encode_event(event: Event) -> bytes:
    """The event's own fields as canonical JSON. Raises LogBroken for a class that the tables don't know."""
    if EVENTS.get(event.TYPE) is not type(event):
        raise LogBroken(f"{type(event).__name__} ({event.TYPE}) is not an event that this engine can read again")
    return _encoder.encode(event)


def decode_event(tag: str, schema: int, data: bytes | msgspec.Raw, upcasts: Upcasts = UPCASTS) -> Event:
    """Read an event's fields, of its present schema or an older one.

    Raises LogBroken for an unknown type, a newer schema, an old one without an upcast, or fields that don't fit.
    """
    event_type = EVENTS.get(tag)
    if event_type is None:
        raise NewerLog(f"event type {tag} is unknown to this engine: the log was written by a newer one, use that")
    try:
        if schema == event_type.SCHEMA:
            return _event_decoders[tag].decode(data)
        fields = _lifted(tag, schema, event_type.SCHEMA, msgspec.json.decode(data), upcasts)
        return msgspec.convert(fields, event_type)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LogBroken(f"event type {tag}, schema {schema}, can't be read: {error}") from error


def _lifted(tag: str, schema: int, present: int, fields: dict[str, Any], upcasts: Upcasts) -> dict[str, Any]:
    if schema > present:
        raise NewerLog(
            f"event type {tag} has schema {schema}, this engine knows {present}: the log was written by a newer one, "
            "use that"
        )
    for step in range(schema, present):
        upcast = upcasts.get((tag, step))
        if upcast is None:
            raise LogBroken(f"event type {tag} has schema {step}, which this engine can't read any more")
        fields = upcast(fields)
    return fields


def encode_record(record: Record) -> bytes:
    """The bytes that are stored and hashed."""
    return _encoder.encode(record)


def decode_record(stored: bytes) -> Record:
    """Read stored bytes, the event's own fields left as they are. Raises LogBroken."""
    try:
        return _record_decoder.decode(stored)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LogBroken(f"a stored event can't be read: {error}") from error


def recorded(stored: bytes, digest: bytes) -> Recorded:
    """The event that stored bytes and their hash stand for. Raises LogBroken."""
    return decoded(decode_record(stored), digest)


def decoded(record: Record, digest: bytes) -> Recorded:
    """The event of a record. Raises LogBroken."""
    return Recorded(
        sequence=record.sequence,
        time_ns=record.time_ns,
        clock_ns=record.clock_ns,
        stream=record.stream,
        version=record.version,
        event=decode_event(record.type, record.schema, record.data),
        cause=record.cause,
        reply=bytes(record.reply) or None,
        hash=digest,
    )


def checked_json(reply: bytes) -> msgspec.Raw:
    """A reply as it can stand inside a record. Raises ValueError when it isn't JSON."""
    return msgspec.Raw(bytes(_raw_decoder.decode(reply)))
