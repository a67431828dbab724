"""The engine as a whole: version, info, events, disk usage, pruning, registries' logins and search."""

import getpass
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import click
import msgspec

from clients.api import Client
from clients.cli import human
from clients.cli.app import FAILED, HELP, Failed, confirm, engine_command, filters, section, settings
from clients.cli.commands.inspect import format_option
from clients.cli.credentials import (
    OFFICIAL,
    Login,
    find_login,
    forget_login,
    registry_headers,
    registry_of,
    store_login,
)
from clients.cli.listing import Column, Listing, show, show_object
from clients.cli.moments import timestamp
from clients.cli.template import compile_template, unescape


@click.command(short_help="Show versions of this program and of the engine", context_settings=HELP)
@format_option
@engine_command
async def version(client: Client, format_: str) -> None:
    """Show versions of this program and of the engine, with what it stands on."""
    from_engine = await client.get("/version", dict[str, Any])
    own = {"Version": own_version(), "Context": settings().context, "Host": client.host}
    if format_:
        show_object({"Client": own, "Server": from_engine}, format_)
        return
    click.echo(f"Client: shiplog {own['Version']}\n Engine at:    {client.host}\n")
    click.echo(f"Server: {(from_engine.get('Platform') or {}).get('Name', '')}".rstrip())
    for component in from_engine.get("Components") or ():
        click.echo(f" {component['Name'] + ':':14}{component['Version']}")
    click.echo(f" {'API version:':14}{from_engine['ApiVersion']} (oldest {from_engine['MinAPIVersion']})")
    click.echo(f" {'OS/Arch:':14}{from_engine['Os']}/{from_engine['Arch']}")


def own_version() -> str:
    """This program's."""
    return metadata.version("shiplog")


@click.command(short_help="Show what the engine is and has", context_settings=HELP)
@format_option
@engine_command
async def info(client: Client, format_: str) -> None:
    """Show what the engine is, has and can."""
    found = await client.get("/info", dict[str, Any])
    if format_:
        show_object(found, format_)
        return
    for name, key in _FACTS:
        if found.get(key) not in (None, ""):
            click.echo(f"{name}: {found[key]}")
    click.echo(f"Total Memory: {human.binary_size(found['MemTotal'])}")
    for label, value in found.get("DriverStatus") or ():
        click.echo(f" {label}: {value}")
    for warning in found.get("Warnings") or ():
        click.echo(f"WARNING: {warning}", err=True)


_FACTS = (
    ("Name", "Name"),
    ("ID", "ID"),
    ("Server Version", "ServerVersion"),
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Default Runtime", "DefaultRuntime"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Root Dir", "DockerRootDir"),
)


@click.command(short_help="Show events, from any moment on", context_settings=HELP)
@click.option("-f", "--filter", "wanted", multiple=True, metavar="KEY=VALUE", help="Such as type=container, event=die")
@click.option("--format", "format_", default="", help="'json' or a Go template")
@click.option(
    "--since",
    default="",
    help="From this time (RFC 3339), number of seconds or span (10m) on; 0 is the beginning of the log",
)
@click.option("--until", default="", help="Up to this time")
@engine_command
async def events(client: Client, wanted: tuple[str, ...], format_: str, since: str, until: str) -> None:
    """Show events as they happen; with --since, those before too, however long ago."""
    query: dict[str, str | int | bool] = {}
    if wanted:
        query["filters"] = msgspec.json.encode(filters(wanted)).decode()
    for key, text in (("since", since), ("until", until)):
        if text:
            query[key] = timestamp(text)
    fill = compile_template(unescape("{{json .}}" if format_ == "json" else format_)) if format_ else _event_line
    rest = b""
    async with client.stream("GET", "/events", query) as chunks:
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(bytes.strip, lines):
                sys.stdout.write(fill(msgspec.json.decode(line)) + "\n")
            sys.stdout.flush()


def _event_line(event: Mapping[str, Any]) -> str:
    actor = event.get("Actor") or {}
    moment = datetime.fromtimestamp(event["time"], UTC).astimezone()
    nanoseconds = event.get("timeNano", 0) % 1_000_000_000
    told = ", ".join(f"{key}={value}" for key, value in sorted((actor.get("Attributes") or {}).items()))
    time = f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}{moment:%z}"
    return f"{time[:-2]}:{time[-2:]} {event['Type']} {event['Action']} {actor.get('ID', '')}" + (
        f" ({told})" if told else ""
    )


