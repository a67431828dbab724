"""What becomes at boot of volumes that a killed daemon left half-made, half-filled or half-removed.

The API may serve while this runs, so every look at the state is taken again within the volume's turn.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping

import anyio

from events.envelope import Cause, Recorded
from events.errors import EngineError
from events.messages.system import OrphanRemoved
from events.messages.volume import VolumeCreateRequested, VolumePopulateRequested, VolumeRemoveRequested
from events.projections.volumes import Volume
from handlers.context import Context
from handlers.turns import Turns
from handlers.volumes import decide
from handlers.volumes.ports import VolumeDriver

SETTLE_TIMEOUT_S = 30.0  # for all volumes together: what isn't settled by then is settled by the next command for it
INTENTS = (VolumeCreateRequested, VolumePopulateRequested, VolumeRemoveRequested)

KEY_PREFIX = "volume/"

Finish = Callable[[Context, Volume], Awaitable[None]]
logger = logging.getLogger(__name__)


async def reconcile(context: Context, drivers: Mapping[str, VolumeDriver], turns: Turns, finish: Finish) -> None:
    """Settle every open intent, then remove what is on disk and in no projection, then keys that belong to nothing.

    `finish` brings a volume's open intent to its outcome, under the context's cause.
    """
    with anyio.move_on_after(SETTLE_TIMEOUT_S):
        async with anyio.create_task_group() as group:
            for name in [volume.name for volume in context.state.volumes if _is_open(volume)]:
                group.start_soon(_settle_one, context, name, turns, finish)
    for driver in drivers.values():
        await _remove_orphans(context, driver, turns)
    await _destroy_orphaned_keys(context, turns)


def _is_open(volume: Volume) -> bool:
    return volume.status != "ready" or volume.populating


async def _settle_one(context: Context, name: str, turns: Turns, finish: Finish) -> None:
    try:
        async with turns.of(name):
            volume = context.state.volumes.get(name)
            if volume is not None and _is_open(volume):
                intent = await _newest_intent(context, name)
                await finish(context.on_behalf_of(_cause_of_outcome(context, intent)), volume)
    except Exception:  # one stuck volume must not hold up the others, whatever is wrong with it
        logger.exception("volume %s could not be settled", name)


async def _newest_intent(context: Context, name: str) -> Recorded:
    newest = None
    async for recorded in context.log.read_stream(decide.stream(name)):
        if isinstance(recorded.event, INTENTS):
            newest = recorded
    if newest is None:
        raise LookupError(f"the log has no intent for volume {name}")
    return newest


def _cause_of_outcome(context: Context, intent: Recorded) -> Cause:
    """Recovery acts, under the id of the command that was cut off: a repeat of it finds the answer."""
    return Cause(
        actor=context.cause.actor,
        command_id=intent.cause.command_id,
        correlation_id=intent.cause.correlation_id,
        causation=intent.sequence,
    )


async def _remove_orphans(context: Context, driver: VolumeDriver, turns: Turns) -> None:
    try:
        with anyio.fail_after(SETTLE_TIMEOUT_S):
            names = sorted(await driver.list())
    except Exception:  # as above
        logger.exception("the volumes of driver %s could not be listed", driver.name)
        return
    for name in names:
        if not _is_orphan(context, driver, name):
            continue
        try:
            with anyio.fail_after(SETTLE_TIMEOUT_S):
                async with turns.of(name):
                    await _remove_orphan(context, driver, name)
        except Exception:  # as above
            logger.exception("volume %s, which nobody knows, could not be removed", name)


async def _remove_orphan(context: Context, driver: VolumeDriver, name: str) -> None:
    if _is_orphan(context, driver, name):
        await driver.remove(name)
        await context.append("system/engine", OrphanRemoved(kind="volume", name=name))


def _is_orphan(context: Context, driver: VolumeDriver, name: str) -> bool:
    volume = context.state.volumes.get(name)
    return volume is None or volume.driver != driver.name


async def _destroy_orphaned_keys(context: Context, turns: Turns) -> None:
    for owner in await context.keyring.owners(besides=context.state.key_owners()):
        name = owner.removeprefix(KEY_PREFIX)
        if not owner.startswith(KEY_PREFIX) or _needs_key(context, name):
            continue
        try:
            async with turns.of(name):  # a creation makes its key before it is known
                if not _needs_key(context, name):
                    await context.keyring.destroy(owner)
        except EngineError:
            logger.exception("the key of %s could not be destroyed; it is tried again at the next start", owner)


def _needs_key(context: Context, name: str) -> bool:
    """One without options may follow, under the same name, on one with them whose key was never destroyed."""
    volume = context.state.volumes.get(name)
    return volume is not None and volume.options is not None
