"""Volumes: list, make, remove."""

from typing import Any

import click
import msgspec

from clients.api import ApiError, Client
from clients.cli import completion, human
from clients.cli.app import FAILED, HELP, confirm, engine_command, filters, for_each, section
from clients.cli.create_body import pairs
from clients.cli.listing import Column, Listing, Row, show

LISTING = Listing(
    columns=(Column("Driver", "DRIVER"), Column("Name", "VOLUME NAME")),
    titles={
        "Driver": "DRIVER",
        "Name": "VOLUME NAME",
        "Scope": "SCOPE",
        "Mountpoint": "MOUNTPOINT",
        "Labels": "LABELS",
        "Links": "LINKS",
        "Size": "SIZE",
    },
    quiet="Name",
)
_ABSENT = 404


@click.command(short_help="List volumes", context_settings=HELP)
@click.option("-f", "--filter", "wanted", multiple=True, metavar="KEY=VALUE", help="Such as dangling=true, name=data")
@click.option("--format", "format_", default="", help="'table', 'table TEMPLATE', 'json' or a Go template")
@click.option("-q", "--quiet", is_flag=True, help="Only show names")
@engine_command
async def ls(client: Client, wanted: tuple[str, ...], format_: str, quiet: bool) -> None:
    """List volumes."""
    query: dict[str, str | int | bool] = {}
    if wanted:
        query["filters"] = msgspec.json.encode(filters(wanted)).decode()
    found = await client.get("/volumes", dict[str, Any], query)
    volumes = sorted(found["Volumes"] or (), key=lambda each: each["Name"])
    show(LISTING, [_row(volume) for volume in volumes], format_, quiet=quiet)


def _row(volume: dict[str, Any]) -> Row:
    labels: dict[str, str] = volume.get("Labels") or {}
    usage: dict[str, int] = volume.get("UsageData") or {}
    return {
        "Driver": volume["Driver"],
        "Name": volume["Name"],
        "Scope": volume["Scope"],
        "Mountpoint": volume["Mountpoint"],
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Label": lambda name: labels.get(name, ""),
        "Links": str(usage["RefCount"]) if "RefCount" in usage else "N/A",
        "Size": human.size(usage["Size"], 3) if usage.get("Size", -1) >= 0 else "N/A",
    }


@click.command(short_help="Make a volume", context_settings=HELP)
@click.option("-d", "--driver", default="local", help="Driver")
@click.option("--label", "labels", multiple=True, help="Label, as key=value")
@click.option("-o", "--opt", "options", multiple=True, help="Option of the driver, such as type=tmpfs")
@click.argument("name", metavar="[NAME]", default="")
@engine_command
async def create(client: Client, driver: str, labels: tuple[str, ...], options: tuple[str, ...], name: str) -> None:
    """Make a volume and print its name, which the engine chooses where none is given."""
    body = {"Name": name, "Driver": driver, "Labels": pairs(labels), "DriverOpts": pairs(options)}
    made = await client.post("/volumes/create", dict[str, Any], None, body)
    click.echo(made["Name"])


@click.command(short_help="Remove volumes", context_settings=HELP)
@click.option("-f", "--force", is_flag=True, help="One that isn't there is no error")
@click.argument("names", nargs=-1, required=True, metavar="VOLUME...", shell_complete=completion.volumes)
@engine_command
async def rm(client: Client, force: bool, names: tuple[str, ...]) -> int:
    """Remove volumes, and what is in them."""

    async def one(name: str) -> None:
        try:
            await client.act("DELETE", f"/volumes/{name}", {"force": force})
        except ApiError as error:
            if not (force and error.status == _ABSENT):
                raise

    return await for_each(names, one)


@click.command(short_help="Remove volumes that nobody uses", context_settings=HELP)
@click.option("-a", "--all", "everything", is_flag=True, help="Named ones too, not only anonymous ones")
@click.option("--filter", "wanted", multiple=True, metavar="KEY=VALUE", help="Such as label=tier")
@click.option("-f", "--force", is_flag=True, help="Don't ask")
@engine_command
async def prune(client: Client, everything: bool, wanted: tuple[str, ...], force: bool) -> int | None:
    """Remove anonymous volumes that no container uses; with --all, named ones too."""
    kind = "all volumes" if everything else "anonymous local volumes"
    if not confirm(f"This will remove {kind} not used by at least one container.", force=force):
        return FAILED
    chosen = filters(wanted) | ({"all": ["true"]} if everything else {})
    pruned = await client.post("/volumes/prune", dict[str, Any], {"filters": msgspec.json.encode(chosen).decode()})
    if pruned.get("VolumesDeleted"):
        click.echo("Deleted Volumes:\n" + "\n".join(pruned["VolumesDeleted"]) + "\n")
    click.echo(f"Total reclaimed space: {human.size(pruned['SpaceReclaimed'])}")
    return None


volume = section(
    "volume",
    "Manage volumes",
    {
        "create": "clients.cli.commands.volumes:create",
        "inspect": "clients.cli.commands.inspect:volume",
        "ls": "clients.cli.commands.volumes:ls",
        "prune": "clients.cli.commands.volumes:prune",
        "rm": "clients.cli.commands.volumes:rm",
    },
)
