"""Networks: list, make, remove, and who is on them."""

from typing import Any

import click
import msgspec

from clients.api import ApiError, Client
from clients.cli import completion
from clients.cli.app import FAILED, HELP, confirm, engine_command, filters, for_each, section
from clients.cli.create_body import pairs
from clients.cli.human import parse_time
from clients.cli.listing import Column, Listing, Row, show

LISTING = Listing(
    columns=(
        Column("ID", "NETWORK ID"),
        Column("Name", "NAME"),
        Column("Driver", "DRIVER"),
        Column("Scope", "SCOPE"),
    ),
    titles={
        "ID": "NETWORK ID",
        "Name": "NAME",
        "Driver": "DRIVER",
        "Scope": "SCOPE",
        "IPv6": "IPV6",
        "Internal": "INTERNAL",
        "Labels": "LABELS",
        "CreatedAt": "CREATED AT",
    },
    quiet="ID",
)
_SHORT_ID = 12
_ABSENT = 404
names_of_networks = click.argument(
    "names", nargs=-1, required=True, metavar="NETWORK...", shell_complete=completion.networks
)


@click.command(short_help="List networks", context_settings=HELP)
@click.option("-f", "--filter", "wanted", multiple=True, metavar="KEY=VALUE", help="Such as driver=bridge, name=web")
@click.option("--format", "format_", default="", help="'table', 'table TEMPLATE', 'json' or a Go template")
@click.option("--no-trunc", is_flag=True, help="Don't shorten what is shown")
@click.option("-q", "--quiet", is_flag=True, help="Only show network IDs")
@engine_command
async def ls(client: Client, wanted: tuple[str, ...], format_: str, no_trunc: bool, quiet: bool) -> None:
    """List networks."""
    query: dict[str, str | int | bool] = {}
    if wanted:
        query["filters"] = msgspec.json.encode(filters(wanted)).decode()
    found = await client.get("/networks", list[dict[str, Any]], query)
    rows = [_row(network, whole=no_trunc) for network in sorted(found, key=lambda each: each["Name"])]
    show(LISTING, rows, format_, quiet=quiet)


def _row(network: dict[str, Any], *, whole: bool) -> Row:
    labels: dict[str, str] = network.get("Labels") or {}
    return {
        "ID": network["Id"] if whole else network["Id"][:_SHORT_ID],
        "Name": network["Name"],
        "Driver": network["Driver"],
        "Scope": network["Scope"],
        "IPv6": str(network.get("EnableIPv6", False)).lower(),
        "Internal": str(network.get("Internal", False)).lower(),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Label": lambda name: labels.get(name, ""),
        "CreatedAt": parse_time(network["Created"]).strftime("%Y-%m-%d %H:%M:%S.%f %z %Z"),
    }


@click.command(short_help="Make a network", context_settings=HELP)
@click.option("-d", "--driver", default="bridge", help="Driver")
@click.option("--subnet", "subnets", multiple=True, help="Subnet, as 10.20.0.0/16")
@click.option("--gateway", "gateways", multiple=True, help="Gateway of the subnet")
@click.option("--ip-range", "ranges", multiple=True, help="Part of the subnet that addresses are given of")
@click.option("--internal", is_flag=True, help="Without a way out")
@click.option("--attachable", is_flag=True, help="Containers may join by hand")
@click.option("--ipv6", is_flag=True, help="With IPv6 too")
@click.option("--label", "labels", multiple=True, help="Label, as key=value")
@click.option("-o", "--opt", "options", multiple=True, help="Option of the driver, as key=value")
@click.argument("name", metavar="NETWORK")
@engine_command
async def create(
    client: Client,
    driver: str,
    subnets: tuple[str, ...],
    gateways: tuple[str, ...],
    ranges: tuple[str, ...],
    internal: bool,
    attachable: bool,
    ipv6: bool,
    labels: tuple[str, ...],
    options: tuple[str, ...],
    name: str,
) -> None:
    """Make a network and print its ID."""
    pools = [
        {key: value for key, value in (("Subnet", subnet), ("Gateway", gateway), ("IPRange", part)) if value}
        for subnet, gateway, part in zip(subnets, _filled(gateways, subnets), _filled(ranges, subnets), strict=True)
    ]
    body = {
        "Name": name,
        "Driver": driver,
        "Internal": internal,
        "Attachable": attachable,
        "EnableIPv6": ipv6,
        "Labels": pairs(labels),
        "Options": pairs(options),
        "IPAM": {"Config": pools},
    }
    made = await client.post("/networks/create", dict[str, Any], None, body)
    click.echo(made["Id"])


