"""What differs between two states; without it two moments, or two engines, could only be compared by eye."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from events.projections.state import State

ADDED: Final = "added"
REMOVED: Final = "removed"
CHANGED: Final = "changed"

# What only the engine's own decisions need: it changes with every event and tells people nothing.
_BOOKKEEPING: Final = frozenset({"version", "sequence", "operation_command", "start_command", "kills", "restarting"})
_SEALED: Final = frozenset({"owner", "nonce", "ciphertext"})

_encoder = msgspec.json.Encoder(order="deterministic")

Fields = dict[str, object]
Objects = dict[str, dict[str, Fields]]  # kind -> id -> fields


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One field; None on the side where it isn't there. What is sealed shows as such."""

    field: str
    before: object
    after: object


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One object."""

    kind: str  # container, exec, image, layer, network, volume
    id: str
    name: str
    difference: str  # added, removed, changed
    changes: tuple[Change, ...] = ()


def differences(before: State, after: State) -> tuple[Difference, ...]:
    """By kind, then in the order of the later state; what went away comes last."""
    return compared(objects(before), objects(after))


def compared(before: Objects, after: Objects) -> tuple[Difference, ...]:
    """The same for what `objects` gave, perhaps elsewhere."""
    return tuple(_differences(before, after))


def digest(told_objects: Objects) -> str:
    """SHA-256 of what `objects` gave: equal states have equal digests, wherever they were folded."""
    return hashlib.sha256(_encoder.encode(told_objects)).hexdigest()


def objects(state: State) -> Objects:
    """Everything that a state knows, by kind and id: flat fields, as JSON has them."""
    sandboxes = {sandbox.container_id: sandbox for sandbox in state.sandboxes}
    return {
        "container": {c.id: told(c) | _below("sandbox", sandboxes.get(c.id)) for c in state.containers},
        "exec": {each.id: told(each) for each in state.execs},
        "image": {each.id: told(each) for each in state.images},
        "layer": {each.chain_id: told(each) for each in state.layers},
        "network": {each.id: told(each) for each in state.networks},
        "volume": {each.name: told(each) for each in state.volumes},
    }


def told(value: msgspec.Struct) -> Fields:
    """A struct's fields, nested ones by their path (`config.Image`)."""
    plain = msgspec.to_builtins(value, order="deterministic", str_keys=True)
    return dict(_flat("", {key: each for key, each in plain.items() if key not in _BOOKKEEPING}))


def _below(name: str, value: msgspec.Struct | None) -> Fields:
    if value is None:
        return {}
    return {f"{name}.{key}": each for key, each in told(value).items() if key != "container_id"}


def _flat(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value.keys() == _SEALED:
        yield path, "(sealed)"
        yield f"{path}.nonce", value["nonce"]
    elif isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _flat(f"{path}.{key}" if path else str(key), each)
    else:
        yield path, value


def _differences(before: Objects, after: Objects) -> Iterator[Difference]:
    for kind, present in after.items():
        past = before.get(kind, {})
        for key, fields in present.items():
            if key not in past:
                yield _one(kind, key, fields, ADDED)
            elif past[key] != fields:
                yield _one(kind, key, fields, CHANGED, _changes(past[key], fields))
        for key, fields in past.items():
            if key not in present:
                yield _one(kind, key, fields, REMOVED)


def _one(kind: str, key: str, fields: Fields, difference: str, changes: Iterable[Change] = ()) -> Difference:
    return Difference(kind=kind, id=key, name=_name(fields, key), difference=difference, changes=tuple(changes))


def _name(fields: Fields, key: str) -> str:
    references: Any = fields.get("references")
    return str(fields.get("name") or (references[0] if references else key))


def _changes(before: Fields, after: Fields) -> Iterator[Change]:
    for field in dict.fromkeys((*before, *after)):
        if before.get(field) != after.get(field) and not field.endswith(".nonce"):
            yield Change(field=field, before=before.get(field), after=after.get(field))
        elif before.get(field) != after.get(field):
            yield Change(field=field.removesuffix(".nonce"), before="(sealed)", after="(sealed anew)")
