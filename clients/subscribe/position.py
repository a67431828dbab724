"""Where a subscriber stands, kept on disk; without it a restart would repeat events or leave some out."""

import os
from pathlib import Path
from typing import Final

import msgspec

from clients.errors import Unusable

_MODE: Final = 0o600


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """The last event that was dealt with; sequence 0 is before the first. Both name it: sequences are a log's own."""

    log: str
    sequence: int


def read_position(path: Path) -> Position | None:
    """What a file holds; None where there is none. Raises Unusable."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Position)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, OSError) as error:
        raise Unusable(f"the position in {path} can't be read ({error}): remove the file to begin anew") from error


def write_position(path: Path, position: Position) -> None:
    """Replace what a file holds, durably and whole. Raises OSError."""
    draft = path.with_name(f"{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
    try:
        os.write(descriptor, msgspec.json.encode(position))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
