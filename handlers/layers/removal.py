"""ReleaseLayers and everything that takes layers away; without it disks would only fill."""

import anyio

from events.errors import DeadlineExceeded
from events.log import VersionConflict
from events.messages import layer as m
from handlers.context import DECISION_RETRIES, Context
from handlers.layers import decide
from handlers.layers.ports import GraphDriver
from handlers.turns import Turns

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
    for chain in released:
        await remove_unneeded(context, chain, driver, turns)


async def remove_unneeded(context: Context, chain: str, driver: GraphDriver, turns: Turns) -> None:
    """Remove a layer if nobody needs it, then look at the one below it, and so on."""
    while chain:
        async with turns.of(chain):
            layer = decide.removable(context.state.layers, chain, driver.name)
            if layer is None:
                return
            if layer.status == "ready" and not await _announce(context, chain, driver.name):
                return
            with anyio.move_on_after(REMOVE_LIMIT_S, shield=True):
                await settle(context, chain, driver)
        chain = layer.parent


async def settle(context: Context, chain: str, driver: GraphDriver) -> None:
    """Finish what an interrupted or failed command has left of a layer. The caller has its turn."""
    layer = context.state.layers.get(chain)
    if layer is None or layer.status == "ready":
        return
    await driver.remove(layer.cache_id)
    outcome: m.LayerApplyFailed | m.LayerRemoved = m.LayerRemoved(chain_id=chain)
    if layer.status == "applying":
        outcome = m.LayerApplyFailed(chain_id=chain, error=INTERRUPTED)
    await context.append(decide.stream(chain), outcome)


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


async def _announce(context: Context, chain: str, driver: str) -> bool:
    """Append the intent to remove; False when somebody has come to need the layer."""
    for _ in range(DECISION_RETRIES):
        layer = decide.removable(context.state.layers, chain, driver)
        if layer is None:
            return False
        try:
            await context.append_all((decide.remove(layer),))
        except VersionConflict:
            continue
        return True
    return False
