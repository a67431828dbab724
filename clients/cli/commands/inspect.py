"""`inspect`: everything the engine says of objects, as JSON or by a template."""

from typing import Any

import click

from clients.api import ApiError, Client
from clients.cli import completion
from clients.cli.app import FAILED, HELP, engine_command, tell
from clients.cli.listing import show_object

_ABSENT = 404
_PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}
format_option = click.option(
    "-f", "--format", "format_", default="", help="'json' or a Go template such as '{{.State.Status}}'"
)


@click.command(short_help="Show all that is known of objects", context_settings=HELP)
@format_option
@click.option("-s", "--size", is_flag=True, help="Sizes of containers too")
@click.option("--type", "kind", type=click.Choice(tuple(_PATHS)), default=None, help="Only look for this kind")
@click.argument("names", nargs=-1, required=True, metavar="NAME|ID...", shell_complete=completion.objects)
@engine_command
async def inspect(client: Client, format_: str, size: bool, kind: str | None, names: tuple[str, ...]) -> int:
    """Show all that is known of containers, images, networks and volumes."""
    return await _inspect(client, tuple(_PATHS) if kind is None else (kind,), names, format_, size=size)


@click.command(short_help="Show all that is known of containers", context_settings=HELP)
@format_option
@click.option("-s", "--size", is_flag=True, help="Sizes too")
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...", shell_complete=completion.containers)
@engine_command
async def container(client: Client, format_: str, size: bool, names: tuple[str, ...]) -> int:
    """Show all that is known of containers."""
    return await _inspect(client, ("container",), names, format_, size=size)


@click.command(short_help="Show all that is known of images", context_settings=HELP)
@format_option
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...", shell_complete=completion.images)
@engine_command
async def image(client: Client, format_: str, names: tuple[str, ...]) -> int:
    """Show all that is known of images."""
    return await _inspect(client, ("image",), names, format_, size=False)


@click.command(short_help="Show all that is known of networks", context_settings=HELP)
@format_option
@click.option("-v", "--verbose", is_flag=True, help="With diagnostics")
@click.argument("names", nargs=-1, required=True, metavar="NETWORK...", shell_complete=completion.networks)
@engine_command
async def network(client: Client, format_: str, verbose: bool, names: tuple[str, ...]) -> int:
    """Show all that is known of networks."""
    return await _inspect(client, ("network",), names, format_, size=False, verbose=verbose)


@click.command(short_help="Show all that is known of volumes", context_settings=HELP)
@format_option
@click.argument("names", nargs=-1, required=True, metavar="VOLUME...", shell_complete=completion.volumes)
@engine_command
async def volume(client: Client, format_: str, names: tuple[str, ...]) -> int:
    """Show all that is known of volumes."""
    return await _inspect(client, ("volume",), names, format_, size=False)


async def _inspect(
    client: Client, kinds: tuple[str, ...], names: tuple[str, ...], format_: str, *, size: bool, verbose: bool = False
) -> int:
    """What is found is shown, what isn't is told at the end, as the docker CLI does."""
    found: list[dict[str, Any]] = []
    failures: list[Exception] = []
    for name in names:
        try:
            found.append(await _find(client, kinds, name, size=size, verbose=verbose))
        except ApiError as error:
            failures.append(error)
    if format_ in ("", "json"):
        show_object(found, format_)
    else:
        for each in found:
            show_object(each, format_)
    for failure in failures:
        tell(failure)
    return FAILED if failures else 0


async def _find(client: Client, kinds: tuple[str, ...], name: str, *, size: bool, verbose: bool) -> dict[str, Any]:
    absent: ApiError | None = None
    for kind in kinds:
        query: dict[str, str | int | bool] = {}
        if size and kind == "container":
            query["size"] = True
        if verbose and kind == "network":
            query["verbose"] = True
        try:
            return await client.get(_PATHS[kind].format(name), dict[str, Any], query)
        except ApiError as error:
            if error.status != _ABSENT:
                raise
            absent = error
    if absent is not None and len(kinds) == 1:
        raise absent
    raise ApiError(_ABSENT, f"No such object: {name}")
