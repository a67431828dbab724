"""Histories of events of every type, in any order; without them only the stories that somebody thought of are told."""

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from events.base import Event
from events.codec import EVENTS
from events.envelope import ENGINE, Cause
from events.log import Append

OBJECTS = 3
STREAMS = {"process": "process", "network.sandbox": "sandbox"}  # where a tag doesn't begin with its stream's noun


def noun(event: type[Event]) -> str:
    """The kind of stream that an event belongs to."""
    for beginning, stream in STREAMS.items():
        if event.TYPE.startswith(beginning):
            return stream
    return event.TYPE.partition(".")[0]


@st.composite
def appends(draw: st.DrawFn) -> tuple[Append, Cause]:
    """One event on a stream of its kind, and what led to it."""
    kind = draw(st.sampled_from(sorted(EVENTS.values(), key=lambda event: event.TYPE)))
    subject = f"{noun(kind)}-{draw(st.integers(0, OBJECTS - 1))}"
    event = msgspec.convert(_value(draw, inspect.type_info(kind), "", subject), kind)
    cause = Cause(actor=ENGINE, command_id=draw(st.sampled_from(["c1", "c2"])), correlation_id="c")
    return Append(stream=f"{noun(kind)}/{subject}", events=(event,)), cause


def histories(largest: int = 60) -> st.SearchStrategy[list[tuple[Append, Cause]]]:
    """What may have happened, the impossible included: folds must take whatever the log holds."""
    return st.lists(appends(), max_size=largest)


def _value(draw: st.DrawFn, kind: inspect.Type, name: str, subject: str) -> Any:
    match kind:
        case inspect.StructType(fields=fields):
            told = [field for field in fields if field.required or draw(st.booleans())]
            return {field.encode_name: _value(draw, field.type, field.name, subject) for field in told}
        case inspect.DictType(key_type=key, value_type=value):
            return {_value(draw, key, name, subject): _value(draw, value, name, subject)}
        case inspect.VarTupleType(item_type=item) | inspect.FrozenSetType(item_type=item):
            return [_value(draw, item, name, subject) for _ in range(draw(st.integers(0, 2)))]
        case inspect.TupleType(item_types=items):
            return [_value(draw, item, name, subject) for item in items]
        case inspect.UnionType(types=kinds):
            return _value(draw, draw(st.sampled_from(kinds)), name, subject)
        case inspect.NoneType():
            return None
        case inspect.BytesType():
            return "AAEC/w=="
        case inspect.BoolType():
            return draw(st.booleans())
        case inspect.IntType() | inspect.FloatType():
            return draw(st.integers(0, 300))
        case _:
            return _text(draw, name, subject)


def _text(draw: st.DrawFn, name: str, subject: str) -> str:
    number = draw(st.integers(0, OBJECTS - 1))
    if name == "name":  # unique across objects, as claims make them
        return f"{subject}-{number}"
    if name.endswith("_id"):
        return f"{name.removesuffix('_id')}-{number}"
    return f"{name}-{number}"
