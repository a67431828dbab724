"""The log for auditors: who did what, exports in the formats of others, and what a log file says of the past."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import click
import msgspec

from clients.api import Client
from clients.audit.entries import Entry, Wanted, entries
from clients.audit.export import StreamSink
from clients.audit.export import export as export_log
from clients.audit.formats import FORMATS, format_named
from clients.audit.nats_sink import nats_sink
from clients.audit.sources import EngineSource, Source, open_source
from clients.audit.verify import verify as verify_log
from clients.cli import human
from clients.cli.app import FAILED, HELP, Failed, engine_command, section, settings
from clients.cli.commands.past import caller
from clients.cli.listing import Column, Listing, Row, show, show_object
from clients.cli.moments import timestamp
from clients.replay.identity import make_identity, read_export, read_identity
from clients.replay.plan import plan
from clients.replay.rebuild import compare, rebuild
from clients.replay.takeover import FAILED as TAKE_OVER_FAILED
from clients.replay.takeover import TakeOver
from clients.subscribe.file_sink import FileSink
from clients.subscribe.filters import Filters
from clients.subscribe.sinks import Sink
from clients.verifier.checkpoints import checkpoints, public_key
from clients.verifier.records import AuditFailed
from events.differences import digest, objects

LISTING = Listing(
    columns=(
        Column("Sequence", "EVENT"),
        Column("Time", "TIME"),
        Column("Caller", "CALLER"),
        Column("Command", "COMMAND"),
        Column("Object", "OBJECT"),
        Column("Outcome", "OUTCOME"),
        Column("Duration", "DURATION"),
    ),
    titles={
        "Sequence": "EVENT",
        "Time": "TIME",
        "Caller": "CALLER",
        "Command": "COMMAND",
        "CommandID": "COMMAND ID",
        "Object": "OBJECT",
        "Objects": "OBJECTS",
        "Outcome": "OUTCOME",
        "Reason": "REASON",
        "Duration": "DURATION",
    },
    quiet="CommandID",
)
_NS_PER_S, _NS_PER_MS = 1_000_000_000, 1_000_000
_SHORT_ID, _REASON_LENGTH = 12, 60
from_option = click.option(
    "--log", "log_path", default="", metavar="PATH", help="A copied log, or exported lines, instead of the engine"
)


@asynccontextmanager
async def _source(client: Client, path: str) -> AsyncIterator[Source]:
    if not path:
        yield await EngineSource.open(client)
        return
    async with open_source(Path(path)) as source:
        yield source


@click.command(short_help="List commands: who asked for what, when, and what became of it", context_settings=HELP)
@click.option(
    "--caller", "callers", multiple=True, help="Of this caller: a uid, a certificate's subject, 'engine', 'recovery'"
)
@click.option("--object", "names", multiple=True, help="About this object: a name, or kind/id such as container/4f5e")
@click.option("--command", "commands", multiple=True, help="Such as container.start, 'container.*' or remove")
@click.option("--outcome", "outcomes", multiple=True, help="requested (still open), done, failed or refused")
@click.option("--since", default="", help="Begun at this time (RFC 3339) or span ago (10m), or later")
@click.option("--until", default="", help="Begun before this time")
@click.option("--format", "format_", default="", help="'table', 'table TEMPLATE', 'json' or a Go template")
@click.option("-q", "--quiet", is_flag=True, help="Only show command IDs")
@from_option
@engine_command
async def log(
    client: Client,
    callers: tuple[str, ...],
    names: tuple[str, ...],
    commands: tuple[str, ...],
    outcomes: tuple[str, ...],
    since: str,
    until: str,
    format_: str,
    quiet: bool,
    log_path: str,
) -> None:
    """List the commands that the log knows, with their callers and outcomes.

    \b
    shiplog audit log --object web                  all that was ever asked about `web`
    shiplog audit log --caller 1000 --outcome refused
    shiplog audit log --log /backup/log --since 24h
    """
    wanted = Wanted(callers=callers, objects=names, commands=commands, outcomes=outcomes)
    first, last = (float(timestamp(text)) * _NS_PER_S if text else None for text in (since, until))
    async with _source(client, log_path) as source:
        rows = [
            _row(entry)
            async for entry in entries(source.batches(), wanted)
            if (first is None or entry.began_ns >= first) and (last is None or entry.began_ns < last)
        ]
    show(LISTING, sorted(rows, key=lambda row: int(row["Sequence"])), format_, quiet=quiet)


def _row(entry: Entry) -> Row:
    kind, _, identity = (entry.objects[0] if entry.objects else "").partition("/")
    name = entry.names[0] if entry.names else identity[:_SHORT_ID]
    reason = f": {human.shortened(entry.reason, _REASON_LENGTH)}" if entry.reason else ""
    return {
        "Sequence": str(entry.first),
        "Time": human.moment(entry.began_ns / _NS_PER_S),
        "Caller": caller(msgspec.to_builtins(entry.caller)),
        "Command": entry.command,
        "CommandID": entry.command_id,
        "Object": f"{kind}/{name}" if kind else "",
        "Objects": ",".join(entry.objects),
        "Outcome": entry.outcome + reason,
        "Reason": entry.reason,
        "Duration": f"{entry.duration_ns / _NS_PER_MS:.1f} ms",
    }


@click.command(short_help="Write the log's events in a format of others", context_settings=HELP)
@click.option(
    "--as",
    "form",
    type=click.Choice(tuple(FORMATS)),
    default="jsonl",
    help="JSON lines, CloudEvents 1.0 or OCSF API Activity",
)
@click.option("-o", "--output", default="", help="File to append to; it continues where it ended")
@click.option(
    "--nats", "servers", multiple=True, metavar="URL", help="NATS server; it continues where the subject's stream ended"
)
@click.option("--subject", default="", help="NATS subject")
@click.option("--first", type=int, default=1, help="Sequence of the first event, where nothing was written yet")
@click.option("--last", type=int, default=None, help="Sequence of the last event")
@click.option("--type", "types", multiple=True, help="Only events of this type, such as 'container.*'")
@click.option("--object", "names", multiple=True, help="Only of these objects, such as container/4f5e")
@click.option("--caller", "callers", multiple=True, help="Only of these callers")
@from_option
@engine_command
async def export(
    client: Client,
    form: str,
    output: str,
    servers: tuple[str, ...],
    subject: str,
    first: int,
    last: int | None,
    types: tuple[str, ...],
    names: tuple[str, ...],
    callers: tuple[str, ...],
    log_path: str,
) -> None:
    """Write the log's events to stdout, a file or a NATS subject; run again, a file or subject gets what is new."""
    if bool(servers) != bool(subject) or (servers and output):
        raise click.UsageError("--nats and --subject belong together, and exclude --output")
    filters = Filters(types=types, objects=names, callers=callers)
    async with _source(client, log_path) as source, _sink(form, output, servers, subject) as sink:
        told = await export_log(source, sink, first=first, last=last, filters=filters)
    click.echo(f"exported up to event {told} of log {source.log}", err=True)


