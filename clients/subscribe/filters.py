"""Which events a subscriber wants; what it doesn't want moves its position all the same."""

from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import msgspec

from events.envelope import Actor
from events.lines import Line


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What of a record filters look at."""

    stream: str
    type: str
    cause: "HeadCause"


class HeadCause(msgspec.Struct, frozen=True, kw_only=True):
    """Who an event goes back to."""

    actor: Actor
    command_id: str = ""


_heads = msgspec.json.Decoder(Head)


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Any value of a field, all fields; an empty field lets everything pass. `*` and `?` stand for any text."""

    types: tuple[str, ...] = ()  # container.started, container.*
    objects: tuple[str, ...] = ()  # streams: container/*, volume/data; an id's beginning is enough
    callers: tuple[str, ...] = ()  # see `is_caller`

    def wanted(self, batch: list[Line]) -> list[Line]:
        """Those of some lines that are wanted."""
        if not (self.types or self.objects or self.callers):
            return batch
        return list(filter(self.pass_, batch))

    def pass_(self, line: Line) -> bool:
        """Whether a line is wanted."""
        head = _heads.decode(line.record)
        return (
            _any(head.type, self.types)
            and (not self.objects or any(is_object(head.stream, wanted) for wanted in self.objects))
            and (not self.callers or any(is_caller(head.cause.actor, wanted) for wanted in self.callers))
        )


def _any(text: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(text, pattern) for pattern in patterns)


@lru_cache(maxsize=4096)
def is_object(stream: str, wanted: str) -> bool:
    """Whether a stream is of the object: `kind/id`, an id, its beginning, or a pattern of these."""
    kind, _, key = stream.partition("/")
    if "/" in wanted:
        return fnmatchcase(stream, wanted) or stream.startswith(wanted)
    plain = key.removeprefix("sha256:")
    return fnmatchcase(key, wanted) or plain.startswith(wanted.removeprefix("sha256:")) or kind == wanted


def is_caller(actor: Actor, wanted: str) -> bool:
    """Whether somebody is meant by: `engine`, `recovery`, `tls`; a uid; `field=text`; else what is part of the
    executable, the certificate's subject, the address or the user agent."""
    field, separator, text = wanted.partition("=")
    if separator and field in Actor.__struct_fields__:
        value: Any = getattr(actor, field)
        return value is not None and fnmatchcase(str(value), text)
    if wanted.isdecimal():
        return str(actor.uid) == wanted or str(actor.login_uid) == wanted
    said = (actor.executable, actor.subject, actor.address, actor.user_agent)
    return actor.kind == wanted or bool(wanted and any(wanted in each for each in said))
