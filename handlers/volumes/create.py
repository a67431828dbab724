"""How a volume comes to be, and how a creation that fails leaves nothing behind."""

import logging

from events.errors import EngineError, InvalidParameter
from events.messages.volume import CreatedVolume, CreateVolume
from events.projections.volumes import Volume
from handlers.context import Context
from handlers.volumes import decide
from handlers.volumes.ports import VolumeDriver
from handlers.volumes.record import finishing, open_options, seal_options

CREATE_TIMEOUT_S = 120.0  # what Docker gives a volume plugin
UNDO_TIMEOUT_S = 60.0

logger = logging.getLogger(__name__)


def check(driver: VolumeDriver, name: str, options: dict[str, str]) -> None:
    """Refuse a name or an option that can't be. Raises InvalidParameter."""
    try:
        driver.check(name, options)
    except InvalidParameter as error:
        raise InvalidParameter(f"create {name}: {error}") from error


async def create(context: Context, driver: VolumeDriver, name: str, command: CreateVolume) -> CreatedVolume:
    """Record the intent, make it, record the outcome. Raises SystemFailure with nothing left."""
    with finishing(CREATE_TIMEOUT_S, f"create {name}: the {driver.name} driver took too long"):
        await _intend(context, driver, name, command)
        return await make(context, driver, decide.known(context.state.volumes, name))


async def make(context: Context, driver: VolumeDriver, volume: Volume) -> CreatedVolume:
    """Do what the intent says, from the start or again after an interruption."""
    answer = CreatedVolume(name=volume.name, created=True)
    try:
        mountpoint = await driver.create(volume.name, open_options(context, volume.options))
    except BaseException as error:
        await _undo(context, driver, volume, str(error) or type(error).__name__)
        raise
    await context.append_all((decide.created(volume.name, mountpoint),), answer=answer)
    return answer


async def _intend(context: Context, driver: VolumeDriver, name: str, command: CreateVolume) -> None:
    anonymous = command.anonymous or not command.name or decide.ANONYMOUS_LABEL in command.labels
    owner = decide.stream(name)
    options = await seal_options(context, owner, command.options)
    intent = decide.create(name, driver.name, command.labels, options, anonymous=anonymous)
    try:
        await context.append_all((intent,))
    except EngineError:
        # Only an append that is known to have failed: a cancelled one may stand in the log and need the key.
        if options is not None:
            await context.keyring.destroy(owner)
        raise


async def _undo(context: Context, driver: VolumeDriver, volume: Volume, reason: str) -> None:
    try:
        with finishing(UNDO_TIMEOUT_S, f"create {volume.name}: the undo took too long"):
            await driver.remove(volume.name)
            await context.append_all((decide.create_failed(volume.name, reason),))
            if volume.options is not None:
                await context.keyring.destroy(decide.stream(volume.name))
    except EngineError:
        # The intent stays open: the next command for this name, or the next boot, tries again.
        logger.exception("volume %s could not be undone", volume.name)
