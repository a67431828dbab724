"""RemoveImage and ReleaseImage: names go, with the last of them the image, with its last container its layers."""

from contextlib import AsyncExitStack

import anyio

from events import references
from events.errors import DeadlineExceeded, Unavailable
from events.log import Append, VersionConflict
from events.lookup import find_image
from events.messages import image as m
from events.projections.images import Image
from handlers.context import DECISION_RETRIES, Context
from handlers.images import naming
from handlers.images.content import ContentStore
from handlers.images.create import settle, take_down_all
from handlers.images.removal_plan import RemovalPlan, plan_prune, plan_removal
from handlers.turns import Turns

REMOVE_LIMIT_S = 600.0


async def remove_image(context: Context, command: m.RemoveImage, content: ContentStore, turns: Turns) -> m.RemovedImage:
    """Untag, and delete what has no name and no user. Raises NoSuchImage, ImageInUse."""
    for _ in range(DECISION_RETRIES):
        image = find_image(context.state.images, command.name)
        async with turns.of(image.id):
            if find_image(context.state.images, command.name).id != image.id:
                continue  # names move while one waits
            image = find_image(context.state.images, command.name)
            plan = plan_removal(context.state, image, command.name, force=command.force, prune=command.prune)
            try:
                return await _carry_out(context, image, plan, content, turns)
            except VersionConflict:
                continue
    raise Unavailable("too many others are changing the same images; try again")


async def prune_image(context: Context, command: m.PruneImage, content: ContentStore, turns: Turns) -> m.RemovedImage:
    """Delete it if it may go now, whatever it was like when it was chosen."""
    async with turns.of(command.image_id):
        for _ in range(DECISION_RETRIES):
            image = context.state.images.get(command.image_id)
            plan = plan_prune(context.state, image, dangling=command.dangling)
            if image is None or plan is None:
                return m.RemovedImage()
            try:
                return await _carry_out(context, image, plan, content, turns)
            except VersionConflict:
                continue
    raise Unavailable("too many others are changing the same images; try again")


async def release_image(context: Context, command: m.ReleaseImage, content: ContentStore, turns: Turns) -> None:
    """The container needs it no more; what isn't known is fine. The last one takes a removed image along."""
    async with turns.of(command.image_id):
        if command.container_id not in context.state.images.users(command.image_id):
            return
        event = m.ImageReleased(image_id=command.image_id, container_id=command.container_id)
        await context.append(naming.stream(command.image_id), event, answer=None)
        with anyio.move_on_after(REMOVE_LIMIT_S, shield=True):
            await settle(context, command.image_id, content)


async def _carry_out(
    context: Context, image: Image, plan: RemovalPlan, content: ContentStore, turns: Turns
) -> m.RemovedImage:
    """Raises VersionConflict when somebody was faster."""
    if plan.later or not plan.delete:
        untagged = tuple(map(references.familiar, plan.untag))
        removed = m.RemovedImage(untagged=untagged, deleted=(image.id,) if plan.delete else ())
        await context.append_all((_untagging(image, plan),), answer=removed)
        return removed
    async with AsyncExitStack() as stack:
        for parent in plan.parents:  # children's turns come before parents', so that nobody waits in a circle
            await stack.enter_async_context(turns.of(parent.id))
        with anyio.move_on_after(REMOVE_LIMIT_S, shield=True):  # once announced it is finished, whoever goes away
            await context.append_all((_untagging(image, plan), *map(_announcing, plan.parents)))
            line = (image, *plan.parents)
            removed = await take_down_all(context, line, plan.untag, content)
            await context.append_all(tuple(map(_concluding, line)), answer=removed)
            return removed
    raise DeadlineExceeded(f"removing image {image.id} takes longer than {REMOVE_LIMIT_S:.0f} s")


def _announcing(parent: Image) -> Append:
    requested = m.ImageRemoveRequested(image_id=parent.id)
    return Append(stream=naming.stream(parent.id), events=(requested,), expected=parent.version)


def _concluding(image: Image) -> Append:
    return Append(stream=naming.stream(image.id), events=(m.ImageRemoved(image_id=image.id),))


def _untagging(image: Image, plan: RemovalPlan) -> Append:
    untagged = tuple(m.ImageUntagged(image_id=image.id, reference=name) for name in plan.untag)
    requested = (m.ImageRemoveRequested(image_id=image.id),) if plan.delete else ()
    return Append(
        stream=naming.stream(image.id),
        events=(*untagged, *requested),
        expected=image.version,
        release=tuple(map(naming.claim, plan.untag)),
    )
