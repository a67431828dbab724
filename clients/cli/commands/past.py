"""The past of the engine: what changed between two moments, and why an object is as it is."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from clients.api import Client
from clients.cli import completion, human
from clients.cli.app import HELP, engine_command
from clients.cli.listing import show_object

_SHORT_ID = 12
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
_NS_PER_S, _NS_PER_MS = 1_000_000_000, 1_000_000


async def show_difference(client: Client, before: str, after: str, format_: str) -> None:
    """What changed between two moments; `now` is the end of the log."""
    query = {"from": before} | ({"to": after} if after != "now" else {})
    found = await client.get("/shiplog/diff", dict[str, Any], query)
    if format_:
        show_object(found, format_)
        return
    first, last = (f"event {found[key]['sequence']} ({found[key]['time']})" for key in ("from", "to"))
    click.echo(f"from {first} to {last}")
    for each in found["differences"]:
        click.echo(f"{_SIGNS[each['difference']]} {each['kind']} {each['name'] or each['id'][:_SHORT_ID]}")
        for change in each.get("changes") or ():
            click.echo(f"    {change['field']}: {_short(change['before'])} -> {_short(change['after'])}")
    if not found["differences"]:
        click.echo("nothing changed")


def _short(value: object) -> str:
    return "(none)" if value is None else human.shortened(str(value), 60)


@click.command(short_help="Tell the commands, events and callers that made an object what it is", context_settings=HELP)
@click.option("--format", "format_", default="", help="'json' or a Go template")
@click.option(
    "--kind",
    type=click.Choice(("container", "image", "network", "volume")),
    default=None,
    help="Where several have the name",
)
@click.argument("name", metavar="OBJECT", shell_complete=completion.objects)
@engine_command
async def why(client: Client, format_: str, kind: str | None, name: str) -> None:
    """Tell the chain of commands, events and callers that made an object what it is, as a tree with times.

    \b
    shiplog why web
    shiplog why --kind image busybox

    It answers for what is gone too: the log forgets nothing.
    """
    query = {"object": name} | ({"kind": kind} if kind else {})
    found = await client.get("/shiplog/why", dict[str, Any], query)
    if format_:
        show_object(found, format_)
        return
    click.echo(f"{found['kind']} {found['id']}")
    for line in _tree([*_labelled(found["deeds"])]):
        click.echo(line)
    if image := found.get("image"):
        click.echo(f"image {image['id']}")
        for line in _tree([*_labelled(image["deeds"])]):
            click.echo(line)


Branch = tuple[str, list["Branch"]]


def _labelled(deeds: list[dict[str, Any]]) -> Iterator[Branch]:
    for deed in deeds:
        events: list[Branch] = [(_event(step), []) for step in deed["events"]]
        yield _deed(deed), [*events, *_labelled(deed.get("led_to") or [])]


def _deed(deed: Mapping[str, Any]) -> str:
    outcome = deed["outcome"] + (f": {deed['reason']}" if deed.get("reason") else "")
    duration = f" in {deed['duration_ns'] / _NS_PER_MS:.1f} ms" if deed["duration_ns"] else ""
    began = human.moment(deed["began_ns"] / _NS_PER_S)
    return f"{began}  {deed['command']} by {caller(deed['actor'])}: {outcome}{duration}"


def caller(actor: Mapping[str, Any]) -> str:
    """Who asked, in a few words."""
    words = [str(actor.get("subject") or actor.get("kind", "?"))]
    if actor.get("uid") is not None:
        words = [f"uid {actor['uid']}", f"pid {actor.get('pid', '?')}"]
        if actor.get("executable"):
            words.append(str(actor["executable"]))
    if actor.get("address"):
        words.append(f"from {actor['address']}")
    return " ".join(words)


def _event(step: Mapping[str, Any]) -> str:
    fields = ", ".join(f"{key}={_short(value)}" for key, value in (step.get("fields") or {}).items())
    return f"{step['sequence']} {step['type']}" + (f" ({fields})" if fields else "")


def _tree(branches: list[Branch], indent: str = "") -> Iterator[str]:
    for index, (label, below) in enumerate(branches):
        is_last = index == len(branches) - 1
        yield f"{indent}{'└─' if is_last else '├─'} {label}"
        yield from _tree(below, indent + ("   " if is_last else "│  "))
