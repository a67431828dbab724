"""LoadImages: an archive's images come in, verified, one after the other; those that are here already get names."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from events import references
from events.base import Event
from events.log import Append
from events.messages import image as m
from events.projections.layers import Layers, chain_id
from handlers.context import Context
from handlers.images import configuration, naming, spool
from handlers.images.archive import Missing, Region, open_archive
from handlers.images.content import ContentStore
from handlers.images.create import Plan, check, ensure_image
from handlers.images.errors import NotInArchive
from handlers.images.layouts import ArchivedImage, read_images
from handlers.images.platforms import host_platform
from handlers.kernel.threads import run_long
from handlers.turns import Turns


async def load_images(
    context: Context, command: m.LoadImages, content: ContentStore, scratch: Path, turns: Turns
) -> m.LoadedImages:
    """Take in an archive. Images before a bad one stay, as with Docker.

    Raises InvalidParameter for what isn't an archive of images or contradicts itself.
    """
    async with spool.plain_file(Path(command.path), scratch, context.ids.new()) as path:
        images = await run_long(lambda: read_images(open_archive(path), host_platform()))
        loaded = m.LoadedImages(lines=())
        for image in images:
            plan = _plan(context.state.layers, image, path)
            loading = Loading(plan=plan, names=image.names, before=loaded, is_last=image is images[-1])
            loaded = await _take_in(context, loading, content, turns)
    return loaded


class Loading(msgspec.Struct, frozen=True, kw_only=True):
    """One image of an archive; the last one's events conclude the command."""

    plan: Plan
    names: tuple[str, ...]
    before: m.LoadedImages  # what is told of the images before it
    is_last: bool


def _plan(layers: Layers, image: ArchivedImage, path: Path) -> Plan:
    config = configuration.parse(image.config)
    check(config, len(image.layers))
    return Plan(
        image_id=configuration.image_id(image.config),
        content=image.config,
        config=config,
        source=path,
        layers=tuple(_places(layers, image, config)),
        origin="load",
    )


def _places(layers: Layers, image: ArchivedImage, config: m.ImageConfig) -> Iterator[Region]:
    """Where layers lie; as with dockerd one that is here already needn't be in the archive. Raises NotInArchive."""
    chain = ""
    for place, diff_id in zip(image.layers, config.rootfs.diff_ids, strict=True):
        chain = chain_id(chain, diff_id)
        if not isinstance(place, Missing):
            yield place
        elif (known := layers.get(chain)) is not None and known.status == "ready":
            yield Region(0, 0)
        else:
            raise NotInArchive(place.name)


async def _take_in(context: Context, loading: Loading, content: ContentStore, turns: Turns) -> m.LoadedImages:
    image_id, images = loading.plan.image_id, context.state.images
    loaded = m.ImageLoaded(image_id=image_id, name=image_id)
    moved: dict[str, str] = {}

    async def conclude(made: tuple[Event, ...]) -> None:
        def decision() -> tuple[Append, ...]:
            decided = naming.give_names(images, image_id, loading.names, asked=False, made=made, conclusion=(loaded,))
            moved.clear()
            moved.update(decided.moved)
            return decided.appends

        answer = (lambda: _told(loading, moved)) if loading.is_last else None
        await naming.append_decided(context, decision, answer=answer)

    async with turns.of(image_id):
        await ensure_image(context, loading.plan, content, conclude)
    return _told(loading, moved)


def _told(loading: Loading, moved: dict[str, str]) -> m.LoadedImages:
    """What the client is told of this image and those before it."""
    lines = tuple(f"Loaded image: {references.familiar(name)}" for name in loading.names)
    unnamed = (f"Loaded image ID: {loading.plan.image_id}",)
    return m.LoadedImages(lines=(*loading.before.lines, *naming.moved_lines(moved), *(lines or unnamed)))
