"""How stored events get small; without it a log would mostly consist of the same names, paths and field names.

What is hashed, read and passed on is an event's JSON. In a file each event is one zstd frame, made with a dictionary
that the file holds itself, so that a copy of a file can be read without this engine. The dictionary is JSON of events
of every type: whatever an event has in common with it costs a few bytes.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import msgspec
import zstandard
from msgspec import inspect

from events.base import Event
from events.codec import EVENTS, Record, encode_event, encode_record
from events.envelope import ENGINE, Actor, Cause
from events.log import LogBroken

_LEVEL: Final = -1  # fast to open: no entropy coding of literals
_OFTEN: Final = ("image.", "network.sandbox", "process.", "container.")  # the likelier, the later: nearer is cheaper
_ID: Final = "0123456789abcdef" * 4
_TIME_NS: Final = 1_800_000_000_000_000_000
_ACTOR: Final = Actor(
    kind="unix",
    uid=0,
    gid=0,
    pid=10000,
    executable="/usr/bin/docker",
    login_uid=1000,
    user_agent="Docker-Client/28.2.2 (linux)",
)
_REPLIES: Final = (
    b'{"sequence":0,"answer":{"container_id":"","warnings":[]},"failure":null}',
    b'{"sequence":0,"answer":null,"failure":{"kind":"not_found","message":"","recorded":null}}',
    b'{"sequence":0,"answer":null,"failure":null}',
)
_TEXTS: Final = {
    "image_id": f"sha256:{_ID}",
    "image_reference": "busybox:latest",
    "type": "bind",
    "network_mode": "bridge",
    "network_name": "bridge",
    "interface": "eth0",
    "address": "172.17.0.2",
    "gateway": "172.17.0.1",
    "mac_address": "02:42:ac:11:00:02",
    "owner": f"container/{_ID}",
}
_LISTS: Final = {
    "masked_paths": (
        "/proc/asound /proc/acpi /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list "
        "/proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware /sys/devices/virtual/powercap"
    ).split(),
    "readonly_paths": "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split(),
}


class Records:
    """Makes and opens the frames of one file."""

    def __init__(self, dictionary: bytes) -> None:
        data = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        data.precompute_compress(level=_LEVEL)
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, dict_data=data, write_dict_id=False)
        self._decompressor = zstandard.ZstdDecompressor(dict_data=data)

    def pack(self, record: bytes) -> bytes:
        """An event's bytes as a file holds them."""
        return self._compressor.compress(record)

    def unpack(self, frame: bytes) -> bytes:
        """An event's bytes. Raises LogBroken."""
        try:
            return self._decompressor.decompress(frame)
        except (zstandard.ZstdError, MemoryError) as error:  # a damaged frame may claim any size
            raise LogBroken(f"a stored event can't be unpacked: {error}") from error


@cache
def new_dictionary() -> bytes:
    """The dictionary of a new file. Another version of the engine may make another one: files keep theirs."""
    return b"".join(_examples(sorted(EVENTS.values(), key=_likelihood)))


def _likelihood(event: type[Event]) -> tuple[int, str]:
    found = [rank for rank, beginning in enumerate(_OFTEN) if event.TYPE.startswith(beginning)]
    return (max(found, default=-1), event.TYPE)


def _examples(events: Iterable[type[Event]]) -> Iterable[bytes]:
    for number, event in enumerate(events):
        stream = f"{event.TYPE.partition('.')[0]}/{_ID}"
        by_client = number % 3 != 0
        record = Record(
            sequence=number,
            time_ns=_TIME_NS,
            clock_ns=_TIME_NS,
            stream=stream,
            version=1,
            type=event.TYPE,
            schema=event.SCHEMA,
            data=msgspec.Raw(encode_event(msgspec.convert(_value(inspect.type_info(event), ""), event))),
            cause=Cause(
                actor=_ACTOR if by_client else ENGINE,
                command_id=_ID if by_client else "policy-1-0-0",
                correlation_id=_ID,
                causation=0 if by_client else 1,
            ),
            reply=msgspec.Raw(_REPLIES[number % len(_REPLIES)]),
        )
        yield encode_record(record)


def _value(kind: inspect.Type, name: str) -> Any:  # noqa: ANN401  # whatever JSON has
    match kind:
        case inspect.StructType(fields=fields):
            return {field.encode_name: _field(field) for field in fields}
        case inspect.TupleType(item_types=items):
            return [_value(item, name) for item in items]
        case inspect.UnionType(types=kinds):
            return _value(next(each for each in kinds if not isinstance(each, inspect.NoneType)), name)
        case inspect.DictType():
            return {}
        case inspect.VarTupleType(item_type=inspect.StructType() as item):
            return [_value(item, name)]
        case inspect.VarTupleType() | inspect.FrozenSetType() | inspect.ListType():
            return _LISTS.get(name, [])
        case inspect.BoolType():
            return False
        case inspect.IntType() | inspect.FloatType():
            return _TIME_NS if name.endswith("_ns") else 0
        case inspect.StrType():
            return _TEXTS.get(name, _ID if name.endswith("_id") else "")
        case _:
            return ""


def _field(field: inspect.Field) -> Any:  # noqa: ANN401
    if field.name in _LISTS or field.required:
        return _value(field.type, field.name)
    if field.default is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default)
    return msgspec.to_builtins(field.default_factory())
