"""Events as CloudEvents 1.0 in JSON. Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md"""

from typing import Final

import msgspec

from clients.audit.times import rfc3339
from clients.subscribe.position import Position
from events.lines import Line

CONTENT_TYPE: Final = "application/cloudevents+json"
TYPE_PREFIX: Final = "dev.shiplog."


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event; `data` is the record as it is stored. `sequence` and `chainhash` are extension attributes."""

    specversion: str = "1.0"
    id: str  # <log>-<sequence>
    source: str  # /shiplog/<log>
    type: str
    subject: str  # the stream: <kind>/<id>
    time: str  # by the wall clock
    datacontenttype: str = "application/json"
    sequence: str  # 20 digits, so that text sorts as numbers do
    chainhash: str  # hexadecimal SHA-256 of the chain up to here
    data: msgspec.Raw


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """What of a record stands outside of it."""

    clock_ns: int
    stream: str
    type: str


class _Id(msgspec.Struct, frozen=True, kw_only=True):
    """Where an event stands."""

    id: str


_heads = msgspec.json.Decoder(_Head)
_ids = msgspec.json.Decoder(_Id)
_encoder = msgspec.json.Encoder()


def encode(line: Line) -> bytes:
    """A line as a CloudEvent."""
    head = _heads.decode(line.record)
    return _encoder.encode(
        CloudEvent(
            id=f"{line.log}-{line.sequence}",
            source=f"/shiplog/{line.log}",
            type=TYPE_PREFIX + head.type,
            subject=head.stream,
            time=rfc3339(head.clock_ns),
            sequence=f"{line.sequence:020d}",
            chainhash=line.hash,
            data=line.record,
        )
    )


def position_of(content: bytes) -> Position:
    """Where an encoded event stands. Raises ValueError."""
    return position_of_id(_ids.decode(content).id)


def position_of_id(text: str) -> Position:
    """Reads `<log>-<sequence>`. Raises ValueError."""
    log, _, sequence = text.rpartition("-")
    if not log or not sequence.isdecimal():
        raise ValueError(f"{text} is no id of an event")
    return Position(log=log, sequence=int(sequence))
