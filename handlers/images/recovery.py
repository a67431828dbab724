"""Images after a crash: what was begun is undone or finished, files that nobody knows go, and the log says so."""

import logging
from pathlib import Path

import anyio

from events.errors import EngineError
from events.messages.system import OrphanRemoved
from handlers.context import Context
from handlers.images import spool
from handlers.images.content import ContentStore
from handlers.images.create import settle

LOGGER = logging.getLogger(__name__)
OBJECT_LIMIT_S = 600.0


async def reconcile(context: Context, content: ContentStore, scratch: Path) -> None:
    """Settle open intents, then remove configurations and scratch files that belong to no image."""
    for image in tuple(context.state.images):
        try:
            with anyio.fail_after(OBJECT_LIMIT_S):
                await settle(context, image.id, content)
        except (EngineError, TimeoutError):
            LOGGER.exception("image %s can't be settled", image.id)
    await _remove_orphans(context, content)
    await spool.clear(scratch)


async def _remove_orphans(context: Context, content: ContentStore) -> None:
    known = frozenset(image.id.removeprefix("sha256:") for image in context.state.images)
    for name in sorted(await content.list() - known):
        await content.discard(name)
        await context.append("system/engine", OrphanRemoved(kind="file", name=name))
