"""One example of every event, derived from its fields; without it a new event could go untested."""

from typing import Any

import msgspec
from msgspec import inspect

from events.base import Event
from events.codec import Record, encode_event
from events.envelope import Actor, Cause

ACTOR = Actor(
    kind="unix",
    uid=1000,
    gid=1000,
    pid=4711,
    executable="/usr/bin/docker",
    login_uid=1000,
    user_agent="Docker-Client/28.2 (linux)",
)


def example(event: type[Event]) -> Event:
    """An event with something in every field."""
    return msgspec.convert(_value(inspect.type_info(event), event.__name__), event)


def stored_example(event: type[Event]) -> Record:
    """The record that an example of the event would be stored as."""
    return Record(
        sequence=42,
        time_ns=1_700_000_000_000_000_001,
        clock_ns=1_700_000_000_000_000_000,
        stream="example/1",
        version=3,
        type=event.TYPE,
        schema=event.SCHEMA,
        data=msgspec.Raw(encode_event(example(event))),
        cause=Cause(actor=ACTOR, command_id="command-1", correlation_id="request-1", causation=41),
        take=("name/taken",),
        release=("name/released",),
        reply=msgspec.Raw(b'{"sequence":0,"answer":null,"failure":null}'),
    )


def _value(kind: inspect.Type, name: str) -> Any:
    match kind:
        case inspect.StructType(fields=fields):
            return {field.encode_name: _value(field.type, field.name) for field in fields}
        case inspect.DictType(key_type=key, value_type=value):
            return {_value(key, name): _value(value, name)}
        case inspect.VarTupleType(item_type=item) | inspect.FrozenSetType(item_type=item):
            return [_value(item, name)]
        case inspect.TupleType(item_types=items):
            return [_value(item, name) for item in items]
        case inspect.UnionType(types=kinds):
            return _value(next(each for each in kinds if not isinstance(each, inspect.NoneType)), name)
        case _:
            return _scalar(kind, name)


def _scalar(kind: inspect.Type, name: str) -> Any:
    match kind:
        case inspect.StrType():
            return f"{name} é"
        case inspect.BytesType():
            return "AAEC/w=="
        case inspect.BoolType():
            return True
        case inspect.IntType():
            return 9_007_199_254_740_993  # not a double
        case inspect.FloatType():
            return 0.5
        case _:
            raise TypeError(f"{name} is a {type(kind).__name__}: say here what an example of it is")
