"""A Dockerfile's lines as instructions: comments, directives, continuations and flags.

Written here because of the libraries for it one (dockerfile-parse) ends a continued line at an empty one and knows no
flags, and the other (dockerfile) is BuildKit's own parser, a Go runtime that there are builds of for amd64 only.
The grammar: https://docs.docker.com/reference/dockerfile/#format; moby 20.10 (the classic builder has no heredocs).
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

from handlers.dockerfile.errors import InvalidDockerfile

LINE_LIMIT_BYTES = 65535
DEFAULT_ESCAPE = "\\"
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_ESCAPES = ("\\", "`")


class Instruction(msgspec.Struct, frozen=True, kw_only=True):
    """One instruction as it is written; `text` is what follows its name and flags."""

    name: str  # in capitals
    original: str  # the whole, its lines joined
    flags: tuple[str, ...] = ()  # `--from=x`
    text: str = ""
    line: int = 1  # where it begins


class Dockerfile(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says. `escape` is the character that continues lines and protects others."""

    instructions: tuple[Instruction, ...]
    escape: str = DEFAULT_ESCAPE
    interrupted: tuple[str, ...] = ()  # instructions with empty lines in them, which isn't good form


def parse(text: str) -> Dockerfile:
    """Read a Dockerfile. Raises InvalidDockerfile."""
    lines = text.removeprefix("\ufeff").split("\n")
    escape = _escape(lines)
    instructions, interrupted = [], []
    for number, line, is_interrupted in _joined(lines, escape):
        instructions.append(_instruction(line, number, escape))
        if is_interrupted:
            interrupted.append(line)
    if not instructions:
        raise InvalidDockerfile("file with no instructions")
    return Dockerfile(instructions=tuple(instructions), escape=escape, interrupted=tuple(interrupted))


def parse_trigger(text: str, escape: str) -> Instruction:
    """An instruction that an image keeps for those built upon it."""
    return _instruction(text, 1, escape)


def _escape(lines: Sequence[str]) -> str:
    """The escape character: comments at the top may say which. Raises InvalidDockerfile."""
    seen: dict[str, str] = {}
    for line in lines:
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None:
            break
        name = match[1].lower()
        if name in seen:
            raise InvalidDockerfile(f"only one {name} parser directive can be used")
        seen[name] = match[2]
    escape = seen.get("escape", DEFAULT_ESCAPE)
    if escape not in _ESCAPES:
        raise InvalidDockerfile(f"invalid escape token '{escape}' does not match ` or \\")
    return escape


def _joined(lines: Sequence[str], escape: str) -> Iterator[tuple[int, str, bool]]:
    """Instructions with the number of their first line, and whether empty lines interrupt them."""
    continued = re.compile(rf"{re.escape(escape)}[ \t]*$")
    first, parts, is_interrupted = 0, list[str](), False
    for number, raw in enumerate(lines, 1):
        line = raw.removesuffix("\r")
        if len(line.encode(errors="replace")) > LINE_LIMIT_BYTES:
            raise InvalidDockerfile(f"dockerfile line greater than maximum allowed size of {LINE_LIMIT_BYTES}")
        if line.lstrip().startswith("#"):
            continue
        if not parts:
            first, is_interrupted, line = number, False, line.lstrip()
        if not line.strip():
            is_interrupted = bool(parts)
            continue
        kept = continued.sub("", line)
        parts.append(kept)
        if kept == line:
            yield first, "".join(parts), is_interrupted
            parts = []
    if "".join(parts).strip():
        yield first, "".join(parts), is_interrupted


def _instruction(line: str, number: int, escape: str) -> Instruction:
    original = line.strip()
    name, *rest = re.split(r"[\t\v\f\r ]+", original, maxsplit=1)
    flags, text = _flags(rest[0] if rest else "", escape)
    return Instruction(name=name.upper(), original=original, flags=tuple(flags), text=text.strip(), line=number)


def _flags(text: str, escape: str) -> tuple[list[str], str]:
    """Words with two dashes at the beginning, and what is left."""
    flags: list[str] = []
    while (left := text.lstrip()).startswith("--"):
        word, text = _first_word(left, escape)
        if word == "--":
            return flags, text
        flags.append(word)
    return flags, text


def _first_word(text: str, escape: str) -> tuple[str, str]:
    """Up to the first blank that no quotes enclose, without them; and the rest."""
    word, quote, position = "", "", 0
    while position < len(text):
        character = text[position]
        if character == escape and position + 1 < len(text):
            word += text[position + 1]
            position += 2
            continue
        if character.isspace() and not quote:
            break
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        else:
            word += character
        position += 1
    return word, text[position:]
