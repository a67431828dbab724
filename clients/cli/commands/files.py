"""Files of containers: cp, export, commit."""

import base64
import posixpath
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from clients.api import ApiError, Client
from clients.cli import completion
from clients.cli.app import HELP, Failed, engine_command
from clients.cli.archives import extract, packed, save_to, standard_input

_STAT_HEADER = "x-docker-container-path-stat"
_DIRECTORY = 1 << 31  # of Go's os.FileMode
_ABSENT = 404


class PathStat(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a container has at a path."""

    name: str = ""
    mode: int = 0
    link_target: str = ""

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return bool(self.mode & _DIRECTORY)


@click.command(short_help="Copy files between a container and this host", context_settings=HELP)
@click.option("-a", "--archive", is_flag=True, help="With owner and group")
@click.option("-L", "--follow-link", is_flag=True, help="Copy what a link points to")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing")
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@engine_command
async def cp(client: Client, archive: bool, follow_link: bool, quiet: bool, source: str, target: str) -> None:
    """Copy files between a container, running or not, and this host.

    \b
    shiplog cp web:/etc/nginx ./nginx
    shiplog cp page.html web:/var/www/
    shiplog cp web:/data - | tar t           - is a tar stream
    """
    here, there = _parted(source), _parted(target)
    if (here is None) == (there is None):
        raise click.UsageError(
            "one of the two must be CONTAINER:PATH" if here is None else "copying between containers is not supported"
        )
    if here is not None:
        await _from_container(client, *here, target, ownership=archive, follow=follow_link)
    elif there is not None:
        await _to_container(client, source, *there, ownership=archive, follow=follow_link)
    if not quiet and sys.stderr.isatty() and "-" not in (source, target):
        click.echo(f"Successfully copied {source} to {target}", err=True)


def _parted(word: str) -> tuple[str, str] | None:
    """Container and path; None for a path of this host."""
    if word.startswith((".", "/")) or ":" not in word:
        return None
    container, _, path = word.partition(":")
    return container, path


async def _from_container(
    client: Client, container: str, path: str, target: str, *, ownership: bool, follow: bool
) -> None:
    if follow:
        stat = await _stat(client, container, path)
        if stat is not None and stat.link_target:
            path = stat.link_target
    async with client.stream("GET", f"/containers/{container}/archive", {"path": path}) as answer:
        if target == "-":
            await save_to(answer, "")
            return
        stat = decode_stat(answer.headers.get(_STAT_HEADER, ""))
        place, name = _placed_here(path, target, is_directory=stat.is_directory)
        await extract(answer, _renaming(stat.name, name, contents=path.endswith("/.")), place, ownership=ownership)


def _placed_here(path: str, target: str, *, is_directory: bool) -> tuple[Path, str]:
    """The directory to unpack in, and the name that it gets there; "." for a directory's contents."""
    wanted = Path(target)
    if wanted.is_dir():
        return wanted, "." if path.endswith("/.") else ""
    if target.endswith("/") and not is_directory:
        raise Failed(f"no such directory: {target}")
    if wanted.exists() and is_directory:
        raise Failed("cannot copy directory")
    if not wanted.parent.is_dir():
        raise Failed(f"no such directory: {wanted.parent}")
    return wanted.parent, wanted.name


def _renaming(root: str, name: str, *, contents: bool) -> Any:
    """From a member's name, whose first part is the root's, to where it goes."""

    def rename(member: str) -> str:
        first, _, rest = posixpath.normpath(member).partition("/")
        if name == "":
            return posixpath.normpath(member)
        if contents and first != root:
            first, rest = root, posixpath.normpath(member)
        return posixpath.normpath(posixpath.join(name, rest)) if rest else name

    return rename


async def _to_container(
    client: Client, source: str, container: str, path: str, *, ownership: bool, follow: bool
) -> None:
    query: dict[str, str | int | bool] = {"noOverwriteDirNonDir": True, "copyUIDGID": ownership}
    if source == "-":
        await client.act("PUT", f"/containers/{container}/archive", query | {"path": path}, upload=standard_input())
        return
    local = Path(source)
    if not local.exists() and not local.is_symlink():
        raise Failed(f"lstat {source}: no such file or directory")
    is_directory = local.is_dir() and (follow or not local.is_symlink())
    directory, name = await _placed_there(client, container, source, path, is_directory=is_directory)
    async with packed(local, name, follow=follow, ownership=ownership) as chunks:
        await client.act("PUT", f"/containers/{container}/archive", query | {"path": directory}, upload=chunks)


async def _placed_there(
    client: Client, container: str, source: str, path: str, *, is_directory: bool
) -> tuple[str, str]:
    """The container's directory to unpack in, and the name in there; "" for a directory's contents."""
    stat = await _stat(client, container, path)
    if stat is not None and stat.link_target:
        path = posixpath.join(posixpath.dirname(path), stat.link_target)
        stat = await _stat(client, container, path)
    if stat is not None and stat.is_directory:
        return path, _own_name(source)
    if stat is not None and is_directory:
        raise Failed("cannot copy directory")
    if stat is None and path.endswith("/") and not is_directory:
        raise Failed(f"no such directory: {path}")
    return posixpath.dirname(path.rstrip("/")) or "/", posixpath.basename(path.rstrip("/"))


def _own_name(source: str) -> str:
    """What it is called in a directory; "" for a directory's contents."""
    if source.endswith("/."):
        return ""
    return (Path(source).resolve() if source in (".", "..") else Path(source)).name


async def _stat(client: Client, container: str, path: str) -> PathStat | None:
    try:
        headers = await client.head(f"/containers/{container}/archive", {"path": path})
    except ApiError as error:
        if error.status == _ABSENT and "No such container" not in error.message:
            return None
        raise
    return decode_stat(headers.get(_STAT_HEADER, ""))


def decode_stat(header: str) -> PathStat:
    """Raises Failed for an engine that doesn't tell."""
    try:
        return msgspec.json.decode(base64.b64decode(header), type=PathStat)
    except (ValueError, msgspec.DecodeError) as error:
        raise Failed("the engine didn't tell what there is at that path") from error


@click.command(short_help="Write a container's file system as a tar archive", context_settings=HELP)
@click.option("-o", "--output", default="", help="File to write instead of stdout")
@click.argument("name", metavar="CONTAINER", shell_complete=completion.containers)
@engine_command
async def export(client: Client, output: str, name: str) -> None:
    """Write the whole file system of a container as a tar archive."""
    refuse_terminal(output)
    async with client.stream("GET", f"/containers/{name}/export") as chunks:
        await save_to(chunks, output)


def refuse_terminal(output: str) -> None:
    """A terminal shows no archives."""
    if not output and sys.stdout.isatty():
        raise Failed("cowardly refusing to save to a terminal: use the -o flag or redirect")


@click.command(short_help="Make an image of a container's changes", context_settings=HELP)
@click.option("-a", "--author", default="", help="Author")
@click.option("-c", "--change", "changes", multiple=True, help="Dockerfile instruction, such as 'ENV A=1'")
@click.option("-m", "--message", default="", help="Message")
@click.option("-p/-P", "--pause/--no-pause", default=True, help="Freeze the container meanwhile")
@click.argument("name", metavar="CONTAINER", shell_complete=completion.containers)
@click.argument("image", metavar="[REPOSITORY[:TAG]]", default="")
@engine_command
async def commit(
    client: Client, author: str, changes: tuple[str, ...], message: str, pause: bool, name: str, image: str
) -> None:
    """Make an image of what a container has changed, and print its ID."""
    repository, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = image, ""
    query: dict[str, str | int | bool] = {
        "container": name,
        "repo": repository,
        "tag": tag,
        "author": author,
        "comment": message,
        "pause": pause,
    }
    if changes:
        query["changes"] = "\n".join(changes)
    made = await client.post("/commit", dict[str, Any], query, {})
    click.echo(made["Id"])
