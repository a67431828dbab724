"""Reads query parameters by Docker's conventions; without it `all=0` would mean yes here and no there."""

import re
from collections.abc import Mapping, Sequence

import msgspec

from daemon.http.quoting import quoted
from events.errors import InvalidParameter

Query = Mapping[str, Sequence[str]]
Filters = dict[str, tuple[str, ...]]

_NO = frozenset({"", "0", "no", "false", "none"})
_TRUE, _FALSE = frozenset({"1", "true"}), frozenset({"0", "false"})
_INTEGER = re.compile(r"[+-]?[0-9]+")
_INTEGER_CHARACTERS = 20  # no 64-bit number is longer; leading zeros aside, which nobody sends


class InvalidNumber(InvalidParameter):
    """Not an integer of 64 bits; in the words of the function that Docker parses it with."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"strconv.Atoi: parsing {quoted(text)}: {reason}")


class InvalidFilter(InvalidParameter):
    """A filter that isn't known, or a value that it can't have; without arguments: not even JSON."""

    def __init__(self, key: str | None = None, values: Sequence[str] | None = None) -> None:
        shown = "" if values is None else f"=[{' '.join(values)}]"
        super().__init__("invalid filter" if key is None else f"invalid filter '{key}{shown}'")


def text(query: Query, name: str, default: str = "") -> str:
    """The first value."""
    values = query.get(name)
    return values[0] if values else default


def boolean(query: Query, name: str, *, default: bool = False) -> bool:
    """True unless the value is empty, 0, no, false or none; the default when the parameter is absent."""
    values = query.get(name)
    return values[0].strip().lower() not in _NO if values else default


def integer(query: Query, name: str, default: int = 0) -> int:
    """The default when absent or empty. Raises InvalidNumber."""
    value = text(query, name)
    if not value:
        return default
    if not _INTEGER.fullmatch(value):
        raise InvalidNumber(value, "invalid syntax")
    if len(value) > _INTEGER_CHARACTERS or not -(2**63) <= int(value) < 2**63:
        raise InvalidNumber(value, "value out of range")
    return int(value)


def filters(query: Query, known: frozenset[str] | None = None) -> Filters:
    """The `filters` parameter, either shape: `{"k": {"v": true}}` or `{"k": ["v"]}`.

    Raises InvalidFilter, also for a key that isn't among `known` (None: any key goes).
    """
    decoded = _decode_filters(text(query, "filters"))
    for key in decoded:
        if known is not None and key not in known:
            raise InvalidFilter(key)
    return decoded


def filter_boolean(found: Filters, key: str, *, default: bool) -> bool:
    """A filter that takes 1, true, 0 or false; the default when absent. Raises InvalidFilter."""
    if key not in found:
        return default
    values = set(found[key])
    if values and values <= _TRUE:
        return True
    if values and values <= _FALSE:
        return False
    raise InvalidFilter(key, found[key])


def _decode_filters(encoded: str) -> Filters:
    if not encoded:
        return {}
    try:
        decoded = msgspec.json.decode(encoded, type=dict[str, dict[str, bool] | list[str] | None] | None)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        raise InvalidFilter from None
    return {key: tuple(dict.fromkeys(values or ())) for key, values in (decoded or {}).items()}
