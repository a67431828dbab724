"""`shiplog`: the engine's own command line, enough for a host without the docker CLI."""

import argparse
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import msgspec

from clients.api import DEFAULT_HOST, ApiError, Client, EngineUnreachable
from clients.cli.answers import Listed, Progress, Versions
from clients.cli.run import ENGINE_FAILED, StartFailed, Wanted, run

Command = Callable[[Client, argparse.Namespace], Awaitable[int]]


async def load(client: Client, arguments: argparse.Namespace) -> int:
    """Load an image archive."""
    async with client.stream("POST", "/images/load", {"quiet": True}, file=arguments.file) as chunks:
        return _show_progress(b"".join([chunk async for chunk in chunks]))


async def run_container(client: Client, arguments: argparse.Namespace) -> int:
    """Run a container."""
    words = tuple(arguments.words)
    wanted = Wanted(image=arguments.image, command=words, name=arguments.name, remove=arguments.rm)
    try:
        return await run(client, wanted)
    except ApiError as error:
        sys.stderr.write(f"shiplog: {error}\n")
        return error.code if isinstance(error, StartFailed) else ENGINE_FAILED


async def ps(client: Client, arguments: argparse.Namespace) -> int:
    """List containers."""
    containers = await client.get("/containers/json", tuple[Listed, ...], {"all": arguments.all})
    rows = [("CONTAINER ID", "IMAGE", "COMMAND", "STATUS", "NAMES"), *map(_row, containers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        sys.stdout.write("   ".join(padded).rstrip() + "\n")
    return 0


async def events(client: Client, arguments: argparse.Namespace) -> int:
    """Follow events, one JSON object a line."""
    query = {key: getattr(arguments, key) for key in ("since", "until") if getattr(arguments, key)}
    async with client.stream("GET", "/events", query) as chunks:
        async for chunk in chunks:
            sys.stdout.write(chunk.decode())
            sys.stdout.flush()
    return 0


async def version(client: Client, arguments: argparse.Namespace) -> int:
    """Show versions of the engine and of what it stands on."""
    del arguments
    answer = await client.get("/version", Versions)
    for component in answer.components:
        sys.stdout.write(f"{component.name:12} {component.version}\n")
    sys.stdout.write(f"{'API':12} {answer.oldest} to {answer.newest}\n")
    return 0


def main() -> None:
    """The program `shiplog`."""
    arguments = parser().parse_args()
    try:
        sys.exit(anyio.run(arguments.act, Client(arguments.host), arguments))
    except (ApiError, EngineUnreachable, OSError) as error:
        sys.exit(f"shiplog: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell tells of SIGINT


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="shiplog", description="Talk to a Shiplog engine.")
    default = os.environ.get("SHIPLOG_HOST") or DEFAULT_HOST
    made.add_argument("--host", "-H", default=default, help=f"unix://PATH or tcp://HOST:PORT (default {default})")
    commands = made.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, act: Command) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=act.__doc__, description=act.__doc__)
        command.set_defaults(act=act)
        return command

    add("load", load).add_argument("file", type=Path, help="docker-archive or OCI archive")
    running = add("run", run_container)
    running.add_argument("--rm", action="store_true", help="remove the container when it has ended")
    running.add_argument("--name", default="", help="name of the container")
    running.add_argument("image")
    running.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    add("ps", ps).add_argument("--all", "-a", action="store_true", help="also those that don't run")
    following = add("events", events)
    following.add_argument("--since", default="", help="timestamp; 0 is the beginning of the log")
    following.add_argument("--until", default="", help="timestamp")
    add("version", version)
    return made


def _show_progress(content: bytes) -> int:
    """Print the lines of a progress stream; 1 when it tells of an error."""
    messages = [msgspec.json.decode(line, type=Progress) for line in content.splitlines() if line.strip()]
    for message in messages:
        sys.stdout.write(message.stream)
        if message.error:
            sys.stderr.write(f"shiplog: {message.error}\n")
    return int(any(message.error for message in messages))


def _row(container: Listed) -> tuple[str, ...]:
    names = ", ".join(name.removeprefix("/") for name in container.names)
    return container.id[:12], container.image, f'"{container.command}"', container.status, names


if __name__ == "__main__":
    main()
