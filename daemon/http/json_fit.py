"""Bends a decoded JSON value to a type as Go's decoder would; without it clients that send null, or `Cmd: "ls"`, fail.

Go: null leaves the zero value; an object's keys match whatever their case, the exact one first; unknown keys are
ignored; an array of fixed length takes what fits. What doesn't fit otherwise is left as it is, for msgspec to refuse.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

DEPTH_LIMIT = 512


class TooDeep(Exception):
    """More levels than anybody needs."""


class Fitter:
    """Fits values to types. `lists_of_strings`: fields that may also be given as one bare string."""

    def __init__(self, lists_of_strings: frozenset[str]) -> None:
        self._lists_of_strings = lists_of_strings

    def fit(self, value: object, kind: inspect.Type, depth: int = 0) -> object:
        """The value for `kind`, or the value itself. Raises TooDeep."""
        if depth > DEPTH_LIMIT:
            raise TooDeep
        kind = _without_null(kind)
        if value is None:
            return _zero(kind)
        rule = _RULES.get(type(kind))
        return value if rule is None else rule(self, value, kind, depth + 1)

    def fit_struct(self, value: object, kind: inspect.StructType, depth: int) -> object:
        """Known keys only, spelled as msgspec wants them; null left out, so that the default holds."""
        if not isinstance(value, dict):
            return value
        exact, folded = _fields(kind.cls)
        fitted: dict[str, object] = {}
        for key, inner in value.items():
            field = exact.get(key) or folded.get(key.casefold())
            if field is None or (inner is None and not field.required):
                continue
            if isinstance(inner, str) and field.encode_name in self._lists_of_strings:
                inner = [inner]
            fitted[field.encode_name] = self.fit(inner, field.type, depth)
        return fitted

    def fit_dict(self, value: object, kind: inspect.DictType, depth: int) -> object:
        """Keys stay; a null value becomes the zero value."""
        if not isinstance(value, dict):
            return value
        return {key: self.fit(inner, kind.value_type, depth) for key, inner in value.items()}

    def fit_list(self, value: object, kind: inspect.ListType | inspect.VarTupleType, depth: int) -> object:
        """Every element by itself."""
        if not isinstance(value, list):
            return value
        return [self.fit(inner, kind.item_type, depth) for inner in value]

    def fit_tuple(self, value: object, kind: inspect.TupleType, depth: int) -> object:
        """As many elements as there are places, zero values where none was sent."""
        if not isinstance(value, list):
            return value
        padded = [*value, *([None] * len(kind.item_types))]
        return [self.fit(inner, item, depth) for inner, item in zip(padded, kind.item_types, strict=False)]


_RULES: Mapping[type[inspect.Type], Callable[[Fitter, object, Any, int], object]] = {
    inspect.StructType: Fitter.fit_struct,
    inspect.DictType: Fitter.fit_dict,
    inspect.ListType: Fitter.fit_list,
    inspect.VarTupleType: Fitter.fit_list,
    inspect.TupleType: Fitter.fit_tuple,
}

_ZEROS: Mapping[type[inspect.Type], Callable[[], object]] = {
    inspect.StrType: str,
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.BoolType: bool,
    inspect.StructType: dict,
    inspect.DictType: dict,
    inspect.ListType: list,
    inspect.VarTupleType: list,
}

Fields = dict[str, inspect.Field]


@lru_cache(maxsize=512)
def _fields(struct: type[msgspec.Struct]) -> tuple[Fields, Fields]:
    """The fields of a struct by their JSON names, as they are and case-folded."""
    described = inspect.type_info(struct)
    assert isinstance(described, inspect.StructType)  # for the type checker: a struct is one
    exact = {field.encode_name: field for field in described.fields}
    return exact, {name.casefold(): field for name, field in exact.items()}


def _zero(kind: inspect.Type) -> object:
    """Go's zero value; null for what may be null."""
    zero = _ZEROS.get(type(kind))
    return None if zero is None else zero()


def _without_null(kind: inspect.Type) -> inspect.Type:
    """The other member of a union with null; any other type as it is."""
    if not isinstance(kind, inspect.UnionType):
        return kind
    members = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
    return members[0] if len(members) == 1 else kind
