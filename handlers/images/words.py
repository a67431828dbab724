"""Words of a Dockerfile instruction: quotes, escapes and variables; without it `ENV A="b c" D=$A` would be torn apart.

The rules: https://docs.docker.com/reference/dockerfile/#environment-replacement.
"""

import re
from collections.abc import Iterator, Mapping

from handlers.images.errors import InvalidChange

_VARIABLE = re.compile(r"\$(?:(?P<bare>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<rest>[^}]*)\})")
_ESCAPED_IN_QUOTES = '"$\\'


def split_words(text: str) -> Iterator[str]:
    """Parts between blanks that no quotes enclose; quotes and escapes stay in them."""
    word, quote, position = "", "", 0
    while position < len(text):
        character = text[position]
        if character == "\\" and quote != "'":
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


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Take away quotes and escapes, put in variables; an unknown one is empty. Raises InvalidChange."""
    found, quote, position = "", "", 0
    while position < len(text):
        character = text[position]
        if character == "\\" and quote != "'":
            part, position = _escape(text, position, quote)
        elif character == "$" and quote != "'":
            part, position = _variable(text, position, environment)
        elif _quote_after(quote, character) != quote:
            part, quote, position = "", _quote_after(quote, character), position + 1
        else:
            part, position = character, position + 1
        found += part
    if quote:
        raise InvalidChange(f"unexpected end of statement while looking for matching {_QUOTE_NAMES[quote]}")
    return found


_QUOTE_NAMES = {'"': "double-quote", "'": "single-quote"}


def _quote_after(quote: str, character: str) -> str:
    if not quote and character in _QUOTE_NAMES:
        return character
    return "" if character == quote else quote


def _escape(text: str, position: int, quote: str) -> tuple[str, int]:
    following = text[position + 1 : position + 2]
    if quote and following not in _ESCAPED_IN_QUOTES:
        return "\\" + following, position + 2
    return following, position + 2


def _variable(text: str, position: int, environment: Mapping[str, str]) -> tuple[str, int]:
    match = _VARIABLE.match(text, position)
    if match is None:
        return "$", position + 1
    if match["bare"]:
        return environment.get(match["bare"], ""), match.end()
    return _modified(match["name"], match["rest"], environment), match.end()


def _modified(name: str, rest: str, environment: Mapping[str, str]) -> str:
    value = environment.get(name)
    match rest[:2], rest[:1]:
        case _, "":
            return value or ""
        case ":-", _:
            return value or expand(rest[2:], environment)
        case ":+", _:
            return expand(rest[2:], environment) if value else ""
        case _, "-":
            return expand(rest[1:], environment) if value is None else value
        case _, "+":
            return "" if value is None else expand(rest[1:], environment)
        case _:
            raise InvalidChange(f"unsupported modifier ({rest[:2]}) in substitution")
