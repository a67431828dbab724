"""Contexts: the engines that this user knows by name; made and kept as the docker CLI does."""

import sys

import click

from clients.api import DEFAULT_HOST
from clients.cli import completion
from clients.cli.app import HELP, section, settings
from clients.cli.listing import Column, Listing, show
from clients.cli.settings import DEFAULT_CONTEXT, contexts, find_context, write_current_context

LISTING = Listing(
    columns=(
        Column("Mark", "NAME"),
        Column("Description", "DESCRIPTION"),
        Column("DockerEndpoint", "ENDPOINT"),
    ),
    titles={
        "Name": "NAME",
        "Mark": "NAME",
        "Description": "DESCRIPTION",
        "DockerEndpoint": "ENDPOINT",
        "Current": "CURRENT",
    },
    quiet="Name",
)


@click.command(short_help="List contexts", context_settings=HELP)
@click.option("--format", "format_", default="", help="'table', 'table TEMPLATE', 'json' or a Go template")
@click.option("-q", "--quiet", is_flag=True, help="Only show names")
def ls(format_: str, quiet: bool) -> None:
    """List contexts; the star marks the one that is used."""
    now = settings()
    known = [(DEFAULT_CONTEXT, "This host's engine", DEFAULT_HOST)]
    known += [(each.name, each.description, each.endpoint.host) for each in contexts(now.config)]
    rows = [
        {
            "Name": name,
            "Mark": f"{name} *" if name == now.context else name,
            "Description": description,
            "DockerEndpoint": host,
            "Current": str(name == now.context).lower(),
        }
        for name, description, host in known
    ]
    show(LISTING, rows, format_, quiet=quiet)


@click.command(short_help="Use a context from now on", context_settings=HELP)
@click.argument("name", metavar="CONTEXT", shell_complete=completion.context_names)
def use(name: str) -> None:
    """Use a context from now on; `default` is this host's engine."""
    directory = settings().config
    if name != DEFAULT_CONTEXT:
        find_context(directory, name)
    write_current_context(directory, name)
    click.echo(name)
    click.echo(f'Current context is now "{name}"', err=True)


@click.command(short_help="Print the name of the context that is used", context_settings=HELP)
def show_current() -> None:
    """Print the name of the context that is used."""
    sys.stdout.write(f"{settings().context}\n")


context = section(
    "context",
    "Choose among engines",
    {
        "ls": "clients.cli.commands.contexts:ls",
        "show": "clients.cli.commands.contexts:show_current",
        "use": "clients.cli.commands.contexts:use",
    },
)
