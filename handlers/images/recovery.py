"""Images after a crash: what was begun is undone or finished, files that nobody knows go, and the log says so.

The API may serve while this runs, so every look at the state is taken again within the image's turn.
"""

import logging

import anyio

from events.errors import EngineError
from events.messages.system import OrphanRemoved
from handlers.context import Context
from handlers.images import content as files
from handlers.images.content import ContentStore
from handlers.images.create import settle
from handlers.turns import Turns

LOGGER = logging.getLogger(__name__)
OBJECT_LIMIT_S = 600.0


async def reconcile(context: Context, content: ContentStore, turns: Turns) -> None:
    """Settle open intents, then remove configurations that belong to no image."""
    for image_id in [image.id for image in context.state.images if image.status != "ready"]:
        try:
            with anyio.fail_after(OBJECT_LIMIT_S):
                async with turns.of(image_id):
                    await settle(context, image_id, content)
        except (EngineError, TimeoutError):
            LOGGER.exception("image %s can't be settled", image_id)
    for name in sorted(await content.list()):
        try:
            with anyio.fail_after(OBJECT_LIMIT_S):
                await _remove_orphan(context, content, name, turns)
        except (EngineError, TimeoutError):
            LOGGER.exception("file %s, which nobody knows, can't be removed", name)


async def _remove_orphan(context: Context, content: ContentStore, name: str, turns: Turns) -> None:
    if not _is_orphan(context, name):
        return
    async with turns.of(files.digest_of(name)):
        if _is_orphan(context, name) and await content.discard(name):
            await context.append("system/engine", OrphanRemoved(kind="file", name=name))


def _is_orphan(context: Context, name: str) -> bool:
    """A file that never got its final name belongs to nobody, unless who writes it has the turn."""
    return files.is_unfinished(name) or context.state.images.get(files.digest_of(name)) is None
