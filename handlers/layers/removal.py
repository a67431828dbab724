"""ReleaseLayers and everything that takes layers away; without it disks would only fill."""

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import anyio

from events.errors import DeadlineExceeded, EngineError
from events.log import VersionConflict
from events.messages import layer as m
from events.projections.layers import Layer
from handlers.context import DECISION_RETRIES, Context
from handlers.layers import decide
from handlers.layers.ports import GraphDriver
from handlers.together import together
from handlers.turns import Turns

LOGGER = logging.getLogger(__name__)
REMOVE_LIMIT_S = 3600.0
INTERRUPTED = "the engine was interrupted"


async def release_layers(context: Context, command: m.ReleaseLayers, driver: GraphDriver, turns: Turns) -> None:
    """Give up a holder's layers, then remove those that nobody needs, children first.

    A layer that is being applied for the holder is waited for: who gave up waiting for it undoes it by this command.
    """
    async with turns.of(decide.holder_turn(command.holder)):
        for chain in decide.applying_for(context.state.layers, command.holder):
            async with turns.of(chain):
                pass
        released = await _give_up(context, command.holder)
    await remove_unneeded(context, released, driver, turns)


async def remove_unneeded(context: Context, chains: Sequence[str], driver: GraphDriver, turns: Turns) -> None:
    """Remove layers that nobody needs, then what nobody needs below them. `chains`: children before parents."""
    for chain in chains:
        retries = DECISION_RETRIES
        while chain and retries:
            async with AsyncExitStack() as kept:
                doomed = await _doomed(context, chain, driver, turns, kept)
                if not doomed:
                    break
                if not await _announce(context, doomed):
                    retries -= 1
                    continue
                with anyio.move_on_after(REMOVE_LIMIT_S, shield=True):
                    await _take_down(context, doomed, driver)
            chain = doomed[-1].parent


async def _doomed(context: Context, chain: str, driver: GraphDriver, turns: Turns, kept: AsyncExitStack) -> list[Layer]:
    """A lineage from its top down to what is needed; only its top where the driver needs order.

    `kept` keeps their turns. Who takes several takes them in this order, and so nobody waits for each other.
    """
    layers, doomed = context.state.layers, list[Layer]()
    while chain:
        going = frozenset(layer.chain_id for layer in doomed)
        if decide.removable(layers, chain, driver.name, going) is None:
            break
        await kept.enter_async_context(turns.of(chain))
        layer = decide.removable(layers, chain, driver.name, going)
        if layer is None:
            break
        doomed.append(layer)
        if not driver.is_orderless:
            break
        chain = layer.parent
    return doomed


async def _take_down(context: Context, doomed: Sequence[Layer], driver: GraphDriver) -> None:
    """Remove what was announced, at once and with one outcome; where that fails each for itself, so that the others
    don't wait for one that is stuck."""
    if len(doomed) > 1:
        try:
            await driver.remove(*(layer.cache_id for layer in doomed))
        except EngineError:
            LOGGER.warning("layers can't all be removed", exc_info=True)
        else:
            await context.append_all(tuple(map(decide.removed, doomed)))
            return
    await together(*(partial(settle, context, layer.chain_id, driver) for layer in doomed))


async def settle(context: Context, chain: str, driver: GraphDriver) -> None:
    """Finish what an interrupted or failed command has left of a layer. The caller has its turn."""
    layer = context.state.layers.get(chain)
    if layer is None or layer.status == "ready":
        return
    await driver.remove(layer.cache_id)
    if layer.status == "applying":
        await context.append(decide.stream(chain), m.LayerApplyFailed(chain_id=chain, error=INTERRUPTED))
    else:
        await context.append_all((decide.removed(layer),))


async def _give_up(context: Context, holder: str) -> tuple[str, ...]:
    for _ in range(DECISION_RETRIES):
        batch = decide.release(context.state.layers, holder)
        try:
            if batch:
                await context.append_all(batch)
        except VersionConflict:
            continue
        return tuple(append.stream.partition("/")[2] for append in reversed(batch))
    raise DeadlineExceeded("too many others are changing the same layers; try again")


async def _announce(context: Context, doomed: Sequence[Layer]) -> bool:
    """Append the intents to remove; False when somebody has come to need a layer."""
    batch = tuple(decide.remove(layer) for layer in doomed if layer.status == "ready")
    try:
        if batch:
            await context.append_all(batch)
    except VersionConflict:
        return False
    return True