@asynccontextmanager
async def _sink(form: str, output: str, servers: tuple[str, ...], subject: str) -> AsyncIterator[Sink]:
    chosen = format_named(form)
    if servers:
        async with nats_sink(servers, subject, chosen) as sink:
            yield sink
    elif output:
        with FileSink(Path(output), chosen.encode, chosen.position_of) as file:
            yield file
    else:
        yield StreamSink(sys.stdout.buffer, chosen)


@click.command(
    "replay", short_help="Rebuild the engine's state from a log, and print or compare it", context_settings=HELP
)
@click.option("--to", "last", type=int, default=None, help="Sequence of the last event; the newest unless given")
@click.option("--compare", "compared", is_flag=True, help="Say what the running engine of the same log knows otherwise")
@click.option("--format", "format_", default="", help="'json' or a Go template")
@click.argument("log_path", metavar="FILE")
@engine_command
async def replay_log(client: Client, last: int | None, compared: bool, format_: str, log_path: str) -> int:
    """Fold a copied log from its beginning, and print what it says there was, or compare it with the engine."""
    async with open_source(Path(log_path)) as source:
        state = await rebuild(source, last)
        if not compared:
            known: dict[str, Any] = msgspec.to_builtins(objects(state))
            show_object(
                {"log": source.log, "sequence": state.sequence, "digest": digest(objects(state)), "objects": known},
                format_,
            )
            return 0
        found = await compare(state, source.log, client)
    for each in found:
        click.echo(f"{each.difference}: {each.kind} {each.name or each.id}")
        for change in each.changes:
            click.echo(f"    {change.field}: engine {change.before}, log {change.after}")
    click.echo(
        f"{len(found)} differences up to event {state.sequence}" if found else f"equal up to event {state.sequence}"
    )
    return FAILED if found else 0


