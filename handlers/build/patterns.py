"""Go's patterns for paths: `filepath.Match` for COPY and ADD, and those of .dockerignore. Pure.

Written here: what Python's libraries match (fnmatch, gitignore) differs in what `*` passes over, in classes and in
what a pattern without a slash means. https://pkg.go.dev/path/filepath#Match; moby 20.10, pkg/fileutils.
"""

import posixpath
import re
from collections.abc import Iterable

from events.errors import InvalidParameter

_MAGIC = frozenset("*?[\\")


class BadPattern(InvalidParameter):
    """Not a pattern."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        super().__init__("syntax error in pattern")


def has_magic(path: str) -> bool:
    """Whether a path is a pattern."""
    return not _MAGIC.isdisjoint(path)


def compiled(pattern: str) -> re.Pattern[str]:
    """What matches as Go's filepath.Match. Raises BadPattern."""
    position, expression = 0, ""
    while position < len(pattern):
        part, position = _translated(pattern, position)
        expression += part
    return re.compile(expression, re.DOTALL)


def ignores(patterns: Iterable[str], path: str) -> bool:
    """Whether lines of a .dockerignore leave a path out; a later line that begins with `!` takes it in again."""
    is_ignored = False
    for line in patterns:
        pattern = line.strip().removeprefix("\ufeff")
        if not pattern or pattern.startswith("#"):
            continue
        is_exception = pattern.startswith("!")
        cleaned = posixpath.normpath(pattern.removeprefix("!").strip()).lstrip("/")
        if is_exception == is_ignored and _matches(cleaned, path):
            is_ignored = not is_exception
    return is_ignored


def _matches(pattern: str, path: str) -> bool:
    """A pattern matches a path, or a directory that the path is in."""
    expression = _ignoring(pattern)
    parts = path.split("/")
    return any(expression.fullmatch("/".join(parts[:count])) for count in range(1, len(parts) + 1))


def _ignoring(pattern: str) -> re.Pattern[str]:
    position, expression = 0, ""
    while position < len(pattern):
        if pattern.startswith("**", position):
            position += 2
            if pattern.startswith("/", position):
                position += 1
                expression += "(?:.*/)?"
            else:
                expression += ".*"
            continue
        part, position = _translated(pattern, position)
        expression += part
    return re.compile(expression, re.DOTALL)


def _translated(pattern: str, position: int) -> tuple[str, int]:
    """One piece of a pattern as a regular expression, and where the next begins."""
    character = pattern[position]
    if character == "*":
        return "[^/]*", position + 1
    if character == "?":
        return "[^/]", position + 1
    if character == "[":
        return _class(pattern, position)
    if character == "\\":
        if position + 1 >= len(pattern):
            raise BadPattern(pattern)
        return re.escape(pattern[position + 1]), position + 2
    return re.escape(character), position + 1


def _class(pattern: str, begin: int) -> tuple[str, int]:
    position = begin + 1
    is_negated = pattern.startswith("^", position)
    position += is_negated
    ranges: list[str] = []
    while not (pattern.startswith("]", position) and ranges):
        low, position = _member(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _member(pattern, position + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")  # matches nothing, as in Go
    body = "".join(ranges)
    if not body:
        return ("[^/]" if is_negated else "(?!)"), position + 1
    return f"(?!/)[{'^' if is_negated else ''}{body}]", position + 1


def _member(pattern: str, position: int) -> tuple[str, int]:
    """A character of a class. Raises BadPattern."""
    character = pattern[position : position + 1]
    if character in ("", "-", "]"):
        raise BadPattern(pattern)
    if character != "\\":
        return character, position + 1
    if position + 1 >= len(pattern):
        raise BadPattern(pattern)
    return pattern[position + 1], position + 2
