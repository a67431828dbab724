"""Images: list, pull, push, tag, remove, load, save, import, history."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
import msgspec

from clients.api import ApiError, Client
from clients.cli import completion, human
from clients.cli.app import FAILED, HELP, Failed, confirm, engine_command, filters, section, tell
from clients.cli.archives import save_to, standard_input
from clients.cli.commands.files import refuse_terminal
from clients.cli.credentials import registry_headers
from clients.cli.listing import Column, Listing, Row, show
from clients.cli.progress import show as show_progress
from clients.cli.progress import show_pull, split_reference

LISTING = Listing(
    columns=(
        Column("Repository", "REPOSITORY"),
        Column("Tag", "TAG"),
        Column("ID", "IMAGE ID"),
        Column("CreatedSince", "CREATED"),
        Column("Size", "SIZE"),
    ),
    titles={
        "Repository": "REPOSITORY",
        "Tag": "TAG",
        "Digest": "DIGEST",
        "ID": "IMAGE ID",
        "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT",
        "Size": "SIZE",
        "SharedSize": "SHARED SIZE",
        "UniqueSize": "UNIQUE SIZE",
        "VirtualSize": "SIZE",
        "Containers": "CONTAINERS",
    },
    quiet="ID",
)
HISTORY = Listing(
    columns=(
        Column("ID", "IMAGE"),
        Column("CreatedSince", "CREATED"),
        Column("CreatedBy", "CREATED BY"),
        Column("Size", "SIZE"),
        Column("Comment", "COMMENT"),
    ),
    titles={
        "ID": "IMAGE",
        "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT",
        "CreatedBy": "CREATED BY",
        "Size": "SIZE",
        "Comment": "COMMENT",
    },
    quiet="ID",
)
_NONE = "<none>"
trust_option = click.option(
    "--disable-content-trust",
    is_flag=True,
    expose_value=False,
    help="As it always is: signatures are a matter of the engine's trust policy",
)
_SHORT_ID, _COMMAND_LENGTH = 12, 45


@click.command(short_help="List images", context_settings=HELP)
@click.option("-a", "--all", "everything", is_flag=True, help="Intermediate images too")
@click.option("--digests", is_flag=True, help="Show digests")
@click.option(
    "-f",
    "--filter",
    "wanted",
    multiple=True,
    metavar="KEY=VALUE",
    help="Such as dangling=true, label=tier, reference='web*'",
)
@click.option("--format", "format_", default="", help="'table', 'table TEMPLATE', 'json' or a Go template")
@click.option("--no-trunc", is_flag=True, help="Don't shorten what is shown")
@click.option("-q", "--quiet", is_flag=True, help="Only show image IDs")
@click.argument("name", metavar="[REPOSITORY[:TAG]]", default="", shell_complete=completion.images)
@engine_command
async def images(
    client: Client,
    everything: bool,
    digests: bool,
    wanted: tuple[str, ...],
    format_: str,
    no_trunc: bool,
    quiet: bool,
    name: str,
) -> None:
    """List images."""
    chosen = filters(wanted)
    if name:
        chosen.setdefault("reference", []).append(name)
    query: dict[str, str | int | bool] = {"all": everything, "shared-size": "Size}}" in format_}
    if chosen:
        query["filters"] = msgspec.json.encode(chosen).decode()
    found = await client.get("/images/json", list[dict[str, Any]], query)
    listing = LISTING
    if digests:
        columns = (*LISTING.columns[:2], Column("Digest", "DIGEST"), *LISTING.columns[2:])
        listing = msgspec.structs.replace(LISTING, columns=columns)
    with_digests = digests or "{{.Digest}}" in format_
    rows = [row for image in found for row in rows_of(image, whole=no_trunc, digests=with_digests)]
    show(listing, rows, format_, quiet=quiet)


def rows_of(image: dict[str, Any], *, whole: bool, digests: bool) -> Iterator[Row]:
    """A row for each name of an image; one of `<none>` for an image without."""
    by_repository = {
        name: digest for name, _, digest in (each.partition("@") for each in image.get("RepoDigests") or ())
    }
    tags = [tag for tag in image.get("RepoTags") or () if tag != f"{_NONE}:{_NONE}"]
    names = [split_reference(tag) for tag in tags] or [(next(iter(by_repository), _NONE), _NONE)]
    shared = image.get("SharedSize", -1)
    for repository, tag in names:
        yield {
            "Repository": repository,
            "Tag": tag or _NONE,
            "Digest": by_repository.get(repository, _NONE) if digests else _NONE,
            "ID": image["Id"] if whole else image["Id"].removeprefix("sha256:")[:_SHORT_ID],
            "CreatedSince": human.ago(image["Created"]),
            "CreatedAt": human.moment(image["Created"]),
            "Size": human.size(image["Size"], 3),
            "VirtualSize": human.size(image["Size"], 3),
            "SharedSize": human.size(shared, 3) if shared >= 0 else "N/A",
            "UniqueSize": human.size(image["Size"] - shared, 3) if shared >= 0 else "N/A",
            "Containers": str(image["Containers"]) if image.get("Containers", -1) >= 0 else "N/A",
        }


@click.command(short_help="Fetch an image from a registry", context_settings=HELP)
@click.option("-a", "--all-tags", is_flag=True, help="All tags of the repository")
@click.option("--platform", default="", help="Platform, such as linux/arm64")
@click.option("-q", "--quiet", is_flag=True, help="Only print its name")
@trust_option
@click.argument("name", metavar="NAME[:TAG|@DIGEST]")
@engine_command
async def pull(client: Client, all_tags: bool, platform: str, quiet: bool, name: str) -> None:
    """Fetch an image from a registry."""
    repository, tag = split_reference(name)
    if all_tags and tag:
        raise click.UsageError("tag can't be used with --all-tags/-a")
    if not (all_tags or tag) and not quiet:
        click.echo("Using default tag: latest")
    await show_pull(client, name, platform, quiet=quiet, everything=all_tags)
    if quiet:
        click.echo(name if tag or all_tags else f"{repository}:latest")


@click.command(short_help="Send an image to a registry", context_settings=HELP)
@click.option("-a", "--all-tags", is_flag=True, help="All tags of the repository")
@click.option("--platform", default="", help="Only if it is for this platform, such as linux/amd64")
@click.option("-q", "--quiet", is_flag=True, help="Only print its name")
@trust_option
@click.argument("name", metavar="NAME[:TAG]", shell_complete=completion.images)
@engine_command
async def push(client: Client, all_tags: bool, platform: str, quiet: bool, name: str) -> None:
    """Send an image to the registry that its name says."""
    repository, tag = split_reference(name)
    if all_tags and tag:
        raise click.UsageError("tag can't be used with --all-tags/-a")
    query: dict[str, str | int | bool] = {} if all_tags else {"tag": tag or "latest"}
    if platform:
        query["platform"] = msgspec.json.encode(platform_of(platform)).decode()
    headers = registry_headers(repository) or {"X-Registry-Auth": "e30="}  # an empty object: the API wants the header
    async with client.stream("POST", f"/images/{repository}/push", query, headers=headers) as chunks:
        await show_progress(chunks, sys.stdout, quiet=quiet)
    if quiet:
        click.echo(name)


@click.command(short_help="Give an image another name", context_settings=HELP)
@click.argument("source", metavar="SOURCE[:TAG]", shell_complete=completion.images)
@click.argument("target", metavar="TARGET[:TAG]")
@engine_command
async def tag(client: Client, source: str, target: str) -> None:
    """Give an image another name."""
    repository, name = split_reference(target)
    await client.act("POST", f"/images/{source}/tag", {"repo": repository, "tag": name or "latest"})


@click.command(short_help="Remove images", context_settings=HELP)
@click.option("-f", "--force", is_flag=True, help="Even if it has several names or a stopped container uses it")
@click.option("--no-prune", is_flag=True, help="Leave untagged parents")
@click.option("--platform", "platforms", multiple=True, help="Only if it is for this platform")
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...", shell_complete=completion.images)
@engine_command
async def rmi(client: Client, force: bool, no_prune: bool, platforms: tuple[str, ...], names: tuple[str, ...]) -> int:
    """Remove names of images, and images that have no name left."""
    code = 0
    words = [("force", str(force).lower()), ("noprune", str(no_prune).lower())]
    words += [("platforms", msgspec.json.encode(platform_of(platform)).decode()) for platform in platforms]
    for name in names:
        try:
            removed = await client.delete(f"/images/{name}?{urlencode(words)}", list[dict[str, str]])
        except ApiError as error:
            tell(error)
            code = FAILED
            continue
        for each in removed:
            for word, text in each.items():
                click.echo(f"{word}: {text}")
    return code


@click.command(short_help="Load images from an archive", context_settings=HELP)
@click.option(
    "-i",
    "--input",
    "source",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="File to read instead of stdin",
)
@click.option("--platform", default="", help="Only this platform")
@click.option("-q", "--quiet", is_flag=True, help="Without progress")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
@engine_command
async def load(client: Client, source: Path | None, platform: str, quiet: bool, file: Path | None) -> None:
    """Load images from a docker-archive or an OCI archive, compressed or not."""
    path = source or file
    if path is None and sys.stdin.isatty():
        raise click.UsageError("requested load from stdin, but stdin is empty: use --input FILE or a pipe")
    query: dict[str, str | int | bool] = {"quiet": quiet or not sys.stdout.isatty()}
    if platform:
        query["platform"] = msgspec.json.encode(platform_of(platform)).decode()
    upload = standard_input() if path is None else None
    async with client.stream("POST", "/images/load", query, file=path, upload=upload) as chunks:
        await show_progress(chunks, sys.stdout)


def platform_of(text: str) -> dict[str, str]:
    """`linux/arm64/v8` as OCI has it."""
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


@click.command(short_help="Write images to an archive", context_settings=HELP)
@click.option("-o", "--output", default="", help="File to write instead of stdout")
@click.option("--platform", default="", help="Only this platform")
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...", shell_complete=completion.images)
@engine_command
async def save(client: Client, output: str, platform: str, names: tuple[str, ...]) -> None:
    """Write images, with their names, to an archive that `load` understands."""
    refuse_terminal(output)
    path = "/images/get?" + "&".join(f"names={name}" for name in names)
    if platform:
        path += f"&platform={msgspec.json.encode(platform_of(platform)).decode()}"
    async with client.stream("GET", path) as chunks:
        await save_to(chunks, output)


@click.command(
    short_help="Not in this command line yet: use docker build",
    context_settings={**HELP, "ignore_unknown_options": True},
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="...")
def build(words: tuple[str, ...]) -> None:
    """Say what to do instead: this command line doesn't send contexts, docker's does.

    \b
    DOCKER_HOST=unix:///run/shiplog/shiplog.sock DOCKER_BUILDKIT=0 docker build ...
    """
    del words
    raise Failed("use docker's command line to build: `DOCKER_HOST=unix://SOCKET DOCKER_BUILDKIT=0 docker build ...`")


@click.command("import", short_help="Make an image of a tar archive of files", context_settings=HELP)
@click.option("-c", "--change", "changes", multiple=True, help="Dockerfile instruction, such as 'CMD [\"sh\"]'")
@click.option("-m", "--message", default="", help="Message")
@click.option("--platform", default="", help="Platform of the image")
@click.argument("source", metavar="FILE|URL|-")
@click.argument("name", metavar="[REPOSITORY[:TAG]]", default="")
@engine_command
async def import_(
    client: Client, changes: tuple[str, ...], message: str, platform: str, source: str, name: str
) -> None:
    """Make an image whose only layer is a tar archive of a file system."""
    repository, version = split_reference(name) if name else ("", "")
    is_address = "://" in source
    query: dict[str, str | int | bool] = {
        "fromSrc": source if is_address else "-",
        "repo": repository,
        "tag": version,
        "message": message,
        "platform": platform,
    }
    if changes:
        query["changes"] = "\n".join(changes)
    upload = standard_input() if source == "-" else None
    file = None if is_address or source == "-" else Path(source)
    async with client.stream("POST", "/images/create", query, file=file, upload=upload) as chunks:
        await show_progress(chunks, sys.stdout)


@click.command(short_help="Show how an image was made", context_settings=HELP)
@click.option("--format", "format_", default="", help="'table', 'table TEMPLATE', 'json' or a Go template")
@click.option("-H", "--human/--no-human", "readable", default=True, help="Sizes and dates for people")
@click.option("--no-trunc", is_flag=True, help="Don't shorten what is shown")
@click.option("-q", "--quiet", is_flag=True, help="Only show IDs")
@click.argument("name", metavar="IMAGE", shell_complete=completion.images)
@engine_command
async def history(client: Client, format_: str, readable: bool, no_trunc: bool, quiet: bool, name: str) -> None:
    """Show the steps that made an image, the latest first."""
    found = await client.get(f"/images/{name}/history", list[dict[str, Any]])
    rows = [_step(each, whole=no_trunc, readable=readable) for each in found]
    show(HISTORY, rows, format_, quiet=quiet)


def _step(step: dict[str, Any], *, whole: bool, readable: bool) -> Row:
    command = " ".join(step["CreatedBy"].split())
    created = human.moment(step["Created"])
    return {
        "ID": step["Id"] if whole else step["Id"].removeprefix("sha256:")[:_SHORT_ID],
        "CreatedSince": human.ago(step["Created"]) if readable else created,
        "CreatedAt": created,
        "CreatedBy": command if whole else human.shortened(command, _COMMAND_LENGTH),
        "Size": human.size(step["Size"], 3) if readable else str(step["Size"]),
        "Comment": step.get("Comment", ""),
    }


@click.command(short_help="Remove images that nobody uses", context_settings=HELP)
@click.option(
    "-a", "--all", "everything", is_flag=True, help="All that no container uses, not only those without a name"
)
@click.option("--filter", "wanted", multiple=True, metavar="KEY=VALUE", help="Such as until=24h or label=tier")
@click.option("-f", "--force", is_flag=True, help="Don't ask")
@engine_command
async def prune(client: Client, everything: bool, wanted: tuple[str, ...], force: bool) -> int | None:
    """Remove images without a name, or with --all those that no container uses."""
    kind = "all images without at least one container associated to them" if everything else "all dangling images"
    if not confirm(f"This will remove {kind}.", force=force):
        return FAILED
    chosen = filters(wanted) | ({"dangling": ["false"]} if everything else {})
    pruned = await client.post("/images/prune", dict[str, Any], {"filters": msgspec.json.encode(chosen).decode()})
    if pruned.get("ImagesDeleted"):
        click.echo("Deleted Images:")
        for each in pruned["ImagesDeleted"]:
            for word, text in each.items():
                click.echo(f"{word.lower()}: {text}")
        click.echo()
    click.echo(f"Total reclaimed space: {human.size(pruned['SpaceReclaimed'])}")
    return None


image = section(
    "image",
    "Manage images",
    {
        "build": "clients.cli.commands.images:build",
        "history": "clients.cli.commands.images:history",
        "import": "clients.cli.commands.images:import_",
        "inspect": "clients.cli.commands.inspect:image",
        "load": "clients.cli.commands.images:load",
        "ls": "clients.cli.commands.images:images",
        "prune": "clients.cli.commands.images:prune",
        "pull": "clients.cli.commands.images:pull",
        "push": "clients.cli.commands.images:push",
        "rm": "clients.cli.commands.images:rmi",
        "save": "clients.cli.commands.images:save",
        "tag": "clients.cli.commands.images:tag",
    },
)
