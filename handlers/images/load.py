"""LoadImages: an archive's images come in, verified, one after the other; those that are here already get names."""

from pathlib import Path

from anyio.to_thread import run_sync

from events import references
from events.log import Append
from events.messages import image as m
from handlers.context import Context
from handlers.images import configuration, naming, spool
from handlers.images.archive import open_archive
from handlers.images.content import ContentStore
from handlers.images.create import Plan, check, ensure_image
from handlers.images.layouts import ArchivedImage, read_images
from handlers.images.platforms import host_platform
from handlers.turns import Turns


async def load_images(
    context: Context, command: m.LoadImages, content: ContentStore, scratch: Path, turns: Turns
) -> m.LoadedImages:
    """Take in an archive. Images before a bad one stay, as with Docker.

    Raises InvalidParameter for what isn't an archive of images or contradicts itself.
    """
    async with spool.plain_file(Path(command.path), scratch, context.ids.new()) as path:
        images = await run_sync(lambda: read_images(open_archive(path), host_platform()))
        lines: tuple[str, ...] = ()
        for image in images:
            lines += await _take_in(context, _plan(image, path), image.names, content, turns)
    return m.LoadedImages(lines=lines)


def _plan(image: ArchivedImage, path: Path) -> Plan:
    plan = Plan(
        image_id=configuration.image_id(image.config),
        content=image.config,
        config=configuration.parse(image.config),
        source=path,
        layers=image.layers,
        origin="load",
    )
    check(plan)
    return plan


async def _take_in(
    context: Context, plan: Plan, names: tuple[str, ...], content: ContentStore, turns: Turns
) -> tuple[str, ...]:
    image_id, images = plan.image_id, context.state.images
    async with turns.of(image_id):
        await ensure_image(context, plan, content)
        loaded = m.ImageLoaded(image_id=image_id, name=image_id)
        moved: dict[str, str] = {}

        def decision() -> tuple[Append, ...]:
            decided = naming.give_names(images, image_id, names, asked=False, conclusion=(loaded,))
            moved.clear()
            moved.update(decided.moved)
            return decided.appends

        await naming.append_decided(context, decision)
    told = tuple(f"Loaded image: {references.familiar(name)}" for name in names)
    return (*naming.moved_lines(moved), *(told or (f"Loaded image ID: {image_id}",)))
