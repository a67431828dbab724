"""Layers after a crash: what was begun is undone, what nobody knows is removed, and the log says so."""

import logging

import anyio

from events.errors import EngineError
from events.messages.layer import ReleaseLayers
from events.messages.system import OrphanRemoved
from handlers.context import Context
from handlers.layers import decide, removal
from handlers.layers.ports import GraphDriver
from handlers.turns import Turns

LOGGER = logging.getLogger(__name__)
OBJECT_LIMIT_S = 600.0


async def reconcile(context: Context, driver: GraphDriver, turns: Turns) -> None:
    """Forget who read, settle open intents, remove layers that nobody needs, then what the log doesn't know."""
    for holder in decide.readers(context.state.layers):  # of the engine's last run; nobody is served yet
        await _release(context, holder, driver, turns)
    for chain in [layer.chain_id for layer in context.state.layers if layer.driver == driver.name]:
        await _settle(context, chain, driver, turns)
    await _remove_orphans(context, driver)


async def _release(context: Context, holder: str, driver: GraphDriver, turns: Turns) -> None:
    """What can't be released now is at the next start."""
    try:
        with anyio.fail_after(OBJECT_LIMIT_S):
            await removal.release_layers(context, ReleaseLayers(holder=holder), driver, turns)
    except (EngineError, TimeoutError):
        LOGGER.exception("layers can't be released by %s", holder)


async def _settle(context: Context, chain: str, driver: GraphDriver, turns: Turns) -> None:
    """One stuck layer must not hold up the others; it is tried again when somebody wants it, and at the next start."""
    try:
        with anyio.fail_after(OBJECT_LIMIT_S):
            async with turns.of(chain):  # the API may serve by now, and somebody may be making it again
                await removal.settle(context, chain, driver)
            await removal.remove_unneeded(context, (chain,), driver, turns)  # a release may have been interrupted
    except (EngineError, TimeoutError):
        LOGGER.exception("layer %s can't be settled", chain)


async def _remove_orphans(context: Context, driver: GraphDriver) -> None:
    """Again and again while it gets on: some drivers can't remove what another layer stands on."""
    present = await driver.list()  # before the state is read: what is made meanwhile isn't in it
    orphans = sorted(present - decide.known_cache_ids(context.state))
    while left := [cache_id for cache_id in orphans if not await _remove_orphan(context, cache_id, driver)]:
        if len(left) == len(orphans):
            return
        orphans = left


async def _remove_orphan(context: Context, cache_id: str, driver: GraphDriver) -> bool:
    try:
        with anyio.fail_after(OBJECT_LIMIT_S):
            await driver.remove(cache_id)
            await context.append("system/engine", OrphanRemoved(kind="directory", name=cache_id))
    except (EngineError, TimeoutError):
        LOGGER.exception("directory %s of the storage driver can't be removed", cache_id)
        return False
    return True
