"""Texts that the kernel takes from nobody: refused at create, since a container with them could never run."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from events.errors import InvalidParameter
from events.messages.container import ContainerConfig

ARGUMENT_BYTES: Final = 131_071  # execve(2): MAX_ARG_STRLEN, less the NUL at the end
PATH_BYTES: Final = 4095  # path_resolution(7): PATH_MAX, less the NUL at the end
_ESCAPED_NUL: Final = b"\\u0000"


class NulByte(InvalidParameter):
    """It would end a text in its middle. `place` is a field in Docker's spelling."""

    def __init__(self, place: str) -> None:
        super().__init__(f"{place}: a NUL byte is not allowed")


class TextTooLong(InvalidParameter):
    """More bytes than fit. The text itself may be a secret, and isn't shown."""

    def __init__(self, what: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"{what} has {size_bytes} bytes: the kernel takes {limit_bytes} at most")


def check_no_nul(parts: Mapping[str, object]) -> None:
    """Raise NulByte for the first text anywhere in `parts` that has one."""
    if _ESCAPED_NUL in msgspec.json.encode(parts):  # quick; a backslash before the text "u0000" looks the same
        for place in _places(msgspec.to_builtins(parts), ""):
            raise NulByte(place)


def _places(value: object, place: str) -> Iterator[str]:
    if isinstance(value, str) and "\0" in value:
        yield place
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _places(item, place)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _places(key, place)
            yield from _places(item, f"{place}.{key}" if place else key)


def check_arguments(config: ContainerConfig) -> None:
    """Raise TextTooLong for what execve(2) would refuse."""
    command = (*(config.entrypoint or ()), *config.cmd)
    for text in (*command, *config.env):
        _check_length("an argument or environment variable", text, ARGUMENT_BYTES)
    for text in command[:1]:
        _check_length("the path of the command", text, PATH_BYTES)


def _check_length(what: str, text: str, limit_bytes: int) -> None:
    if len(text) > limit_bytes // 4:  # the longest characters have four bytes
        size_bytes = len(text.encode("utf-8", "surrogatepass"))
        if size_bytes > limit_bytes:
            raise TextTooLong(what, size_bytes, limit_bytes)
