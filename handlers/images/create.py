"""An image from its configuration and its layers: whole, or nothing of it; and how one goes again."""

import logging
from pathlib import Path

import anyio
import msgspec

from events.errors import EngineError
from events.messages import image as m
from events.messages.layer import AppliedLayer, ApplyLayer, ReleaseLayers
from events.projections.images import Image
from handlers.context import Context
from handlers.images import naming
from handlers.images.archive import Region
from handlers.images.content import ContentStore
from handlers.images.errors import BadImageArchive

LOGGER = logging.getLogger(__name__)
UNDO_LIMIT_S = 600.0
INTERRUPTED = "the engine was interrupted"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """An image to be made: `layers` are places in the file `source`, bottom first."""

    image_id: str
    content: bytes  # the configuration, exact
    config: m.ImageConfig
    source: Path
    layers: tuple[Region, ...]
    origin: str


def check(plan: Plan) -> None:
    """Raises BadImageArchive when the configuration speaks of other layers than the archive has."""
    expected, actual = len(plan.config.rootfs.diff_ids), len(plan.layers)
    if expected != actual:
        raise BadImageArchive(f"invalid manifest, layers length mismatch: expected {expected}, got {actual}")


async def ensure_image(context: Context, plan: Plan, content: ContentStore) -> None:
    """Make the image unless it is there. The caller has its turn. Raises as `create_image`."""
    await settle(context, plan.image_id, content)
    image = context.state.images.get(plan.image_id)
    if image is None:
        await create_image(context, plan, content)
    elif image.status != "ready":
        await _revive(context, image, plan, content)


async def create_image(context: Context, plan: Plan, content: ContentStore) -> None:
    """Store the configuration and apply the layers. The caller has the image's turn; it isn't there yet.

    Raises InvalidParameter for what contradicts a digest, and whatever the layer handler raises.
    """
    check(plan)
    stream = naming.stream(plan.image_id)
    with anyio.CancelScope(shield=True):
        await context.append(stream, m.ImageCreateRequested(image_id=plan.image_id, origin=plan.origin))
    try:
        await content.write(plan.image_id, plan.content)
        layers = await _apply_layers(context, plan)
    except BaseException as error:
        await _undo(context, plan.image_id, content, str(error) or type(error).__name__)
        raise
    with anyio.CancelScope(shield=True):
        await context.append(
            stream,
            m.ImageCreated(
                image_id=plan.image_id,
                config=plan.config,
                layers=tuple(layer.chain_id for layer in layers),
                size_bytes=sum(layer.size_bytes for layer in layers),
                origin=plan.origin,
            ),
        )


async def take_down(context: Context, image_id: str, content: ContentStore) -> None:
    """Release an image's layers and forget its configuration; what is absent is fine."""
    await context.send(ReleaseLayers(holder=image_id))
    await content.delete(image_id)


async def settle(context: Context, image_id: str, content: ContentStore) -> None:
    """Finish what an interrupted or failed command has left of an image. The caller has its turn.

    What was removed by force stays, hidden, as long as containers use it.
    """
    image = context.state.images.get(image_id)
    if image is None or image.status == "ready" or image.users:
        return
    if image.status == "creating":
        await _fail(context, image_id, content, INTERRUPTED)
        return
    await take_down(context, image_id, content)
    await context.append(naming.stream(image_id), m.ImageRemoved(image_id=image_id))


async def _revive(context: Context, image: Image, plan: Plan, content: ContentStore) -> None:
    """It was removed by force, and containers have kept its layers: it only has to be told of again."""
    await content.write(plan.image_id, plan.content)
    created = m.ImageCreated(
        image_id=image.id, config=plan.config, layers=image.layers, size_bytes=image.size_bytes, origin=plan.origin
    )
    await context.append(naming.stream(image.id), created)


async def _apply_layers(context: Context, plan: Plan) -> list[AppliedLayer]:
    applied: list[AppliedLayer] = []
    for region, diff_id in zip(plan.layers, plan.config.rootfs.diff_ids, strict=True):
        if not diff_id:
            raise BadImageArchive("invalid image configuration: a layer without a digest")
        command = ApplyLayer(
            path=str(plan.source),
            offset=region.offset,
            length=region.length,
            parent=applied[-1].chain_id if applied else "",
            expected_diff_id=diff_id,
            holder=plan.image_id,
        )
        applied.append(await context.send(command))
    return applied


async def _undo(context: Context, image_id: str, content: ContentStore, reason: str) -> None:
    """If even this fails the intent stays open, and the next command or start tries again."""
    with anyio.move_on_after(UNDO_LIMIT_S, shield=True):
        try:
            await _fail(context, image_id, content, reason)
        except EngineError:
            LOGGER.exception("image %s can't be taken down", image_id)


async def _fail(context: Context, image_id: str, content: ContentStore, reason: str) -> None:
    await take_down(context, image_id, content)
    await context.append(naming.stream(image_id), m.ImageCreateFailed(image_id=image_id, error=reason))