USAGE = Listing(
    columns=tuple(
        Column(key, title)
        for key, title in (
            ("Type", "TYPE"),
            ("TotalCount", "TOTAL"),
            ("Active", "ACTIVE"),
            ("Size", "SIZE"),
            ("Reclaimable", "RECLAIMABLE"),
        )
    ),
    titles={"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"},
    quiet="Type",
)


@click.command(short_help="Show what takes how much disk", context_settings=HELP)
@click.option("--format", "format_", default="", help="'table', 'table TEMPLATE', 'json' or a Go template")
@engine_command
async def df(client: Client, format_: str) -> None:
    """Show how much disk images, containers and volumes take, and how much of it nobody uses."""
    found = await client.get("/system/df", dict[str, Any])
    images, containers, volumes = (found.get(key) or [] for key in ("Images", "Containers", "Volumes"))
    used = [image for image in images if image.get("Containers", 0) > 0]
    live = [container for container in containers if container["State"] in ("running", "paused", "restarting")]
    mounted = [volume for volume in volumes if (volume.get("UsageData") or {}).get("RefCount", 0) > 0]
    unused = sum(image["Size"] - max(image.get("SharedSize", 0), 0) for image in images if image not in used)
    rows = [
        _usage("Images", len(images), len(used), found.get("LayersSize", 0), unused),
        _usage("Containers", len(containers), len(live), _sum(containers), _sum(containers) - _sum(live)),
        _usage(
            "Local Volumes",
            len(volumes),
            len(mounted),
            _volume_sum(volumes),
            _volume_sum(volumes) - _volume_sum(mounted),
        ),
        _usage("Build Cache", 0, 0, 0, 0),  # as docker's CLI shows it; this engine builds nothing
    ]
    show(USAGE, rows, format_)


def _sum(containers: list[dict[str, Any]]) -> int:
    return sum(container.get("SizeRw") or 0 for container in containers)


def _volume_sum(volumes: list[dict[str, Any]]) -> int:
    return sum(max((volume.get("UsageData") or {}).get("Size", 0), 0) for volume in volumes)


def _usage(kind: str, count: int, active: int, size: int, reclaimable: int) -> dict[str, str]:
    share = f" ({100 * reclaimable // size}%)" if size else ""
    return {
        "Type": kind,
        "TotalCount": str(count),
        "Active": str(active),
        "Size": human.size(size),
        "Reclaimable": human.size(reclaimable) + share,
    }


@click.command(short_help="Remove what nobody uses", context_settings=HELP)
@click.option(
    "-a", "--all", "everything", is_flag=True, help="All images that no container uses, not only those without a name"
)
@click.option("--filter", "wanted", multiple=True, metavar="KEY=VALUE", help="Such as until=24h or label=tier")
@click.option("-f", "--force", is_flag=True, help="Don't ask")
@click.option("--volumes", is_flag=True, help="Anonymous volumes too")
@engine_command
async def prune(client: Client, everything: bool, wanted: tuple[str, ...], force: bool, volumes: bool) -> int | None:
    """Remove stopped containers, unused networks, images that nobody uses, and with --volumes anonymous volumes."""
    question = "This will remove stopped containers, unused networks" + (", anonymous volumes" if volumes else "")
    if not confirm(f"{question} and {'unused' if everything else 'dangling'} images.", force=force):
        return FAILED
    chosen = filters(wanted)
    kinds = [("containers", chosen), ("networks", chosen), *([("volumes", chosen)] if volumes else [])]
    kinds.append(("images", chosen | ({"dangling": ["false"]} if everything else {})))
    reclaimed = 0
    for kind, its in kinds:
        pruned = await client.post(f"/{kind}/prune", dict[str, Any], {"filters": msgspec.json.encode(its).decode()})
        names = pruned.get(f"{kind.capitalize()}Deleted") or ()
        if names:
            click.echo(f"Deleted {kind.capitalize()}:")
            for each in names:
                click.echo(
                    each
                    if isinstance(each, str)
                    else "\n".join(f"{word.lower()}: {text}" for word, text in each.items())
                )
            click.echo()
        reclaimed += pruned.get("SpaceReclaimed", 0)
    click.echo(f"Total reclaimed space: {human.size(reclaimed)}")
    return None


