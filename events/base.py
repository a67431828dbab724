"""The two kinds of message; without them commands, facts and their answers couldn't be told apart."""

from typing import ClassVar, Generic, TypeVar, get_args

import msgspec

Answer = TypeVar("Answer")

_DOCKER_WORDS = {
    "cpu": "Cpu",
    "dns": "Dns",
    "id": "Id",
    "io": "IO",
    "ip": "IP",
    "ipv4": "IPv4",
    "ipv6": "IPv6",
    "iops": "IOps",
    "ps": "Ps",
    "uts": "UTS",
}


def docker_name(field: str) -> str:
    """Spell a field as the Docker Engine API does (`ip_address` -> `IPAddress`)."""
    return "".join(_DOCKER_WORDS.get(word) or word.capitalize() for word in field.split("_"))


class Command(msgspec.Struct, Generic[Answer], frozen=True, kw_only=True):
    """A request to change something; `TYPE` is `<noun>.<verb>` and names its subject on the bus."""

    TYPE: ClassVar[str]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A fact; `TYPE` is its tag in the log and never changes once released."""

    TYPE: ClassVar[str]
    SCHEMA: ClassVar[int] = 1


def answer_type(command: type[Command[Answer]]) -> type[Answer]:
    """The type that a command's handler answers with (the parameter of its `Command[...]` base)."""
    (answer,) = get_args(command.__orig_bases__[0])  # type: ignore[attr-defined]  # set by typing.Generic
    return answer  # type: ignore[no-any-return]  # get_args is untyped
