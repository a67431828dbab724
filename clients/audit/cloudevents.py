"""Events as CloudEvents 1.0 in JSON. Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md"""

from functools import lru_cache
from typing import Final

import msgspec

from clients.audit.times import rfc3339
from clients.subscribe.position import Position
from events.lines import Line

CONTENT_TYPE: Final = "application/cloudevents+json"


class _Head(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What of a record stands outside of it too; texts as they are written."""

    clock_ns: int
    stream: msgspec.Raw
    type: msgspec.Raw


class _Id(msgspec.Struct, frozen=True, kw_only=True):
    """Where an event stands."""

    id: str


_heads = msgspec.json.Decoder(_Head)
_ids = msgspec.json.Decoder(_Id)


def encode(line: Line) -> bytes:
    """A line as a CloudEvent: `id` is `<log>-<sequence>`, `subject` the stream, `data` the record as it is stored.

    `sequence` (20 digits, so that text sorts as numbers do) and `chainhash` are extension attributes.
    """
    head = _heads.decode(line.record)
    identity, source = _log(line.log)
    return b"".join(
        (
            identity,
            b"%d" % line.sequence,
            source,
            bytes(head.type)[1:],
            b',"subject":',
            head.stream,
            b',"time":"',
            rfc3339(head.clock_ns).encode(),
            b'","datacontenttype":"application/json","sequence":"%020d","chainhash":"' % line.sequence,
            line.hash.encode(),
            b'","data":',
            line.record,
            b"}",
        )
    )


@lru_cache(maxsize=64)
def _log(log: str) -> tuple[bytes, bytes]:
    """What stands before an event's sequence in its `id`, and between that and its type."""
    name = json_text(log)
    return b'{"specversion":"1.0","id":"%b-' % name, b'","source":"/shiplog/%b","type":"dev.shiplog.' % name


@lru_cache(maxsize=64)
def json_text(text: str) -> bytes:
    """What stands between the quotes."""
    return msgspec.json.encode(text)[1:-1]


def position_of(content: bytes) -> Position:
    """Where an encoded event stands. Raises ValueError."""
    return position_of_id(_ids.decode(content).id)


def position_of_id(text: str) -> Position:
    """Reads `<log>-<sequence>`. Raises ValueError."""
    log, _, sequence = text.rpartition("-")
    if not log or not sequence.isdecimal():
        raise ValueError(f"{text} is no id of an event")
    return Position(log=log, sequence=int(sequence))
