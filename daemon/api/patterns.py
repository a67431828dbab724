"""Clients' expressions and shell patterns; with a backtracking engine one of them could hold up everybody's requests.

RE2 takes time linear in the text and is the syntax of Go's regexp, which Docker's filters are written in.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import re2

from daemon.api.filters import Filters, InvalidFilterValue
from events.errors import InvalidParameter

Matcher = Callable[[str], bool]

_MOST_EXPRESSIONS: Final = 256  # compiling takes time as well; a command line never has so many
_PROGRAM_BYTES: Final = 1 << 17  # of one expression, compiled
_SHOWN_CHARACTERS: Final = 80
_PLAIN: Final = re.compile(r"[a-zA-Z0-9_/-]*")  # as an expression it matches itself alone
_COUNT: Final = re.compile(r"\{\d*,?\d{4,}")  # Go's limit is 1000; RE2 takes a very long number for plain text
_LITERAL: Final = r"(?:\\.|[^\\\]\-])"
_PIECE: Final = re.compile(rf"\\.|\[\^?(?:{_LITERAL}(?:-{_LITERAL})?)+\]|.", re.DOTALL)
_CHARACTER: Final = re.compile(r"\\.|.", re.DOTALL)


class InvalidPattern(InvalidParameter):
    """Not a shell pattern."""

    def __init__(self) -> None:
        super().__init__("syntax error in pattern")


def expressions(filters: Filters, key: str) -> Matcher:
    """Whether a text is one of the values, or has a part that one matches as a regular expression.

    Anything matches without the filter. Raises InvalidFilterValue for what isn't an expression.
    """
    values = filters.get(key, ())
    if len(values) > _MOST_EXPRESSIONS:
        raise InvalidParameter(f"invalid filter '{key}': more than {_MOST_EXPRESSIONS} values")
    matchers = [_matcher(key, value) for value in values]
    if len(matchers) == 1:
        return matchers[0]
    return lambda text: not matchers or any(matches(text) for matches in matchers)


def wildcards(patterns: Sequence[str]) -> Matcher:
    """Whether one of some shell patterns, whose `*` and `?` don't match a slash, matches. Raises InvalidPattern."""
    if len(patterns) > _MOST_EXPRESSIONS:
        raise InvalidParameter(f"more than {_MOST_EXPRESSIONS} patterns")
    compiled = [_wildcard(pattern) for pattern in patterns]
    return lambda text: any(one.fullmatch(text) for one in compiled)


def _matcher(key: str, value: str) -> Matcher:
    """Of one value; most are names, in which nothing means anything but itself."""
    if _PLAIN.fullmatch(value):
        return lambda text: value in text
    expression = _expression(key, value)
    return lambda text: text == value or expression.search(text) is not None


def _expression(key: str, value: str) -> "re2._Regexp[str]":
    shown = value[:_SHOWN_CHARACTERS]
    if _COUNT.search(value):
        raise InvalidFilterValue(key, shown, "invalid repeat count")
    try:
        return re2.compile(value, _options(dot_matches_newline=False))
    except re2.error as error:
        raise InvalidFilterValue(key, shown, _reason(error)) from error


def _reason(error: re2.error) -> str:
    """What RE2 says of an expression, without the part of it that it quotes."""
    told = error.args[0] if error.args else b""
    return (told.decode(errors="replace") if isinstance(told, bytes) else str(told)).partition(": ")[0]


def _wildcard(pattern: str) -> "re2._Regexp[str]":
    try:
        return re2.compile("".join(_translated(pattern)), _options(dot_matches_newline=True))
    except re2.error as error:
        raise InvalidPattern from error


def _translated(pattern: str) -> Iterator[str]:
    """Lazily: the first bracket that has no end is the last that is looked at."""
    for found in _PIECE.finditer(pattern):
        piece = found.group()
        if piece in ("[", "\\"):
            raise InvalidPattern
        if piece in ("*", "?"):
            yield "[^/]" + ("*" if piece == "*" else "")
        elif piece.startswith("["):
            yield _class(piece)
        else:
            yield _coded(piece)


def _class(piece: str) -> str:
    """A bracketed class; only its hyphens and its leading caret mean something."""
    negated = piece.startswith("[^")
    characters = _CHARACTER.findall(piece[2 if negated else 1 : -1])
    inside = "".join("-" if one == "-" else _coded(one) for one in characters)
    return f"[{'^' if negated else ''}{inside}]"


def _coded(character: str) -> str:
    """One character, with or without a backslash before it, as its number."""
    return f"\\x{{{ord(character[-1]):x}}}"


def _options(*, dot_matches_newline: bool) -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _PROGRAM_BYTES
    options.dot_nl = dot_matches_newline
    return options
