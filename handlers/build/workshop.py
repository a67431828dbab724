"""Where steps become images: files in the build's directory, layers that nobody runs anything in, and the cache."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
from anyio.to_thread import run_sync

from events.errors import EngineError
from events.lookup import find_image
from events.messages import layer as m
from events.messages.build import BuildImage
from events.messages.image import AssembleImage, ImageConfig, RunConfig
from events.opened import open_image
from handlers.build import cache
from handlers.build.ports import Outputs, Web
from handlers.build.sources import Placement
from handlers.build.stages import Position
from handlers.build.telling import Telling
from handlers.context import Context

CLEANUP_LIMIT_S = 120.0


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What a build works with. `directory` is its own."""

    outputs: Outputs
    web: Web
    telling: Telling
    directory: Path


class Changes(msgspec.Struct, frozen=True):
    """What a step has changed, as a layer's tar."""

    path: Path
    archived: m.ArchivedChanges


class Workshop:
    """Of one build."""

    def __init__(self, context: Context, command: BuildImage, means: Means) -> None:
        self.context, self.command, self.means = context, command, means
        self._files = 0

    def new_file(self, kind: str) -> Path:
        """A path that nothing is at yet."""
        self._files += 1
        return self.means.directory / f"{self._files}-{kind}"

    def top_of(self, image_id: str) -> str:
        """The chain id of an image's topmost layer; "" for none."""
        image = self.context.state.images.get(image_id)
        return image.layers[-1] if image is not None and image.layers else ""

    @asynccontextmanager
    async def layer(self, parent: str) -> AsyncIterator[str]:
        """A read-write layer upon `parent` (chain id, "" for none); it goes again."""
        layer_id = self.context.ids.new()
        try:
            await self.context.send(m.CreateContainerLayer(container_id=layer_id, parent=parent))
            yield layer_id
        finally:
            with anyio.move_on_after(CLEANUP_LIMIT_S, shield=True):
                await self.context.send(m.RemoveContainerLayer(container_id=layer_id))

    async def place(
        self, placement: Placement, layer_id: str, parent: str | None, destination: str, owner: str = ""
    ) -> None:
        """Put files into a layer; `parent` as in CopyIntoLayer. Raises as the layer handler."""
        command = m.CopyIntoLayer(
            container_id=layer_id,
            parent=parent,
            path=str(placement.archive),
            destination=destination,
            is_directory=placement.is_directory,
            owner=owner if placement.is_owned else "",
        )
        await self.context.send(command)

    async def changes(self, layer_id: str, parent: str | None) -> Changes:
        """What a layer has other than what is below it."""
        path = self.new_file("changes.tar")
        command = m.ArchiveChanges(container_id=layer_id, parent=parent, path=str(path))
        return Changes(path, await self.context.send(command))

    async def was_done(self, at: Position, config: RunConfig, created_by: str) -> bool:
        """Whether the image of a step is there; then the build goes on from it."""
        hit = self._hit(at, config, created_by) if self.command.uses_cache and not at.has_missed else None
        if hit is None:
            at.has_missed = True
            return False
        self.means.telling.using_cache()
        if hit.image_id:
            at.image_id, at.config = hit.image_id, config
        else:
            step = AssembleImage(config=config, created_by=created_by, diff_id=hit.diff_id, created=hit.created)
            await self._go_on(at, config, step)
        return True

    async def assemble(
        self,
        at: Position,
        config: RunConfig,
        created_by: str,
        changes: Changes | None = None,
        *,
        container_id: str = "",
    ) -> None:
        """Make the image of a step, and go on from it."""
        step = AssembleImage(config=config, created_by=created_by, container_id=container_id)
        if changes is None:
            await self._go_on(at, config, step)
            return
        archived = changes.archived
        step = msgspec.structs.replace(
            step, path=str(changes.path), diff_id=archived.diff_id, size_bytes=archived.size_bytes
        )
        await self._go_on(at, config, step)
        await run_sync(changes.path.unlink)

    async def _go_on(self, at: Position, config: RunConfig, step: AssembleImage) -> None:
        step = msgspec.structs.replace(step, parent=at.image_id, author=at.author)
        made = await self.context.send(step)
        at.image_id, at.config = made.image_id, config

    def _hit(self, at: Position, config: RunConfig, created_by: str) -> cache.Hit | None:
        images, keyring = self.context.state.images, self.context.keyring
        if not self.command.cache_from:
            return cache.built_here(images, keyring, at.image_id, config, created_by)
        found = []
        for name in self.command.cache_from:
            try:
                image = find_image(images, name)
            except EngineError:
                continue  # as in dockerd: what isn't here is no source
            found.append((image.id, open_image(image, keyring).config))
        below = images.get(at.image_id)
        return cache.of_sources(found, open_image(below, keyring).config if below else ImageConfig(), created_by)
