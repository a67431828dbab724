"""Words of a Dockerfile instruction: quotes, escapes and variables; without it `ENV A="b c" D=$A` would be torn apart.

The rules: https://docs.docker.com/reference/dockerfile/#environment-replacement.
"""

import re
from collections.abc import Iterator, Mapping

from handlers.dockerfile.errors import InvalidChange

_ESCAPE = "\\"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]")
_QUOTE_NAMES = {'"': "double-quote", "'": "single-quote"}


def split_words(text: str, escape: str = _ESCAPE) -> Iterator[str]:
    """Parts between blanks that no quotes enclose; quotes and escapes stay in them."""
    word, quote, position = "", "", 0
    while position < len(text):
        character = text[position]
        if character == escape and quote != "'":
            word += text[position : position + 2]
            position += 2
            continue
        if character.isspace() and not quote:
            if word:
                yield word
            word = ""
        else:
            word += character
            quote = _quote_after(quote, character)
        position += 1
    if word:
        yield word


def expand(text: str, environment: Mapping[str, str], escape: str = _ESCAPE) -> str:
    """Take away quotes and escapes, put in variables; an unknown one is empty. Raises InvalidChange."""
    found, quote, position = "", "", 0
    while position < len(text):
        character = text[position]
        if character == escape and quote != "'":
            part, position = _escaped(text, position, quote)
        elif character == "$" and quote != "'":
            part, position = _variable(text, position, environment, escape)
        elif _quote_after(quote, character) != quote:
            part, quote, position = "", _quote_after(quote, character), position + 1
        else:
            part, position = character, position + 1
        found += part
    if quote:
        raise InvalidChange(f"unexpected end of statement while looking for matching {_QUOTE_NAMES[quote]}")
    return found


def _quote_after(quote: str, character: str) -> str:
    if not quote and character in _QUOTE_NAMES:
        return character
    return "" if character == quote else quote


def _escaped(text: str, position: int, quote: str) -> tuple[str, int]:
    escape, following = text[position], text[position + 1 : position + 2]
    if quote and following not in ('"', "$", escape):
        return escape + following, position + 2
    return following, position + 2


def _variable(text: str, position: int, environment: Mapping[str, str], escape: str) -> tuple[str, int]:
    """What stands for `$name` or `${...}` at a position, and where it ends."""
    begin = position + 1
    is_braced = text[begin : begin + 1] == "{"
    match = _NAME.match(text, begin + is_braced)
    if not is_braced:
        return ("$", begin) if match is None else (environment.get(match[0], ""), match.end())
    end = _closing(text, begin, escape)
    if match is None or match.end() > end:
        raise InvalidChange("bad substitution" if match is None else "missing ':' in substitution")
    return _modified(match[0], text[match.end() : end], environment, escape), end + 1


def _closing(text: str, begin: int, escape: str) -> int:
    """Where the brace at `begin` is closed. Raises InvalidChange."""
    depth, position = 0, begin
    while position < len(text):
        character = text[position]
        if character == escape:
            position += 1
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if not depth:
                return position
        position += 1
    raise InvalidChange("missing ':' in substitution")


def _modified(name: str, rest: str, environment: Mapping[str, str], escape: str) -> str:
    value = environment.get(name)
    if not rest:
        return value or ""
    modifier = rest[: 2 if rest.startswith(":") else 1]
    is_set = bool(value) if modifier.startswith(":") else value is not None
    word = expand(rest[len(modifier) :], environment, escape)
    match modifier[-1:]:
        case "-":
            return (value or "") if is_set else word
        case "+":
            return word if is_set else ""
        case "?":
            if not is_set:
                raise InvalidChange(f"{name}: {word or 'is not allowed to be unset'}")
            return value or ""
        case _:
            raise InvalidChange(f"unsupported modifier ({rest[:2]}) in substitution")
