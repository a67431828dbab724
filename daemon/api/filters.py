"""The `filters` of lists and prunes: what all nouns share. Values of a key are alternatives, keys must all hold."""

from collections.abc import Callable, Iterable, Mapping

from daemon.http.query import InvalidFilter, filter_boolean
from events.errors import InvalidParameter

Filters = Mapping[str, tuple[str, ...]]


class InvalidFilterValue(InvalidParameter):
    """A value that a filter can't have."""

    def __init__(self, key: str, value: str, reason: str) -> None:
        super().__init__(f"invalid filter '{key}={value}': {reason}")


def boolean(filters: Filters, key: str) -> bool | None:
    """The value of a filter that is true or false; None without it. Raises InvalidFilter."""
    return filter_boolean(dict(filters), key, default=False) if filters.get(key) else None


def equals(filters: Filters, key: str, text: str) -> bool:
    """Exactly; anything matches without the filter."""
    values = filters.get(key)
    return not values or text in values


def begins(filters: Filters, key: str, text: str) -> bool:
    """The text begins with a value; anything matches without the filter."""
    values = filters.get(key)
    return not values or text.startswith(values)


def labelled(filters: Filters, labels: Mapping[str, str]) -> bool:
    """All of `label` (`key` or `key=value`) are there and, for prunes, none of `label!`."""
    return all(_has(labels, wanted) for wanted in filters.get("label", ())) and not any(
        _has(labels, unwanted) for unwanted in filters.get("label!", ())
    )


def _has(labels: Mapping[str, str], wanted: str) -> bool:
    key, separator, value = wanted.partition("=")
    return key in labels and (not separator or labels[key] == value)


def check_values(filters: Filters, key: str, word: str, known: Iterable[str]) -> None:
    """Raise InvalidFilterValue when a value isn't one of those that there are."""
    names = tuple(known)
    for value in filters.get(key, ()):
        if value not in names:
            reason = f"invalid value for {word} ({value}): must be one of {', '.join(names)}"
            raise InvalidFilterValue(key, value, reason)


def single(filters: Filters, key: str, parse: Callable[[str], int]) -> int | None:
    """The one value of a filter, parsed; None without it. Raises InvalidFilter for several."""
    values = filters.get(key, ())
    if len(values) > 1:
        raise InvalidFilter(key, values)
    return parse(values[0]) if values else None
