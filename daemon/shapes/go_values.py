"""Go's habits in JSON that clients have come to rely on: absent lists are `null`, absent names `""`."""

from collections.abc import Iterable, Mapping
from typing import Final

JsonObject = dict[str, object]
Version = tuple[int, int]  # of the API, as in the path

NEWEST: Final[Version] = (1, 51)
DESTROYED: Final = "(destroyed)"  # stands for a sealed value whose key is gone


def list_or_null(values: Iterable[object]) -> list[object] | None:
    """A list, or null when nothing is in it."""
    return list(values) or None


def map_or_null(values: Mapping[str, object]) -> dict[str, object] | None:
    """An object, or null when nothing is in it."""
    return dict(values) or None


def without_empty(values: Mapping[str, object], optional: Iterable[str]) -> JsonObject:
    """All of `values` but the `optional` ones that are null, zero, false or empty (Go's `omitempty`)."""
    names = frozenset(optional)
    return {key: value for key, value in values.items() if value or key not in names}
