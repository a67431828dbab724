"""Containers as processes: run, create, start, attach, exec, logs."""

import contextlib
import os
import sys
from typing import Any

import anyio
import click

from clients.api import ApiError, Client
from clients.cli import completion
from clients.cli.app import FAILED, HELP, Failed, engine_command, settings, tell
from clients.cli.create_body import body_of, environment_of
from clients.cli.create_options import create_options
from clients.cli.moments import timestamp
from clients.cli.run import Streams, Wanted, attend, run_attached
from clients.cli.run import create as create_container
from clients.cli.run import run as run_container
from clients.cli.run import start as start_container
from clients.cli.settings import read_configuration
from clients.cli.streams import join, pass_signals_on, show_chunks

# What follows the image is the container's, whatever it looks like.
TO_THE_CONTAINER = {"allow_interspersed_args": False, "help_option_names": ["--help"]}  # -h is the host name
_RUNNING_EXIT_CODE = 126
_STREAM_NAMES = frozenset({"stdin", "stdout", "stderr"})
detach_keys = click.option(
    "--detach-keys", default="", help="Keys that leave a container running (default ctrl-p,ctrl-q)"
)


@click.command(short_help="Make and run a container from an image", context_settings=TO_THE_CONTAINER)
@click.option("-d", "--detach", is_flag=True, help="Run in the background and print the container's ID")
@detach_keys
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on to the process")
@create_options
@engine_command
async def run(client: Client, /, detach: bool, detach_keys: str, sig_proxy: bool, **options: Any) -> int:
    """Make and run a container from an image.

    \b
    shiplog run --rm busybox echo hello
    shiplog run -it --name box busybox sh
    shiplog run -d -p 8080:80 -v data:/var/www --restart unless-stopped web

    Its exit code is the container's; 125 says that the engine refused, 126 that the program can't be run, 127 that it
    isn't there.
    """
    if detach and options["attach"]:
        raise click.UsageError("conflicting options: cannot specify both --attach and --detach")
    streams = _streams(options, detach_keys, passes_signals=sig_proxy)
    wanted = _wanted(options, Streams(stdout=False, stderr=False) if detach else streams)
    return await run_container(client, wanted, streams, detach=detach, remove=options["rm"])


@click.command(short_help="Make a container, to be started later", context_settings=TO_THE_CONTAINER)
@create_options
@engine_command
async def create(client: Client, /, **options: Any) -> None:
    """Make a container and print its ID."""
    click.echo(await create_container(client, _wanted(options, _streams(options, "", passes_signals=True))))


def _wanted(options: dict[str, Any], streams: Streams) -> Wanted:
    attached = {"AttachStdin": streams.stdin, "AttachStdout": streams.stdout, "AttachStderr": streams.stderr}
    once = {"StdinOnce": True} if streams.stdin else {}
    return Wanted(
        body=body_of(options) | attached | once,
        name=options["name"],
        platform=options["platform"],
        pull=options["pull"],
        quiet=options["quiet"],
        identity_file=options["cidfile"],
    )


def _streams(options: dict[str, Any], keys: str, *, passes_signals: bool) -> Streams:
    named = {name.lower() for name in options["attach"]}
    if not named <= _STREAM_NAMES:
        raise click.BadParameter(
            f"valid streams are STDIN, STDOUT and STDERR, not {', '.join(sorted(named - _STREAM_NAMES))}"
        )
    if options["tty"] and options["interactive"] and not sys.stdin.isatty():
        raise Failed("the input device is not a TTY", 1)
    return Streams(
        stdin="stdin" in named or (options["interactive"] and not named),
        stdout="stdout" in named or not named,
        stderr="stderr" in named or not named,
        terminal=options["tty"],
        detach_keys=_keys(keys),
        passes_signals=passes_signals,
    )


def _keys(given: str) -> str:
    return given or read_configuration(settings().config).detach_keys


@click.command(short_help="Start stopped containers", context_settings=HELP)
@click.option("-a", "--attach", "attached", is_flag=True, help="Attach to its output, and pass signals on")
@click.option("-i", "--interactive", is_flag=True, help="Attach to its input too")
@detach_keys
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...", shell_complete=completion.containers)
@engine_command
async def start(client: Client, attached: bool, interactive: bool, detach_keys: str, names: tuple[str, ...]) -> int:
    """Start containers that were made or have stopped."""
    if attached or interactive:
        if len(names) > 1:
            raise click.UsageError("you cannot start and attach multiple containers at once")
        return await _start_attached(client, names[0], interactive=interactive, keys=detach_keys)
    code = 0
    for name in names:
        try:
            await client.act("POST", f"/containers/{name}/start")
            click.echo(name)
        except ApiError as error:
            tell(error)
            code = FAILED
    if code:
        raise Failed(f"Error: failed to start containers: {', '.join(names)}")
    return code


async def _start_attached(client: Client, name: str, *, interactive: bool, keys: str) -> int:
    found = await client.get(f"/containers/{name}/json", dict[str, Any])
    streams = Streams(
        stdin=interactive and found["Config"]["OpenStdin"],
        terminal=found["Config"]["Tty"],
        detach_keys=_keys(keys),
    )
    if found["State"]["Running"]:
        await start_container(client, found["Id"])
    return await run_attached(client, found["Id"], streams, remove=found["HostConfig"].get("AutoRemove", False))