def _filled(words: tuple[str, ...], like: tuple[str, ...]) -> tuple[str, ...]:
    if len(words) > len(like):
        raise click.UsageError("every gateway and IP range needs a subnet")
    return words + ("",) * (len(like) - len(words))


@click.command(short_help="Remove networks", context_settings=HELP)
@click.option("-f", "--force", is_flag=True, help="One that isn't there is no error")
@names_of_networks
@engine_command
async def rm(client: Client, force: bool, names: tuple[str, ...]) -> int:
    """Remove networks."""

    async def one(name: str) -> None:
        try:
            await client.act("DELETE", f"/networks/{name}")
        except ApiError as error:
            if not (force and error.status == _ABSENT):
                raise

    return await for_each(names, one)


@click.command(short_help="Put a container on a network", context_settings=HELP)
@click.option("--alias", "aliases", multiple=True, help="Its name on the network")
@click.option("--ip", default="", help="IPv4 address")
@click.argument("network_name", metavar="NETWORK", shell_complete=completion.networks)
@click.argument("container", metavar="CONTAINER", shell_complete=completion.containers)
@engine_command
async def connect(client: Client, aliases: tuple[str, ...], ip: str, network_name: str, container: str) -> None:
    """Put a container on a network."""
    endpoint: dict[str, Any] = {"Aliases": list(aliases)}
    if ip:
        endpoint["IPAMConfig"] = {"IPv4Address": ip}
    await client.act(
        "POST", f"/networks/{network_name}/connect", body={"Container": container, "EndpointConfig": endpoint}
    )


@click.command(short_help="Take a container off a network", context_settings=HELP)
@click.option("-f", "--force", is_flag=True, help="Whatever state it is in")
@click.argument("network_name", metavar="NETWORK", shell_complete=completion.networks)
@click.argument("container", metavar="CONTAINER", shell_complete=completion.containers)
@engine_command
async def disconnect(client: Client, force: bool, network_name: str, container: str) -> None:
    """Take a container off a network."""
    await client.act("POST", f"/networks/{network_name}/disconnect", body={"Container": container, "Force": force})


@click.command(short_help="Remove networks that nobody uses", context_settings=HELP)
@click.option("--filter", "wanted", multiple=True, metavar="KEY=VALUE", help="Such as until=24h or label=tier")
@click.option("-f", "--force", is_flag=True, help="Don't ask")
@engine_command
async def prune(client: Client, wanted: tuple[str, ...], force: bool) -> int | None:
    """Remove all networks that no container is on."""
    if not confirm("This will remove all custom networks not used by at least one container.", force=force):
        return FAILED
    query = {"filters": msgspec.json.encode(filters(wanted)).decode()}
    pruned = await client.post("/networks/prune", dict[str, Any], query)
    if pruned.get("NetworksDeleted"):
        click.echo("Deleted Networks:\n" + "\n".join(pruned["NetworksDeleted"]))
    return None


network = section(
    "network",
    "Manage networks",
    {
        "connect": "clients.cli.commands.networks:connect",
        "create": "clients.cli.commands.networks:create",
        "disconnect": "clients.cli.commands.networks:disconnect",
        "inspect": "clients.cli.commands.inspect:network",
        "ls": "clients.cli.commands.networks:ls",
        "prune": "clients.cli.commands.networks:prune",
        "rm": "clients.cli.commands.networks:rm",
    },
)
