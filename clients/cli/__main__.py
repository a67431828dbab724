"""`shiplog`: the engine's own command line, with docker's commands and those for the past that only a log can tell."""

import click
import msgspec

from clients.cli.app import HELP, Section, run_program
from clients.cli.settings import Flags

COMMANDS = {
    "Containers": {
        "run": "clients.cli.commands.running:run",
        "exec": "clients.cli.commands.running:exec_",
        "ps": "clients.cli.commands.containers:ps",
        "logs": "clients.cli.commands.running:logs",
        "create": "clients.cli.commands.running:create",
        "start": "clients.cli.commands.running:start",
        "stop": "clients.cli.commands.containers:stop",
        "restart": "clients.cli.commands.containers:restart",
        "kill": "clients.cli.commands.containers:kill",
        "pause": "clients.cli.commands.containers:pause",
        "unpause": "clients.cli.commands.containers:unpause",
        "wait": "clients.cli.commands.containers:wait",
        "attach": "clients.cli.commands.running:attach",
        "cp": "clients.cli.commands.files:cp",
        "inspect": "clients.cli.commands.inspect:inspect",
        "port": "clients.cli.commands.containers:port",
        "top": "clients.cli.commands.containers:top",
        "stats": "clients.cli.commands.stats:stats",
        "update": "clients.cli.commands.update:update",
        "rename": "clients.cli.commands.containers:rename",
        "rm": "clients.cli.commands.containers:rm",
        "commit": "clients.cli.commands.files:commit",
        "export": "clients.cli.commands.files:export",
    },
    "Images": {
        "images": "clients.cli.commands.images:images",
        "pull": "clients.cli.commands.images:pull",
        "push": "clients.cli.commands.images:push",
        "tag": "clients.cli.commands.images:tag",
        "rmi": "clients.cli.commands.images:rmi",
        "load": "clients.cli.commands.images:load",
        "save": "clients.cli.commands.images:save",
        "import": "clients.cli.commands.images:import_",
        "build": "clients.cli.commands.images:build",
        "history": "clients.cli.commands.images:history",
        "search": "clients.cli.commands.system:search",
        "login": "clients.cli.commands.system:login",
        "logout": "clients.cli.commands.system:logout",
    },
    "The log": {
        "events": "clients.cli.commands.system:events",
        "diff": "clients.cli.commands.containers:diff",
        "why": "clients.cli.commands.past:why",
        "replay": "clients.cli.commands.audit:replay",
        "audit": "clients.cli.commands.audit:audit",
    },
    "The engine": {
        "info": "clients.cli.commands.system:info",
        "version": "clients.cli.commands.system:version",
        "completion": "clients.cli.commands.shell:completion",
    },
    "Groups": {
        "container": "clients.cli.commands.containers:container",
        "image": "clients.cli.commands.images:image",
        "network": "clients.cli.commands.networks:network",
        "volume": "clients.cli.commands.volumes:volume",
        "system": "clients.cli.commands.system:system",
        "context": "clients.cli.commands.contexts:context",
    },
}
ABOUT = """Talk to a Shiplog engine, or to any other that speaks the Docker Engine API.

\b
First steps:
  shiplog run --rm -it busybox sh      run a container
  shiplog ps -a                        what there is
  shiplog why NAME                     how it came about: commands, events, callers
  shiplog --at 2026-01-31T12:00Z ps    what there was at any moment

The engine is the one that --host, SHIPLOG_HOST, DOCKER_HOST or a context names; else this host's.
"""


@click.group(cls=Section, lazy=COMMANDS, help=ABOUT, context_settings=HELP)
@click.option("-H", "--host", default="", help="unix://PATH, tcp://HOST:PORT or ssh://[USER@]HOST")
@click.option("-c", "--context", default="", help="Name of the context to use")
@click.option("--config", default="", help="Directory of the docker CLI's configuration")
@click.option(
    "--at",
    default="",
    metavar="TIME|SEQ",
    help="Answer as of this moment: a time, a span ago (10m), or a sequence of the log",
)
@click.option("--tls", is_flag=True, help="Use TLS; implied by --tlsverify")
@click.option("--tlsverify", "tls_verify", is_flag=True, help="Use TLS and check the engine's certificate")
@click.option("--tlscacert", "authority", default="", help="Certificate of the authority to trust")
@click.option("--tlscert", "certificate", default="", help="Own certificate")
@click.option("--tlskey", "key", default="", help="Its key")
@click.version_option(package_name="shiplog", message="Shiplog version %(version)s")
@click.pass_context
def shiplog(_context: click.Context, /, **flags: str | bool) -> None:
    """Keep the global flags for the command that follows."""
    _context.obj = msgspec.convert(flags, Flags)


def main() -> None:
    """The program `shiplog`."""
    run_program(shiplog)


if __name__ == "__main__":
    main()
