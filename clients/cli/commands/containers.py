"""Containers as objects: list, look at, start, stop, signal, rename, change, remove."""

from collections.abc import Sequence
from typing import Any

import click
import msgspec

from clients.api import ApiError, Client, Query
from clients.cli import completion, human
from clients.cli.app import FAILED, HELP, confirm, engine_command, filters, for_each, section, tell
from clients.cli.commands.past import show_difference
from clients.cli.listing import Column, Listing, Row, plain_table, show

LISTING = Listing(
    columns=(
        Column("ID", "CONTAINER ID"),
        Column("Image", "IMAGE"),
        Column("Command", "COMMAND"),
        Column("RunningFor", "CREATED"),
        Column("Status", "STATUS"),
        Column("Ports", "PORTS"),
        Column("Names", "NAMES"),
    ),
    titles={
        "ID": "CONTAINER ID",
        "Image": "IMAGE",
        "Command": "COMMAND",
        "CreatedAt": "CREATED AT",
        "RunningFor": "CREATED",
        "Status": "STATUS",
        "State": "STATE",
        "Ports": "PORTS",
        "Names": "NAMES",
        "Size": "SIZE",
        "Labels": "LABELS",
        "Mounts": "MOUNTS",
        "LocalVolumes": "LOCAL VOLUMES",
        "Networks": "NETWORKS",
    },
    quiet="ID",
)
_SHORT_ID, _COMMAND_LENGTH, _MOUNT_LENGTH = 12, 20, 15

names_of_containers = click.argument(
    "names", nargs=-1, required=True, metavar="CONTAINER...", shell_complete=completion.containers
)
names_of_running = click.argument(
    "names", nargs=-1, required=True, metavar="CONTAINER...", shell_complete=completion.running
)


@click.command(short_help="List containers", context_settings=HELP)
@click.option("-a", "--all", "everything", is_flag=True, help="Show all containers (default shows just running)")
@click.option(
    "-f",
    "--filter",
    "wanted",
    multiple=True,
    metavar="KEY=VALUE",
    help="Show only what fits, such as status=exited, name=web, label=tier=front",
)
@click.option(
    "--format", "format_", default="", help="'table', 'table TEMPLATE', 'json' or a Go template such as '{{.Names}}'"
)
@click.option("-n", "--last", default=-1, help="Show the n last created containers, in any state")
@click.option("-l", "--latest", is_flag=True, help="Show the latest created container, in any state")
@click.option("--no-trunc", is_flag=True, help="Don't shorten what is shown")
@click.option("-q", "--quiet", is_flag=True, help="Only show container IDs")
@click.option("-s", "--size", is_flag=True, help="Show sizes too")
@engine_command
async def ps(
    client: Client,
    everything: bool,
    wanted: tuple[str, ...],
    format_: str,
    last: int,
    latest: bool,
    no_trunc: bool,
    quiet: bool,
    size: bool,
) -> None:
    """List containers.

    \b
    shiplog ps -a --filter status=exited
    shiplog ps --format 'table {{.Names}}\\t{{.Status}}'
    shiplog --at 2026-01-31T12:00:00Z ps        what ran then
    """
    limit = 1 if latest else max(last, 0)
    with_size = size or "{{.Size}}" in format_
    query: dict[str, str | int | bool] = {"all": everything or bool(limit), "limit": limit, "size": with_size}
    if wanted:
        query["filters"] = msgspec.json.encode(filters(wanted)).decode()
    found = await client.get("/containers/json", list[dict[str, Any]], query)
    listing = LISTING
    if size:
        listing = msgspec.structs.replace(LISTING, columns=(*LISTING.columns, Column("Size", "SIZE")))
    show(listing, [row_of(container, whole=no_trunc) for container in found], format_, quiet=quiet)


def row_of(container: dict[str, Any], *, whole: bool) -> Row:
    """A container as templates and tables see it."""
    labels: dict[str, str] = container.get("Labels") or {}
    command = container["Command"] if whole else human.shortened(container["Command"], _COMMAND_LENGTH)
    mounts = [mount.get("Name") or mount.get("Source", "") for mount in container.get("Mounts") or ()]
    size = human.size(container.get("SizeRw") or 0, 3)
    if container.get("SizeRootFs"):
        size += f" (virtual {human.size(container['SizeRootFs'], 3)})"
    return {
        "ID": container["Id"] if whole else container["Id"][:_SHORT_ID],
        "Image": _image(container["Image"], whole=whole),
        "Command": f'"{command}"',
        "CreatedAt": human.moment(container["Created"]),
        "RunningFor": human.ago(container["Created"]),
        "Status": container["Status"],
        "State": container["State"],
        "Ports": human.ports(container.get("Ports") or ()),
        "Names": ",".join(name.removeprefix("/") for name in container["Names"] if name.count("/") == 1),
        "Size": size,
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Label": lambda name: labels.get(name, ""),
        "Mounts": ",".join(mounts if whole else [human.shortened(mount, _MOUNT_LENGTH) for mount in mounts]),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in container.get("Mounts") or ())),
        "Networks": ",".join(container.get("NetworkSettings", {}).get("Networks") or {}),
    }


