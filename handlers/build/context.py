"""A build's context: where its files come from, and its Dockerfile."""

import posixpath
from pathlib import Path

import msgspec
from anyio import open_file
from anyio.to_thread import run_sync

from events.errors import EngineError, InvalidParameter, SystemFailure, Unsupported
from events.messages.build import BuildImage
from handlers import compression
from handlers.addresses import Source, source_of
from handlers.build.bases import check_platform
from handlers.build.errors import NoSuchDockerfile
from handlers.build.patterns import ignores
from handlers.build.ports import Web
from handlers.build.tree import Tree, inside, lone_file, read_tree
from handlers.dockerfile.errors import InvalidDockerfile
from handlers.dockerfile.grammar import Dockerfile, parse
from handlers.kernel.calls import attempt
from handlers.kernel.threads import run_long
from handlers.tar_entries import BadArchive, Stream, entries

DOCKERFILE = "Dockerfile"
_IGNORE_FILE = ".dockerignore"
_DOCKERFILE_LIMIT_BYTES = 4 * 1024 * 1024
_IGNORE_LIMIT_BYTES = 1024 * 1024
_GIT_BEGINNINGS = ("git://", "git@", "github.com/")


class Prepared(msgspec.Struct, frozen=True):
    """What a build begins with."""

    tree: Tree
    dockerfile: Dockerfile


async def prepare(command: BuildImage, directory: Path, web: Web, now_ns: int) -> Prepared:
    """Read the context into files of a directory. Raises InvalidParameter for what is none."""
    if command.platform:
        check_platform(command.platform)
    archive, name = Path(command.context), command.dockerfile or DOCKERFILE
    if command.remote:
        archive = await _remote(command.remote, directory, web)
    plain = directory / "context.tar"
    if command.remote and not await run_long(_is_archive, archive):
        size_bytes = (await run_sync(archive.stat)).st_size
        tree, name = lone_file(DOCKERFILE, size_bytes, archive), DOCKERFILE
    elif not command.context and not command.remote:
        raise NoSuchDockerfile(name)
    else:
        tree = await run_long(read_tree, archive, plain, now_ns)
    return Prepared(tree, await run_long(_dockerfile, tree, name))


def is_git(remote: str) -> bool:
    """Whether an address is that of a repository, as dockerd tells them (moby 20.10, pkg/urlutil)."""
    if remote.startswith(("http://", "https://")):
        return remote.partition("#")[0].endswith(".git")
    return remote.startswith(_GIT_BEGINNINGS)


async def _remote(remote: str, directory: Path, web: Web) -> Path:
    if is_git(remote):
        raise Unsupported("contexts from git repositories are not supported yet")
    address, path = source_of(remote), directory / "remote"
    try:
        await download(web, address, path)
    except EngineError as error:
        raise SystemFailure(f"error downloading remote context {address.url}: {error}") from error
    return path


async def download(web: Web, address: Source, path: Path) -> int:
    """Write what is behind an address to a new file; its size in bytes. Raises as `Web.open`."""
    size_bytes = 0
    async with web.open(address.url, address.credentials) as answer:
        with attempt(f"write {path}"):
            async with await open_file(path, "xb") as file:
                async for chunk in answer.chunks:
                    size_bytes += await file.write(chunk)
    return size_bytes


def _is_archive(path: Path) -> bool:
    """Whether a file begins as a tar does, compressed or not. Blocks."""
    try:
        with attempt(f"read {path}"), path.open("rb") as file:
            return next(entries(Stream(compression.blocks(file))), None) is not None
    except (BadArchive, InvalidParameter):
        return False


def _dockerfile(tree: Tree, name: str) -> Dockerfile:
    """The Dockerfile, which goes out of the tree where .dockerignore says so. Blocks."""
    wanted = inside(name)
    node = tree.find(wanted)
    if node is None and wanted == DOCKERFILE:
        wanted = DOCKERFILE.lower()
        node = tree.find(wanted)
    if node is None or node.is_directory:
        raise NoSuchDockerfile(name)
    if not node.entry.size:
        raise InvalidParameter(f"the Dockerfile ({posixpath.basename(wanted)}) cannot be empty")
    if node.entry.size > _DOCKERFILE_LIMIT_BYTES:
        raise InvalidDockerfile(f"{node.entry.size} bytes, at most {_DOCKERFILE_LIMIT_BYTES} are taken")
    content = b"".join(tree.content(node)).decode(errors="replace")
    _leave_out(tree, wanted)
    return parse(content)


def _leave_out(tree: Tree, dockerfile: str) -> None:
    """As in dockerd, .dockerignore is the client's to follow; here it is asked of itself and of the Dockerfile."""
    node = tree.find(_IGNORE_FILE)
    if node is None or node.is_directory or node.entry.size > _IGNORE_LIMIT_BYTES:
        return
    patterns = b"".join(tree.content(node)).decode(errors="replace").splitlines()
    for name in (_IGNORE_FILE, dockerfile):
        if ignores(patterns, name):
            tree.remove(name)