@click.command(short_help="Be the terminal of a running container", context_settings=HELP)
@detach_keys
@click.option("--no-stdin", is_flag=True, help="Without its input")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on to the process")
@click.argument("name", metavar="CONTAINER", shell_complete=completion.running)
@engine_command
async def attach(client: Client, detach_keys: str, no_stdin: bool, sig_proxy: bool, name: str) -> int:
    """Join this terminal to a container that runs; ctrl-p ctrl-q leaves it running."""
    found = await client.get(f"/containers/{name}/json", dict[str, Any])
    state = found["State"]
    for word, refusal in (("Paused", "paused"), ("Restarting", "restarting")):
        if state[word]:
            raise Failed(f"You cannot attach to a {refusal} container, {_CURE[refusal]} it first")
    if not state["Running"]:
        raise Failed("You cannot attach to a stopped container, start it first")
    streams = Streams(
        stdin=not no_stdin and found["Config"]["OpenStdin"],
        terminal=found["Config"]["Tty"],
        detach_keys=_keys(detach_keys),
    )
    async with client.attach(f"/containers/{found['Id']}/attach", streams.query()) as attached:
        async with anyio.create_task_group() as tasks:
            if sig_proxy and not streams.terminal:
                await tasks.start(pass_signals_on, client, found["Id"])
            await attend(client, found["Id"], attached, streams)
            tasks.cancel_scope.cancel()
    with contextlib.suppress(ApiError):  # it went with `--rm`
        now = await client.get(f"/containers/{found['Id']}/json", dict[str, Any])
        if not now["State"]["Running"]:
            return int(now["State"]["ExitCode"])
    return 0


_CURE = {"paused": "unpause", "restarting": "wait for"}


@click.command("exec", short_help="Run a command in a running container", context_settings=TO_THE_CONTAINER)
@click.option("-d", "--detach", is_flag=True, help="In the background")
@detach_keys
@click.option("-e", "--env", multiple=True, help="Environment variable")
@click.option("--env-file", multiple=True, help="File of environment variables")
@click.option("-i", "--interactive", is_flag=True, help="Keep its input open")
@click.option("--privileged", is_flag=True, help="Nearly all that the host may")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal")
@click.option("-u", "--user", default="", help="User, and group after a colon, by name or number")
@click.option("-w", "--workdir", default="", help="Working directory inside")
@click.argument("name", metavar="CONTAINER", shell_complete=completion.running)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARG...]")
@engine_command
async def exec_(
    client: Client,
    detach: bool,
    detach_keys: str,
    env: tuple[str, ...],
    env_file: tuple[str, ...],
    interactive: bool,
    privileged: bool,
    tty: bool,
    user: str,
    workdir: str,
    name: str,
    words: tuple[str, ...],
) -> int:
    """Run a command in a container that runs; its exit code is the command's."""
    if tty and interactive and not detach and not sys.stdin.isatty():
        raise Failed("the input device is not a TTY")
    body = {
        "AttachStdin": interactive and not detach,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "Cmd": list(words),
        "DetachKeys": _keys(detach_keys),
        "Env": environment_of(env_file, env, os.environ),
        "Privileged": privileged,
        "Tty": tty,
        "User": user,
        "WorkingDir": workdir,
    }
    made = await client.post(f"/containers/{name}/exec", dict[str, Any], None, body)
    started = {"Detach": detach, "Tty": tty}
    if detach:
        await client.act("POST", f"/exec/{made['Id']}/start", body=started)
        return 0
    return await _attached_exec(client, made["Id"], started, interactive=interactive, terminal=tty)


async def _attached_exec(
    client: Client, exec_id: str, started: dict[str, Any], *, interactive: bool, terminal: bool
) -> int:
    async def resize(height: int, width: int) -> None:
        await client.act("POST", f"/exec/{exec_id}/resize", {"h": height, "w": width})

    async with client.attach(f"/exec/{exec_id}/start", None, started) as attached:
        await join(attached, terminal=terminal, reads=interactive, resize=resize)
    found = await client.get(f"/exec/{exec_id}/json", dict[str, Any])
    return int(found["ExitCode"] or 0)


@click.command(short_help="Show the output of a container", context_settings=HELP)
@click.option("--details", is_flag=True, help="With what the log driver keeps beside each line")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes")
@click.option("--since", default="", help="Only what is newer than this time (RFC 3339) or span (10m)")
@click.option("-n", "--tail", default="all", help="Number of lines from the end")
@click.option("-t", "--timestamps", is_flag=True, help="With the time of each line")
@click.option("--until", default="", help="Only what is older than this time or span")
@click.argument("name", metavar="CONTAINER", shell_complete=completion.containers)
@engine_command
async def logs(
    client: Client, details: bool, follow: bool, since: str, tail: str, timestamps: bool, until: str, name: str
) -> None:
    """Show what a container has written, and with --follow what it writes."""
    found = await client.get(f"/containers/{name}/json", dict[str, Any])
    query: dict[str, str | int | bool] = {
        "stdout": True,
        "stderr": True,
        "details": details,
        "follow": follow,
        "timestamps": timestamps,
        "tail": tail,
    }
    for key, text in (("since", since), ("until", until)):
        if text:
            query[key] = timestamp(text)
    async with client.stream("GET", f"/containers/{found['Id']}/logs", query) as chunks:
        await show_chunks(aiter(chunks), terminal=found["Config"]["Tty"])
