"""What every read model is made of; without it a snapshot couldn't know what there is to keep."""

from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints


class Projection:
    """A read model. Its whole memory are the tables that its class annotates.

    A table is a dict of immutable values, or a dict of dicts of such; it starts empty. Snapshots keep exactly these.
    """

    def __init__(self) -> None:
        for name in table_types(type(self)):
            setattr(self, name, {})

    def capture(self) -> dict[str, dict[Any, Any]]:
        """The tables as they are now, by name: copies that later events don't change."""
        types = table_types(type(self))
        return {name: _copied(getattr(self, name), nested=is_nested(types[name])) for name in types}

    def restore(self, tables: Mapping[str, dict[Any, Any]]) -> None:
        """Take over tables that `capture` gave."""
        for name in table_types(type(self)):
            setattr(self, name, tables[name])


def table_types(projection: type[Projection]) -> dict[str, Any]:
    """The annotated type of every table, by name."""
    return get_type_hints(projection)


def is_nested(table: Any) -> bool:  # noqa: ANN401  # a type, as typing spells it
    """Whether the values of a table's type are dicts that change."""
    return get_origin(get_args(table)[1]) is dict


def _copied(table: dict[Any, Any], *, nested: bool) -> dict[Any, Any]:
    return {key: dict(value) for key, value in table.items()} if nested else dict(table)
