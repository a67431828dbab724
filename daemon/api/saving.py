"""Endpoints that send images as an archive (`docker save`): part by part, in memory that doesn't grow with them."""

import logging
import tarfile
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Final, Self, TypeVar

import anyio

from daemon.api.commands import send
from daemon.api.engine import Engine
from daemon.api.platforms import check_saving
from daemon.http.messages import Answer, Request, StreamResponse
from events.base import Command
from events.errors import EngineError, InvalidParameter, NotFound
from events.lookup import find_image
from events.messages.image import RecordSaving
from events.messages.layer import READING, HoldLayers, ReleaseLayers
from events.projections.images import Image
from events.projections.layers import Layer
from handlers.images.saving import Member, SavedImage, chosen, members
from handlers.layers.ports import Chunks, LayerTars

Answered = TypeVar("Answered")
LOGGER = logging.getLogger(__name__)
_END_S: Final = 60.0
_AT_ONCE: Final = 4  # tars: what is ahead waits at its full pipe
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
    reading = Reading(engine, request)
    try:
        await reading.begin(tuple(wanted))
        saved = [await _saved(engine, image_id, references) for image_id, references in wanted.items()]
        layers = {layer.diff_id: layer for image in saved for layer in image.layers}
        tars = engine.layer_tars.several({layer.cache_id: layer.diff_id for layer in layers.values()})
        sizes = {diff_id: await tars.tar_size(layer.cache_id) for diff_id, layer in layers.items()}
        _, headers = await send(engine, request, RecordSaving(image_ids=tuple(wanted)))
    except BaseException:
        await reading.end()
        raise
    chunks = Held(archive(tars, members(saved, sizes)), reading)
    return StreamResponse(headers=headers, content_type="application/x-tar", chunks=chunks)


class LayerGone(NotFound):
    """An image is being removed at this moment."""

    def __init__(self, chain_id: str) -> None:
        self.chain_id = chain_id
        super().__init__(f"layer does not exist: {chain_id}")


class Reading:
    """Keeps images' layers on disk while they are sent, whoever removes the images meanwhile."""

    def __init__(self, engine: Engine, request: Request) -> None:
        self._engine, self._request = engine, request
        self._holder = f"{READING}{engine.ids.new()}"
        self._is_over = False

    async def begin(self, image_ids: Sequence[str]) -> None:
        """Raises NoSuchImage for one that is gone, LayerGone for one that is going."""
        images = [find_image(self._engine.state.images, image_id) for image_id in image_ids]
        chain_ids = tuple(dict.fromkeys(chain_id for image in images for chain_id in image.layers))
        held = await self._send(HoldLayers(chain_ids=chain_ids, holder=self._holder))
        if len(held.sizes_bytes) < len(chain_ids):
            raise LayerGone(chain_ids[len(held.sizes_bytes)])

    async def end(self) -> None:
        """Once is enough. What can't be given up now is at the engine's next start."""
        if self._is_over:
            return
        self._is_over = True
        with anyio.move_on_after(_END_S, shield=True):
            try:
                await self._send(ReleaseLayers(holder=self._holder))
            except EngineError:
                LOGGER.warning("layers that were read are still held", exc_info=True)

    async def _send(self, command: Command[Answered]) -> Answered:
        return await self._engine.dispatch(self._request.actor, command, command_id=self._engine.ids.new())


class Held:
    """Chunks of an archive; when they end, or are closed before, the reading is over."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], reading: Reading) -> None:
        self._chunks, self._reading = chunks, reading

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next chunk."""
        try:
            return await anext(self._chunks)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """End it."""
        try:
            await self._chunks.aclose()
        finally:
            await self._reading.end()


async def _saved(engine: Engine, image_id: str, names: tuple[str, ...]) -> SavedImage:
    image = find_image(engine.state.images, image_id)
    config = await engine.image_content.read(image.id)
    return SavedImage(config=config, layers=tuple(_layers(engine, image)), names=names)


def _layers(engine: Engine, image: Image) -> list[Layer]:
    found = [engine.state.layers.get(chain_id) for chain_id in image.layers]
    return [layer for layer in found if layer is not None]


async def archive(tars: LayerTars, parts: Sequence[Member]) -> AsyncGenerator[bytes, None]:
    """The bytes of an archive of these.

    The next layers' tars are begun while one is sent: each is a process, which takes its time to come and to go.
    """
    waiting = deque(part.layer for part in parts if part.layer is not None)
    begun: deque[Chunks] = deque()
    try:
        for part in parts:
            yield _header(part)
            if part.layer is None:
                yield part.content
            else:
                while waiting and len(begun) < _AT_ONCE:
                    layer = waiting.popleft()
                    begun.append(await tars.tar(layer.cache_id, layer.diff_id))
                async for chunk in begun[0]:
                    yield chunk
                begun.popleft()
            yield bytes(-part.size % _BLOCK_BYTES)
        yield _END
    finally:
        for chunks in begun:
            await chunks.aclose()


def _header(part: Member) -> bytes:
    """The same for the same content: no time, no user."""
    entry = tarfile.TarInfo(part.name)
    entry.size, entry.mode = part.size, 0o644
    if part.link:
        entry.type, entry.mode, entry.linkname = tarfile.SYMTYPE, 0o777, part.link
    elif part.name.endswith("/"):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    return entry.tobuf(tarfile.PAX_FORMAT)