@click.command(short_help="Log in to a registry", context_settings=HELP)
@click.option("-u", "--username", default="", help="Name; asked for if not given")
@click.option("-p", "--password", default="", help="Password; seen by whoever lists processes: use --password-stdin")
@click.option("--password-stdin", is_flag=True, help="Take the password from stdin")
@click.argument("server", default=OFFICIAL, metavar="[SERVER]")
@engine_command
async def login(client: Client, username: str, password: str, password_stdin: bool, server: str) -> None:
    """Have the engine check name and password with a registry, and keep them where the docker CLI keeps them."""
    registry = OFFICIAL if server == OFFICIAL else registry_of(f"{server.removeprefix('https://').rstrip('/')}/x")
    known = find_login(registry)
    if password_stdin:
        if not username:
            raise click.UsageError("Must provide --username with --password-stdin")
        password = sys.stdin.read().rstrip("\r\n")
    elif not password:
        if not username and known is not None:
            username, password = known.username, known.password
        else:
            if not sys.stdin.isatty():
                raise Failed("Error: Cannot perform an interactive login from a non TTY device")
            username = username or click.prompt("Username")
            password = getpass.getpass("Password: ")
    asked = Login(username=username, password=password, serveraddress=registry)
    answer = await client.post("/auth", dict[str, Any], None, msgspec.to_builtins(asked))
    token = answer.get("IdentityToken", "")
    kept = Login(username=username, password=password, identitytoken=token, serveraddress=registry)
    if warning := store_login(kept):
        click.echo(warning, err=True)
    click.echo(answer.get("Status") or "Login Succeeded")


@click.command(short_help="Log out from a registry", context_settings=HELP)
@click.argument("server", default=OFFICIAL, metavar="[SERVER]")
def logout(server: str) -> None:
    """Forget what was kept for a registry."""
    if forget_login(server):
        click.echo(f"Removing login credentials for {server}")
    else:
        click.echo(f"Not logged in to {server}")


SEARCH = Listing(
    columns=(
        Column("Name", "NAME"),
        Column("Description", "DESCRIPTION"),
        Column("StarCount", "STARS"),
        Column("IsOfficial", "OFFICIAL"),
    ),
    titles={"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"},
    quiet="Name",
)
_DESCRIPTION_LENGTH = 45


@click.command(short_help="Search a registry for images", context_settings=HELP)
@click.option("-f", "--filter", "wanted", multiple=True, metavar="KEY=VALUE", help="Such as stars=3, is-official=true")
@click.option("--format", "format_", default="", help="'table', 'table TEMPLATE', 'json' or a Go template")
@click.option("--limit", type=int, default=0, help="Number of results")
@click.option("--no-trunc", is_flag=True, help="Don't shorten what is shown")
@click.argument("term", metavar="TERM")
@engine_command
async def search(client: Client, wanted: tuple[str, ...], format_: str, limit: int, no_trunc: bool, term: str) -> None:
    """Search a registry for images."""
    query: dict[str, str | int | bool] = {"term": term}
    if limit:
        query["limit"] = limit
    if wanted:
        query["filters"] = msgspec.json.encode(filters(wanted)).decode()
    async with client.stream("GET", "/images/search", query, headers=registry_headers(term)) as chunks:
        found = msgspec.json.decode(b"".join([chunk async for chunk in chunks]))
    rows = [
        {
            "Name": each["name"],
            "Description": each["description"]
            if no_trunc
            else human.shortened(each["description"], _DESCRIPTION_LENGTH),
            "StarCount": str(each["star_count"]),
            "IsOfficial": "[OK]" if each["is_official"] else "",
        }
        for each in found
    ]
    show(SEARCH, rows, format_)


system = section(
    "system",
    "Manage the engine",
    {
        "df": "clients.cli.commands.system:df",
        "events": "clients.cli.commands.system:events",
        "info": "clients.cli.commands.system:info",
        "prune": "clients.cli.commands.system:prune",
    },
)
