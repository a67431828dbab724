"""How lists are shown: tables that fit where they go, and whatever `--format` asks for."""

import json
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, TextIO

import msgspec

from clients.cli.template import compile_template, unescape

Row = Mapping[str, Any]
_CELL_COLUMNS, _GAP_COLUMNS = 10, 3  # as the docker CLI sets its tables


class Column(msgspec.Struct, frozen=True):
    """A column of a table: the key of a row, and what stands above it."""

    key: str
    title: str


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind of object is listed."""

    columns: tuple[Column, ...]  # of the usual table
    titles: Mapping[str, str]  # of every key that a table may be made of
    quiet: str  # the key that `--quiet` prints alone


def show(
    listing: Listing, rows: Sequence[Row], format_: str, *, quiet: bool = False, out: TextIO | None = None
) -> None:
    """Print rows. `format_` is "" for the usual table, `table TEMPLATE`, `json` or a template. Raises TemplateError."""
    sink = out or sys.stdout
    if quiet and not format_:
        sink.writelines(f"{row[listing.quiet]}\n" for row in rows)
    elif format_ in ("", "table"):
        _table(sink, [column.title for column in listing.columns], _cells(listing, rows))
    elif format_.startswith("table"):
        _formatted_table(sink, listing, rows, unescape(format_.removeprefix("table").strip()))
    else:
        template = "{{json .}}" if format_ == "json" else unescape(format_)
        fill = compile_template(template)
        sink.writelines(f"{fill(row)}\n" for row in rows)


def show_object(value: Any, format_: str) -> None:
    """Print one object as `inspect`, `info` and `version` do: a template, or JSON for people. Raises TemplateError."""
    if format_ in ("", "json"):
        indent = None if format_ == "json" else 4
        separators = (",", ":") if format_ == "json" else None
        sys.stdout.write(json.dumps(value, indent=indent, separators=separators, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(compile_template(unescape(format_))(value) + "\n")


def _cells(listing: Listing, rows: Sequence[Row]) -> list[list[str]]:
    return [[str(row[column.key]) for column in listing.columns] for row in rows]


def _formatted_table(sink: TextIO, listing: Listing, rows: Sequence[Row], template: str) -> None:
    fill = compile_template(template)
    titles = {**listing.titles, "Label": lambda name: name.rpartition(".")[2].upper()}
    _table(sink, fill(titles).split("\t"), [fill(row).split("\t") for row in rows])


def _table(sink: TextIO, titles: list[str], rows: list[list[str]]) -> None:
    if sink.isatty():
        _rich_table(titles, rows)
    else:
        sink.write(plain_table(titles, rows))


def plain_table(titles: list[str], rows: list[list[str]]) -> str:
    """Columns padded with spaces, for pipes and for people without colours."""
    lines = [titles, *rows]
    count = max(map(len, lines))
    widths = [
        max(_CELL_COLUMNS, _GAP_COLUMNS + max(len(line[index]) for line in lines if index < len(line)))
        for index in range(count)
    ]
    return "".join(
        "".join(text.ljust(width) for text, width in zip(line, widths, strict=False)).rstrip() + "\n" for line in lines
    )


def _rich_table(titles: list[str], rows: list[list[str]]) -> None:
    console = terminal()
    table = import_module("rich.table").Table(
        box=None, pad_edge=False, padding=(0, _GAP_COLUMNS, 0, 0), header_style="bold cyan"
    )
    for title in titles:
        table.add_column(title, overflow="fold")
    text = import_module("rich.text").Text
    for row in rows:
        table.add_row(*(text(cell, style=_style(cell)) for cell in row))
    console.print(table)


_STYLES: tuple[tuple[str, str], ...] = (
    ("Up ", "green"),
    ("Exited (0)", "dim"),
    ("Exited", "red"),
    ("Restarting", "yellow"),
    ("Dead", "bold red"),
    ("<none>", "dim"),
)


def _style(cell: str) -> str:
    return next((style for start, style in _STYLES if cell.startswith(start)), "")


def terminal() -> Any:
    """The terminal as rich sees it. rich is loaded where there is one only: it takes longer than all else."""
    return import_module("rich.console").Console(highlight=False)
