"""What shells need to complete words, live names of containers and images included."""

import click
from click.shell_completion import get_completion_class

from clients.cli.app import HELP

_SHELLS = ("bash", "fish", "zsh")


@click.command(short_help="Print what makes a shell complete words", context_settings=HELP)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, flags and live names.

    \b
    source <(shiplog completion bash)
    shiplog completion zsh > "${fpath[1]}/_shiplog"
    shiplog completion fish > ~/.config/fish/completions/shiplog.fish
    """
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(made(context.find_root().command, {}, "shiplog", "_SHIPLOG_COMPLETE").source())