def _image(name: str, *, whole: bool) -> str:
    bare = name.removeprefix("sha256:")
    return name if whole or bare == name else bare[:_SHORT_ID]


async def _each(client: Client, names: Sequence[str], path: str, query: Query | None = None) -> int:
    """POST `/containers/NAME/PATH` for each."""

    async def one(name: str) -> None:
        await client.act("POST", f"/containers/{name}/{path}", query)

    return await for_each(names, one)


signal_instead = click.option("-s", "--signal", default="", help="Signal to send instead of the container's own")
seconds_of_patience = click.option(
    "-t",
    "--timeout",
    "--time",
    "seconds",
    type=int,
    default=None,
    help="Seconds to wait before killing; -1 waits for ever",
)


@click.command(short_help="Stop running containers", context_settings=HELP)
@signal_instead
@seconds_of_patience
@names_of_running
@engine_command
async def stop(client: Client, signal: str, seconds: int | None, names: tuple[str, ...]) -> int:
    """Ask containers to end, and kill those that don't within a while."""
    return await _each(client, names, "stop", _patience(signal, seconds))


@click.command(short_help="Restart containers", context_settings=HELP)
@signal_instead
@seconds_of_patience
@names_of_containers
@engine_command
async def restart(client: Client, signal: str, seconds: int | None, names: tuple[str, ...]) -> int:
    """Stop containers if they run, then start them."""
    return await _each(client, names, "restart", _patience(signal, seconds))


def _patience(signal: str, seconds: int | None) -> dict[str, str | int | bool]:
    query: dict[str, str | int | bool] = {}
    if signal:
        query["signal"] = signal
    if seconds is not None:
        query["t"] = seconds
    return query


@click.command(short_help="Send a signal to running containers", context_settings=HELP)
@click.option("-s", "--signal", default="KILL", help="Name or number")
@names_of_running
@engine_command
async def kill(client: Client, signal: str, names: tuple[str, ...]) -> int:
    """Send SIGKILL, or another signal, to the first process of containers."""
    return await _each(client, names, "kill", {"signal": signal})


@click.command(short_help="Freeze all processes of containers", context_settings=HELP)
@names_of_running
@engine_command
async def pause(client: Client, names: tuple[str, ...]) -> int:
    """Freeze all processes of containers; `unpause` lets them go on."""
    return await _each(client, names, "pause")


@click.command(short_help="Let paused containers go on", context_settings=HELP)
@names_of_running
@engine_command
async def unpause(client: Client, names: tuple[str, ...]) -> int:
    """Let paused containers go on."""
    return await _each(client, names, "unpause")


@click.command(short_help="Wait until containers end, then print their exit codes", context_settings=HELP)
@names_of_containers
@engine_command
async def wait(client: Client, names: tuple[str, ...]) -> int:
    """Wait until containers end, then print their exit codes."""

    async def one(name: str) -> str:
        ended = await client.post(f"/containers/{name}/wait", dict[str, Any])
        return str(ended["StatusCode"])

    return await for_each(names, one)


@click.command(short_help="Rename a container", context_settings=HELP)
@click.argument("name", metavar="CONTAINER", shell_complete=completion.containers)
@click.argument("new_name", metavar="NEW_NAME")
@engine_command
async def rename(client: Client, name: str, new_name: str) -> None:
    """Give a container another name."""
    await client.act("POST", f"/containers/{name}/rename", {"name": new_name})


@click.command(short_help="Remove containers", context_settings=HELP)
@click.option("-f", "--force", is_flag=True, help="Kill one that runs, then remove it")
@click.option("-l", "--link", is_flag=True, help="Remove the named link, not the container")
@click.option("-v", "--volumes", is_flag=True, help="Remove its anonymous volumes too")
@names_of_containers
@engine_command
async def rm(client: Client, force: bool, link: bool, volumes: bool, names: tuple[str, ...]) -> int:
    """Remove containers."""
    query: dict[str, str | int | bool] = {"force": force, "link": link, "v": volumes}

    async def one(name: str) -> None:
        try:
            await client.act("DELETE", f"/containers/{name}", query)
        except ApiError as error:
            if not (force and error.status == 404):
                raise
            tell(error)

    return await for_each(names, one)


