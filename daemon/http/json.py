"""Decodes request bodies by Docker's rules; without it every endpoint would have its own.

`decode_body` raises nothing but InvalidParameter, whatever is sent. Source: Docker Engine API; Go's encoding/json.
"""

import json
import math
import re
from array import array
from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate
from typing import TypeVar

import msgspec
from msgspec import inspect

from daemon.http.json_fit import DEPTH_LIMIT, Fitter, TooDeep
from daemon.http.json_syntax import explain
from events.errors import InvalidParameter

T = TypeVar("T")

_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)")
_SURROGATE_ESCAPE_CHARACTERS = len("\\ud800")
_NUMBER_CHARACTERS = 32  # no number that we take is longer; int() would be slow on long ones
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # never goes back: one without an end takes all the rest
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # up one, down one, as signed bytes
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_TYPE_ERROR = re.compile(r"Expected `([^`]+)`(?: [^,]*)?, got `([^`]+)`[^$]*(?:\$(.*?)`?)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_INDEX = re.compile(r"\[[^\]]*\]")
_SENT = {"int": "number", "float": "number", "str": "string"}
_WANTED = {"int": "int64", "str": "string", "float": "float64", "array": "[]string", "object": "map[string]string"}


class InvalidJson(InvalidParameter):
    """The body isn't JSON, or not what the endpoint takes."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"invalid JSON: {reason}")


class UnexpectedContent(InvalidParameter):
    """Something follows the JSON value."""

    def __init__(self) -> None:
        super().__init__("unexpected content after JSON")


class UnsupportedContentType(InvalidParameter):
    """The body isn't declared as JSON."""

    def __init__(self, content_type: str) -> None:
        super().__init__(f"unsupported Content-Type header ({content_type}): must be 'application/json'")


def decode_body(
    body: bytes,
    content_type: str,
    type_: type[T],
    *,
    optional: bool,
    lists_of_strings: frozenset[str] = frozenset(),
    go_names: Mapping[str, str] | None = None,
) -> T:
    """The body as a `type_`. Raises InvalidParameter, with the text Docker would have.

    `content_type`: the header, "" without one. `optional`: an empty body stands for an empty object.
    `lists_of_strings`: JSON names of fields that may also be one bare string. `go_names`: how Docker names the start
    of a path in messages (`{"": "CreateRequest.Config", "HostConfig": "CreateRequest.HostConfig"}`, longest wins);
    by default the name of `type_` comes first.
    """
    if not body.strip(b" \t\r\n"):
        if not optional:
            raise InvalidJson("got EOF while reading request body")
        body, content_type = b"{}", "application/json"
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedContentType(content_type)
    value = _parse(body)
    try:
        fitted = Fitter(lists_of_strings).fit(value, _type_info(type_))  # type: ignore[arg-type]  # a type can be hashed
        return msgspec.convert(fitted, type_)
    except (TooDeep, RecursionError):
        raise InvalidJson("exceeded max depth") from None
    except msgspec.ValidationError as error:
        raise InvalidJson(_worded(str(error), {"": type_.__name__} if go_names is None else go_names)) from None


# ---- text to value


def _parse(body: bytes) -> object:
    """One JSON value. Raises InvalidJson, UnexpectedContent."""
    if _depth(body) > DEPTH_LIMIT:
        raise InvalidJson("exceeded max depth")
    text = _without_lone_surrogates(body.decode("utf-8", errors="replace")).lstrip(" \t\r\n")
    try:
        value, end = _DECODER.raw_decode(text)
    except ValueError as error:
        raise InvalidJson(explain(body) or _placed(error)) from None
    except RecursionError:
        raise InvalidJson("exceeded max depth") from None
    if text[end:].strip(" \t\r\n"):
        raise UnexpectedContent
    return value


def _placed(error: ValueError) -> str:
    """Where a fault is that was too far away to be explained."""
    place = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
    return f"cannot be decoded{place}"


def _depth(body: bytes) -> int:
    """How deep brackets are nested; text that isn't JSON gets some number."""
    if body.count(b"[") + body.count(b"{") <= DEPTH_LIMIT:
        return 0
    steps = _STRING.sub(b"", body).translate(_STEPS, delete=_NO_BRACKETS)
    return max(accumulate(array("b", steps)), default=0)


def _without_lone_surrogates(text: str) -> str:
    """Half characters become U+FFFD, as in Go; they couldn't be written to the log."""
    return _ESCAPE.sub(_whole, text) if "\\ud" in text.lower() else text


def _whole(escape: re.Match[str]) -> str:
    found = escape.group()
    is_half = len(found) == _SURROGATE_ESCAPE_CHARACTERS
    return "\\ufffd" if is_half else found


def _integer(text: str) -> int:
    if len(text) <= _NUMBER_CHARACTERS and -(2**63) <= (value := int(text)) < 2**63:
        return value
    raise _out_of_range(text)


def _real(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _out_of_range(text)
    return value


def _out_of_range(text: str) -> InvalidJson:
    return InvalidJson(f"json: cannot unmarshal number {text[:_NUMBER_CHARACTERS]} into Go value of type int64")


def _no_constant(text: str) -> object:
    raise ValueError(text)  # NaN, Infinity: Python's idea, not JSON's


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_real, parse_constant=_no_constant)


# ---- value to type


@lru_cache(maxsize=512)
def _type_info(type_: type[object]) -> inspect.Type:
    return inspect.type_info(type_)


def _worded(reason: str, go_names: Mapping[str, str]) -> str:
    """msgspec's reason in Go's words, as far as there are such."""
    if missing := _MISSING.match(reason):
        return f"missing field {missing.group(1)}"
    if not (mismatch := _TYPE_ERROR.fullmatch(reason)):
        return reason
    wanted, sent, path = mismatch.groups()
    wanted = wanted.partition(" | ")[0]
    sent, wanted = _SENT.get(sent, sent), _WANTED.get(wanted, wanted)
    path = _INDEX.sub("", path or "").strip(".")
    if not path:
        return f"json: cannot unmarshal {sent} into Go value of type {go_names.get('', wanted).partition('.')[0]}"
    return f"json: cannot unmarshal {sent} into Go struct field {_go_path(path, go_names)} of type {wanted}"


def _go_path(path: str, go_names: Mapping[str, str]) -> str:
    parts = path.split(".")
    for count in range(len(parts), -1, -1):
        prefix = go_names.get(".".join(parts[:count]))
        if prefix is not None:
            return ".".join([prefix, *parts[count:]])
    return path
