"""Docker's event messages, and which of them a client wants."""

import msgspec

from daemon.shapes.go_values import JsonObject, Version
from daemon.shapes.times import SECOND_NS

LEGACY_UNTIL: Version = (1, 52)
_LEGACY_KINDS = frozenset({"container", "image"})
_FUZZY_ACTIONS = frozenset({"health_status", "exec_create", "exec_start"})

Filters = dict[str, tuple[str, ...]]


class Told(msgspec.Struct, frozen=True):
    """The part of a message that depends on what happened."""

    kind: str  # container, image, network, volume, daemon
    action: str
    id: str
    attributes: dict[str, str]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, as Docker tells it."""

    kind: str  # container, image, network, volume, daemon
    action: str
    id: str
    attributes: dict[str, str]
    time_ns: int  # the wall clock as it was read
    minimum_version: Version = (1, 24)

    def shape(self, version: Version) -> JsonObject:
        """The JSON object; below 1.52 with the fields that containers and images had before API 1.22."""
        legacy: JsonObject = {}
        if version < LEGACY_UNTIL and self.kind in _LEGACY_KINDS:
            legacy = {"status": self.action, "id": self.id}
            if self.kind == "container":
                legacy["from"] = self.attributes.get("image", "")
        return legacy | {
            "Type": self.kind,
            "Action": self.action,
            "Actor": {"ID": self.id, "Attributes": self.attributes},
            "scope": "local",
            "time": self.time_ns // SECOND_NS,
            "timeNano": self.time_ns,
        }


def wanted(message: Message, filters: Filters, version: Version) -> bool:
    """Whether a message passes: any value of a filter, all filters. Unknown filters are ignored, as in Docker."""
    if version < message.minimum_version:
        return False
    return (
        _action(message, filters)
        and _one_of(filters, "type", message.kind)
        and _one_of(filters, "scope", "local")
        and _labels(message, filters)
        and _image(message, filters)
        and all(_named(message, filters, kind) for kind in ("container", "network", "volume", "daemon", "plugin"))
    )


def _one_of(filters: Filters, key: str, value: str) -> bool:
    values = filters.get(key)
    return not values or value in values


def _action(message: Message, filters: Filters) -> bool:
    """`exec_start` stands for all that begin so, since those carry their command."""
    actions = filters.get("event")
    if not actions:
        return True
    if _FUZZY_ACTIONS & set(actions):
        return message.action.startswith(actions)
    return message.action in actions


def _labels(message: Message, filters: Filters) -> bool:
    for label in filters.get("label", ()):
        key, separator, value = label.partition("=")
        if key not in message.attributes or (separator and message.attributes[key] != value):
            return False
    return True


def _named(message: Message, filters: Filters, key: str) -> bool:
    """By id or name, or what they begin with."""
    names = filters.get(key)
    return not names or message.id.startswith(names) or message.attributes.get("name", "").startswith(names)


def _image(message: Message, filters: Filters) -> bool:
    names = filters.get("image")
    if not names:
        return True
    name = message.attributes.get("image" if message.kind == "container" else "name", "")
    return bool({message.id, name, _without_tag(message.id), _without_tag(name)} & set(names))


def _without_tag(name: str) -> str:
    head, colon, tail = name.rpartition(":")
    return head if colon and "/" not in tail else name
