"""The table command -> handler; a command that stands in it twice or nowhere is found at start, not in use."""

from collections.abc import Iterable
from typing import Any

from events.base import Command
from handlers.context import Handle, Handler


def table(handlers: Iterable[Handler]) -> dict[str, tuple[type[Command[Any]], Handle]]:
    """All commands by `TYPE`. Raises ValueError when two handlers want the same."""
    found: dict[str, tuple[type[Command[Any]], Handle]] = {}
    for handler in handlers:
        for command, handle in handler.commands().items():
            if command.TYPE in found:
                raise ValueError(f"two handlers for {command.TYPE}")
            found[command.TYPE] = (command, handle)
    return found
