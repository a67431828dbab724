"""Writes MANUAL.md from the commands' own help; `python -m clients.cli.manual` after a change of a command."""

from collections.abc import Iterator
from pathlib import Path

import click

from clients.cli.__main__ import shiplog

MANUAL = Path(__file__).with_name("MANUAL.md")
WIDTH = 100


def manual() -> str:
    """All commands with their flags, as Markdown."""
    parts = ["# The shiplog command\n\nMade from the commands' own help by `clients/cli/manual.py`.\n"]
    parts += _pages(shiplog, _context(shiplog, None, "shiplog"))
    return "\n".join(parts)


def _context(command: click.Command, above: click.Context | None, name: str) -> click.Context:
    return click.Context(
        command, above, name, terminal_width=WIDTH, max_content_width=WIDTH, **command.context_settings
    )


def _pages(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"## {context.command_path}\n\n```\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from _pages(below, _context(below, context, name))


if __name__ == "__main__":
    MANUAL.write_text(manual())