@click.command(short_help="Have another engine serve a lost host's containers", context_settings=HELP)
@click.option(
    "--onto",
    required=True,
    metavar="HOST|CONTEXT",
    help="The engine that takes over: unix://PATH, tcp://HOST:PORT (with the TLS flags) or a context",
)
@click.option(
    "--keys", "keys_path", default="", help="Key export of the lost engine (shiplog audit keys), for what is sealed"
)
@click.option("--identity", default="", help="File of the new host's private key (shiplog audit identity)")
@click.option("--archive", "archives", multiple=True, help="Image archive to load before registries are asked")
@click.option("--to", "last", type=int, default=None, help="As of this sequence; the newest unless given")
@click.argument("log_path", metavar="LOG")
@engine_command
async def replay(
    _: Client, /, onto: str, keys_path: str, identity: str, archives: tuple[str, ...], last: int | None, log_path: str
) -> int:
    """Make networks, volumes, images and containers anew on another engine, as a copied log tells them.

    \b
    on the new host:   shiplog audit identity /root/host.key             prints its public key
    on the old host:   shiplog audit keys PUBLIC_KEY --output keys.json   before it is lost
    afterwards:        shiplog replay /backup/log --onto unix:///run/shiplog/shiplog.sock \\
                           --keys keys.json --identity /root/host.key --archive images.tar

    What is there already is kept; everything is tried, and what failed is said.
    """
    if bool(keys_path) != bool(identity):
        raise click.UsageError("--keys and --identity belong together")
    async with open_source(Path(log_path)) as source:
        keys = {}
        if keys_path:
            private_key = await anyio.to_thread.run_sync(read_identity, Path(identity))
            keys = await anyio.to_thread.run_sync(read_export, Path(keys_path), private_key, source.log)
        wanted = plan(await rebuild(source, last), keys)
    failed = 0
    async for outcome in TakeOver(settings(onto).client(), wanted, tuple(Path(archive) for archive in archives)).run():
        failed += outcome.outcome == TAKE_OVER_FAILED
        detail = f": {outcome.detail}" if outcome.detail else ""
        click.echo(f"{outcome.kind} {outcome.name}: {outcome.outcome}{detail}")
    if failed:
        raise Failed(f"{failed} could not be made: mend what is said above and run it again, what is there is kept")
    return 0


@click.command(short_help="Make the key pair of a host that may take over another's containers", context_settings=HELP)
@click.argument("path", metavar="FILE")
def identity(path: str) -> None:
    """Write a new private key to a file, for root alone, and print the public key."""
    click.echo(make_identity(Path(path)))


@click.command(short_help="Export the keys of sealed values for another host", context_settings=HELP)
@click.option("-o", "--output", required=True, help="File to write")
@click.argument("public_key", metavar="PUBLIC_KEY")
@engine_command
async def keys(client: Client, output: str, public_key: str) -> None:
    """Write the keys of all sealed values to a file that only the holder of the private key can read.

    The log remembers for whom they were exported, and who asked.
    """
    found = await client.post("/shiplog/keys/export", msgspec.Raw, None, {"recipient": public_key})
    path = anyio.Path(output)
    await path.touch(mode=0o600, exist_ok=False)
    await path.write_bytes(bytes(found) + b"\n")
    click.echo(f"the keys are in {output}", err=True)


@click.command(
    short_help="Check that the log is complete, unchanged and the one that was signed", context_settings=HELP
)
@click.option("--key", "key_path", default="", metavar="FILE", help="The engine's public key (checkpoints/public.pem)")
@click.option(
    "--checkpoints", "paths", multiple=True, metavar="FILE", help="Signed checkpoints that were kept elsewhere"
)
@click.argument("log_path", metavar="[LOG]", default="")
@engine_command
async def verify(client: Client, key_path: str, paths: tuple[str, ...], log_path: str) -> None:
    """Check the running engine's log, or a copy of it, with nothing but the public key.

    Without checkpoints a log that was written anew from its start would look the same: keep copies of them elsewhere.
    `shiplog-audit` does the same for a copy, and shares no code with what wrote it.
    """
    if paths and not key_path:
        raise click.UsageError("--checkpoints needs --key: who signed them?")
    try:
        key = public_key(Path(key_path)) if key_path else None
        signed = [each for path in paths if key is not None for each in checkpoints(Path(path), key)]
    except AuditFailed as error:
        raise Failed(str(error)) from error
    async with _source(client, log_path) as source:
        events = await verify_log(source, signed)
        click.echo(f"log {source.log}: events 1 to {events} are complete and unchanged")
    if signed:
        click.echo(
            f"it bears out {len(signed)} checkpoints, the newest of event {max(each.sequence for each in signed)}"
        )


@click.command(short_help="Have the engine sign where its log stands now", context_settings=HELP)
@engine_command
async def checkpoint(client: Client) -> None:
    """Print a signed checkpoint, a line to keep elsewhere; for root alone."""
    made = await client.post("/shiplog/checkpoint", dict[str, Any])
    click.echo(msgspec.json.encode(made["checkpoint"]).decode())


audit = section(
    "audit",
    "Read the log as an auditor",
    {
        "log": "clients.cli.commands.audit:log",
        "verify": "clients.cli.commands.audit:verify",
        "checkpoint": "clients.cli.commands.audit:checkpoint",
        "export": "clients.cli.commands.audit:export",
        "replay": "clients.cli.commands.audit:replay_log",
        "identity": "clients.cli.commands.audit:identity",
        "keys": "clients.cli.commands.audit:keys",
    },
)
