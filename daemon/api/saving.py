"""Endpoints that send images as an archive (`docker save`): part by part, in memory that doesn't grow with them."""

import tarfile
from collections.abc import AsyncIterator, Sequence
from typing import Final

from daemon.api.commands import send
from daemon.api.engine import Engine
from daemon.api.platforms import check_saving
from daemon.http.messages import Answer, Request, StreamResponse
from events.errors import InvalidParameter
from events.lookup import find_image
from events.messages.image import RecordSaving
from events.projections.images import Image
from events.projections.layers import Layer
from handlers.images.saving import Member, SavedImage, chosen, members

_BLOCK_BYTES: Final = 512
_END: Final = bytes(2 * _BLOCK_BYTES)


async def save_image(engine: Engine, request: Request) -> Answer:
    """`GET /images/{name}/get`."""
    return await _save(engine, request, (request.parameters["name"],))


async def save_images(engine: Engine, request: Request) -> Answer:
    """`GET /images/get`."""
    return await _save(engine, request, tuple(request.query.get("names", ())))


async def _save(engine: Engine, request: Request, names: Sequence[str]) -> Answer:
    if not names:
        raise InvalidParameter("no image was named: say names=")
    wanted = chosen(engine.state.images, names)
    for image_id in wanted:
        check_saving(request, find_image(engine.state.images, image_id))
    saved = [await _saved(engine, image_id, references) for image_id, references in wanted.items()]
    layers = {layer.diff_id: layer for image in saved for layer in image.layers}
    sizes = {diff_id: await engine.layer_tars.tar_size(layer.cache_id) for diff_id, layer in layers.items()}
    _, headers = await send(engine, request, RecordSaving(image_ids=tuple(wanted)))
    chunks = _archive(engine, members(saved, sizes))
    return StreamResponse(headers=headers, content_type="application/x-tar", chunks=chunks)


async def _saved(engine: Engine, image_id: str, names: tuple[str, ...]) -> SavedImage:
    image = find_image(engine.state.images, image_id)
    config = await engine.image_content.read(image.id)
    return SavedImage(config=config, layers=tuple(_layers(engine, image)), names=names)


def _layers(engine: Engine, image: Image) -> list[Layer]:
    found = [engine.state.layers.get(chain_id) for chain_id in image.layers]
    return [layer for layer in found if layer is not None]


async def _archive(engine: Engine, parts: Sequence[Member]) -> AsyncIterator[bytes]:
    for part in parts:
        yield _header(part)
        if part.layer is None:
            yield part.content
        else:
            chunks = await engine.layer_tars.tar(part.layer.cache_id, part.layer.diff_id)
            try:
                async for chunk in chunks:
                    yield chunk
            finally:
                await chunks.aclose()
        yield bytes(-part.size % _BLOCK_BYTES)
    yield _END


def _header(part: Member) -> bytes:
    """The same for the same content: no time, no user."""
    entry = tarfile.TarInfo(part.name)
    entry.size, entry.mode = part.size, 0o644
    if part.name.endswith("/"):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    return entry.tobuf(tarfile.PAX_FORMAT)
