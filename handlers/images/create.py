"""An image from its configuration and its layers: whole, or nothing of it; and how one goes again."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio
import msgspec

from events import references
from events.base import Event
from events.envelope import Recorded
from events.errors import EngineError
from events.log import LogBroken
from events.messages import image as m
from events.messages.layer import AppliedLayer, ApplyLayer, ReleaseLayers
from events.projections.images import Image
from events.projections.layers import chain_ids
from handlers.context import Context
from handlers.images import naming
from handlers.images.archive import Region
from handlers.images.content import ContentStore
from handlers.images.errors import BadImageArchive
from handlers.images.secrets import seal
from handlers.images.stacking import apply_stack

LOGGER = logging.getLogger(__name__)
UNDO_LIMIT_S = 600.0
INTERRUPTED = "the engine was interrupted"

# Appends the event that makes the image, or nothing, together with what follows from it: names, and an answer.
Conclude = Callable[[tuple[Event, ...]], Awaitable[None]]


# Gets an image's layers into place, bottom first, each held by the image.
Apply = Callable[[Context, "Plan"], Awaitable[list[AppliedLayer]]]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """An image to be made: `layers` are places in the file `source`, bottom first (or none, for another `Apply`)."""

    image_id: str
    content: bytes  # the configuration, exact
    config: m.ImageConfig
    source: Path | None
    layers: tuple[Region, ...]
    origin: str


def check(config: m.ImageConfig, actual: int) -> None:
    """Raises BadImageArchive when the configuration speaks of another number of layers than there are."""
    expected = len(config.rootfs.diff_ids)
    if expected != actual:
        raise BadImageArchive(f"invalid manifest, layers length mismatch: expected {expected}, got {actual}")


async def ensure_image(
    context: Context, plan: Plan, content: ContentStore, conclude: Conclude, apply: Apply | None = None
) -> None:
    """Make the image unless it is there. The caller has its turn. Raises as `create_image`."""
    await settle(context, plan.image_id, content)
    image = context.state.images.get(plan.image_id)
    if image is None:
        await create_image(context, plan, content, conclude, apply or apply_from_archive)
    elif image.status != "ready":
        await content.write(plan.image_id, plan.content)  # removed by force, and containers have kept its layers
        await conclude((await _created(context, plan, image.layers, image.size_bytes),))
    else:
        await conclude(())


async def create_image(context: Context, plan: Plan, content: ContentStore, conclude: Conclude, apply: Apply) -> None:
    """Store the configuration and apply the layers. The caller has the image's turn; it isn't there yet.

    Raises InvalidParameter for what contradicts a digest, and whatever the layer handler and `conclude` raise.
    """
    stream = naming.stream(plan.image_id)
    with anyio.CancelScope(shield=True):
        await context.append(stream, m.ImageCreateRequested(image_id=plan.image_id, origin=plan.origin))
    try:
        await content.write(plan.image_id, plan.content)
        layers = await apply(context, plan)
        chains, size_bytes = tuple(layer.chain_id for layer in layers), sum(layer.size_bytes for layer in layers)
        with anyio.CancelScope(shield=True):
            await conclude((await _created(context, plan, chains, size_bytes),))
    except BaseException as error:
        await _undo(context, plan.image_id, content, str(error) or type(error).__name__)
        raise


async def take_down(context: Context, image_id: str, content: ContentStore) -> None:
    """Release an image's layers, forget its configuration and its key; what is absent is fine."""
    await context.send(ReleaseLayers(holder=image_id))
    await content.delete(image_id)
    await context.keyring.destroy(naming.stream(image_id))


async def settle(context: Context, image_id: str, content: ContentStore) -> None:
    """Finish what an interrupted or failed command has left of an image. The caller has its turn.

    What was removed by force stays, hidden, as long as containers use it.
    """
    image = context.state.images.get(image_id)
    if image is None or image.status == "ready" or context.state.images.users(image_id):
        return
    if image.status == "creating":
        await _fail(context, image_id, content, INTERRUPTED)
        return
    intent, untagged = await _removal(context, image_id)
    cause = msgspec.structs.replace(intent.cause, actor=context.cause.actor, causation=intent.sequence)
    removed = await take_down_all(context, (image,), untagged, content)
    goes_along = any(each.parent == image_id and each.status == "removing" for each in context.state.images)
    answer = msgspec.UNSET if goes_along else removed  # of a line of images, the child's end is the answer
    gone = m.ImageRemoved(image_id=image_id)
    await context.on_behalf_of(cause).append(naming.stream(image_id), gone, answer=answer)


async def take_down_all(
    context: Context, images: Sequence[Image], untagged: tuple[str, ...], content: ContentStore
) -> m.RemovedImage:
    """Take images down, children first; what went, and the canonical names that went before, is what a client sees."""
    deleted: list[str] = []
    for image in images:
        await take_down(context, image.id, content)
        gone = [chain for chain in reversed(image.layers) if context.state.layers.get(chain) is None]
        deleted += (image.id, *(chain for chain in gone if chain not in deleted))
    return m.RemovedImage(untagged=tuple(map(references.familiar, untagged)), deleted=tuple(deleted))


async def _removal(context: Context, image_id: str) -> tuple[Recorded, tuple[str, ...]]:
    """The newest intent to remove an image, and the names that its command took away."""
    intent: Recorded | None = None
    untagged: list[tuple[str, str]] = []
    async for recorded in context.log.read_stream(naming.stream(image_id)):
        if isinstance(recorded.event, m.ImageUntagged):
            untagged.append((recorded.cause.command_id, recorded.event.reference))
        elif isinstance(recorded.event, m.ImageRemoveRequested):
            intent = recorded
    if intent is None:
        raise LogBroken(f"the log has no intent to remove image {image_id}")
    return intent, tuple(name for command_id, name in untagged if command_id == intent.cause.command_id)


async def _created(context: Context, plan: Plan, layers: tuple[str, ...], size_bytes: int) -> m.ImageCreated:
    config, sealed = await seal(context, plan.image_id, plan.config)
    return m.ImageCreated(
        image_id=plan.image_id, config=config, layers=layers, size_bytes=size_bytes, origin=plan.origin, secrets=sealed
    )


async def apply_from_archive(context: Context, plan: Plan) -> list[AppliedLayer]:
    """Unpack the layers where they lie in the plan's file. Raises BadImageArchive, and as the layer handler."""
    diff_ids = plan.config.rootfs.diff_ids
    if not all(diff_ids):
        raise BadImageArchive("invalid image configuration: a layer without a digest")
    chains = chain_ids(diff_ids)

    async def apply(number: int) -> AppliedLayer:
        region = plan.layers[number]
        command = ApplyLayer(
            path=str(plan.source),
            offset=region.offset,
            length=region.length,
            parent=chains[number - 1] if number else "",
            expected_diff_id=diff_ids[number],
            holder=plan.image_id,
        )
        return await context.send(command)

    return await apply_stack(context, plan.image_id, chains, apply)


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
