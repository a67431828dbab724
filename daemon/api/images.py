"""Endpoints about images."""

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from daemon.api import transfers
from daemon.api.answers import as_json, as_lines, empty
from daemon.api.commands import send
from daemon.api.engine import Engine
from daemon.api.image_filters import KEYS, Row, select
from daemon.api.manifests import inspected_manifests, listed_manifests
from daemon.api.platforms import check_image, check_load, check_removal
from daemon.http.messages import Answer, Request
from daemon.http.query import boolean, filters, text
from daemon.shapes.images import SharedSizes, history, inspection, layer_size, summary
from daemon.shapes.secrets import open_image
from events.errors import EngineError, InvalidParameter
from events.lookup import find_image
from events.messages.image import ImportImage, LoadImages, PruneImage, RemovedImage, RemoveImage, TagImage
from events.references import tagged
from handlers.images.removal_plan import plan_prune

LOGGER = logging.getLogger(__name__)
UPLOAD_S: Final = 3600.0  # for what an archive of any size leads to
_UNLINK_S: Final = 10.0


async def list_images(engine: Engine, request: Request) -> Answer:
    """`GET /images/json`."""
    wanted = filters(request.query, KEYS)
    found = select(engine.state, wanted, engine.clock.now_ns(), intermediate=boolean(request.query, "all"))
    with_shared = request.version >= (1, 42) and boolean(request.query, "shared-size")
    shared = SharedSizes(engine.state) if with_shared else None
    return as_json([await _entry(engine, request, row, shared) for row in found])


async def _entry(engine: Engine, request: Request, row: Row, shared: SharedSizes | None) -> dict[str, object]:
    containers = len(engine.state.images.users(row.image.id)) if request.version >= (1, 51) else -1
    entry = summary(row.image, engine.state, containers, request.version, (row.tags, row.digests))
    entry |= {"SharedSize": shared.file_bytes(row.image)} if shared else {}
    return entry | await listed_manifests(engine, request, row.image)


async def inspect_image(engine: Engine, request: Request) -> Answer:
    """`GET /images/{name}/json`."""
    image = find_image(engine.state.images, request.parameters["name"])
    manifests = await inspected_manifests(engine, request, image)
    check_image(request, image, since=(1, 49))
    shown = open_image(image, engine.keyring)
    return as_json(inspection(shown, engine.state, engine.layout, request.version) | manifests)


async def image_history(engine: Engine, request: Request) -> Answer:
    """`GET /images/{name}/history`."""
    image = find_image(engine.state.images, request.parameters["name"])
    check_image(request, image, since=(1, 48))
    return as_json(history(open_image(image, engine.keyring), engine.state))


async def tag_image(engine: Engine, request: Request) -> Answer:
    """`POST /images/{name}/tag`."""
    reference = tagged(text(request.query, "repo"), text(request.query, "tag"))
    command = TagImage(source=request.parameters["name"], reference=reference)
    _, headers = await send(engine, request, command)
    return empty(201, headers)


async def remove_image(engine: Engine, request: Request) -> Answer:
    """`DELETE /images/{name}`."""
    if "platforms" in request.query:
        check_removal(request, find_image(engine.state.images, request.parameters["name"]))
    command = RemoveImage(
        name=request.parameters["name"],
        force=boolean(request.query, "force"),
        prune=not boolean(request.query, "noprune"),
    )
    removed, headers = await send(engine, request, command)
    lines = [{"Untagged": name} for name in removed.untagged] + [{"Deleted": name} for name in removed.deleted]
    return as_json(lines, 200, headers)


async def load_images(engine: Engine, request: Request) -> Answer:
    """`POST /images/load`; like Docker it answers 200 and tells a failure in the stream."""
    check_load(request)
    async with spooled(engine, request) as path:
        try:
            loaded, headers = await send(engine, request, LoadImages(path=str(path)), UPLOAD_S)
        except InvalidParameter as error:
            return as_lines([{"errorDetail": {"message": str(error)}, "error": str(error)}])
    return as_lines(({"stream": f"{line}\n"} for line in loaded.lines), headers)


async def create_image(engine: Engine, request: Request) -> Answer:
    """`POST /images/create`: a pull, or an import from the body."""
    source = text(request.query, "fromSrc")
    if source == "-":
        return await _import(engine, request)
    if source:
        return await transfers.fetch(engine, request, source, _reference(request))
    return await transfers.pull(engine, request)


def _reference(request: Request) -> str:
    repository = text(request.query, "repo")
    return tagged(repository, text(request.query, "tag")) if repository else ""


async def _import(engine: Engine, request: Request) -> Answer:
    reference = _reference(request)
    async with spooled(engine, request) as path:
        command = ImportImage(
            path=str(path),
            source="-",
            reference=reference,
            message=text(request.query, "message"),
            changes=tuple(request.query.get("changes", ())),
            platform=text(request.query, "platform"),
        )
        imported, headers = await send(engine, request, command, UPLOAD_S)
    return as_lines([{"status": imported.image_id}], headers)


@asynccontextmanager
async def scratch_file(engine: Engine, kind: str) -> AsyncIterator[Path]:
    """A path for a file that a command needs for as long as it runs."""
    path = engine.scratch / f"{kind}-{secrets.token_hex(16)}"
    try:
        yield path
    finally:
        with anyio.move_on_after(_UNLINK_S, shield=True):
            await to_thread.run_sync(lambda: path.unlink(missing_ok=True))


@asynccontextmanager
async def spooled(engine: Engine, request: Request) -> AsyncIterator[Path]:
    """The request's body as a file, for as long as the command that reads it runs."""
    async with scratch_file(engine, "upload") as path:
        await request.spool(path)
        yield path


async def prune_images(engine: Engine, request: Request) -> Answer:
    """`POST /images/prune`: what no container uses and, unless `dangling=false`, what has no name either."""
    wanted = filters(request.query, frozenset({"dangling", "label", "label!", "until"}))
    dangling = select_dangling(wanted)
    rest = {key: values for key, values in wanted.items() if key != "dangling"}
    deleted: list[dict[str, str]] = []
    reclaimed = 0
    for row in select(engine.state, rest, engine.clock.now_ns(), intermediate=False):
        image = row.image
        if plan_prune(engine.state, image, dangling=dangling) is not None:
            sizes = {chain_id: layer_size(chain_id, engine.state) for chain_id in image.layers}
            removed = await _pruned(engine, request, PruneImage(image_id=image.id, dangling=dangling))
            deleted += [{"Untagged": name} for name in removed.untagged]
            deleted += [{"Deleted": gone} for gone in removed.deleted]
            reclaimed += sum(sizes.get(gone, 0) for gone in removed.deleted)
    return as_json({"ImagesDeleted": deleted or None, "SpaceReclaimed": reclaimed})


def select_dangling(wanted: dict[str, tuple[str, ...]]) -> bool:
    """Whether only images without a name go; that is the default."""
    values = wanted.get("dangling", ())
    return not values or values[0] in ("1", "true")


async def _pruned(engine: Engine, request: Request, command: PruneImage) -> RemovedImage:
    """What became of one image; nothing when it can't go after all."""
    try:
        return await engine.dispatch(request.actor, command, command_id=engine.ids.new())
    except EngineError:
        LOGGER.warning("image %s can't be pruned", command.image_id, exc_info=True)
        return RemovedImage()