@click.command(short_help="Remove all stopped containers", context_settings=HELP)
@click.option("--filter", "wanted", multiple=True, metavar="KEY=VALUE", help="Such as until=24h or label=tier")
@click.option("-f", "--force", is_flag=True, help="Don't ask")
@engine_command
async def prune(client: Client, wanted: tuple[str, ...], force: bool) -> int | None:
    """Remove all stopped containers."""
    if not confirm("This will remove all stopped containers.", force=force):
        return FAILED
    pruned = await client.post(
        "/containers/prune", dict[str, Any], {"filters": msgspec.json.encode(filters(wanted)).decode()}
    )
    if pruned["ContainersDeleted"]:
        click.echo("Deleted Containers:")
        click.echo("\n".join(pruned["ContainersDeleted"]) + "\n")
    click.echo(f"Total reclaimed space: {human.size(pruned['SpaceReclaimed'])}")
    return None


@click.command(short_help="List the ports of a container that are published", context_settings=HELP)
@click.argument("name", metavar="CONTAINER", shell_complete=completion.running)
@click.argument("port", metavar="[PORT[/PROTOCOL]]", default="")
@engine_command
async def port(client: Client, name: str, port: str) -> int | None:
    """List the ports of a container that are published, or where one of them is."""
    found = await client.get(f"/containers/{name}/json", dict[str, Any])
    published: dict[str, list[dict[str, str]] | None] = found["NetworkSettings"]["Ports"] or {}
    if port:
        wanted = port if "/" in port else f"{port}/tcp"
        if not published.get(wanted):
            click.echo(f"no public port '{wanted}' published for {name}", err=True)
            return FAILED
        published = {wanted: published[wanted]}
    for inside, bindings in sorted(published.items()):
        for binding in bindings or ():
            address = binding["HostIp"]
            outside = f"{f'[{address}]' if ':' in address else address}:{binding['HostPort']}"
            click.echo(outside if port else f"{inside} -> {outside}")
    return None


@click.command(
    short_help="Show the processes of a container", context_settings={**HELP, "allow_interspersed_args": False}
)
@click.argument("name", metavar="CONTAINER", shell_complete=completion.running)
@click.argument("options", nargs=-1, metavar="[PS OPTIONS]", type=click.UNPROCESSED)
@engine_command
async def top(client: Client, name: str, options: tuple[str, ...]) -> None:
    """Show the processes of a container, as `ps` of the host does."""
    from_engine = await client.get(
        f"/containers/{name}/top", dict[str, Any], {"ps_args": " ".join(options)} if options else None
    )
    click.echo(plain_table(from_engine["Titles"], from_engine["Processes"]), nl=False)


@click.command(
    "diff",
    short_help="Show changes in a container's files, or of the engine between two moments",
    context_settings=HELP,
)
@click.argument("places", nargs=-1, required=True, metavar="CONTAINER | FROM TO")
@click.option("--format", "format_", default="", help="'json' or a Go template (between moments)")
@engine_command
async def diff(client: Client, places: tuple[str, ...], format_: str) -> None:
    """Show what changed.

    \b
    shiplog diff web                          files of a container since it was created (A added, C changed, D deleted)
    shiplog diff 2026-01-31T12:00:00Z now     what changed in the engine between two moments
    shiplog diff 1200 1450                    the same between two sequences of its log
    """
    if len(places) == 1:
        changes: Any = await client.get(f"/containers/{places[0]}/changes", object)
        for change in changes or ():
            click.echo(f"{'CAD'[change['Kind']]} {change['Path']}")
        return
    if len(places) > 2:
        raise click.UsageError("a container, or two moments, are compared")
    await show_difference(client, places[0], places[1], format_)


container = section(
    "container",
    "Manage containers",
    {
        "attach": "clients.cli.commands.running:attach",
        "commit": "clients.cli.commands.files:commit",
        "cp": "clients.cli.commands.files:cp",
        "create": "clients.cli.commands.running:create",
        "diff": "clients.cli.commands.containers:diff",
        "exec": "clients.cli.commands.running:exec_",
        "export": "clients.cli.commands.files:export",
        "inspect": "clients.cli.commands.inspect:container",
        "kill": "clients.cli.commands.containers:kill",
        "logs": "clients.cli.commands.running:logs",
        "ls": "clients.cli.commands.containers:ps",
        "pause": "clients.cli.commands.containers:pause",
        "port": "clients.cli.commands.containers:port",
        "prune": "clients.cli.commands.containers:prune",
        "rename": "clients.cli.commands.containers:rename",
        "restart": "clients.cli.commands.containers:restart",
        "rm": "clients.cli.commands.containers:rm",
        "run": "clients.cli.commands.running:run",
        "start": "clients.cli.commands.running:start",
        "stats": "clients.cli.commands.stats:stats",
        "stop": "clients.cli.commands.containers:stop",
        "top": "clients.cli.commands.containers:top",
        "unpause": "clients.cli.commands.containers:unpause",
        "update": "clients.cli.commands.update:update",
        "wait": "clients.cli.commands.containers:wait",
    },
)
