"""How the content of an image comes into an empty volume: whole or not at all."""

from events.messages.volume import PopulateVolume, VolumePopulated, VolumePopulateFailed, VolumePopulateRequested
from events.projections.volumes import Volume
from handlers.context import Context
from handlers.volumes import decide
from handlers.volumes.mount import attached
from handlers.volumes.ports import VolumeDriver
from handlers.volumes.record import finishing

OUTCOME_TIMEOUT_S = 60.0


async def populate(context: Context, driver: VolumeDriver, volume: Volume, command: PopulateVolume) -> None:
    """Copy `source` of the container's file system, if there is anything to do. Raises SystemFailure."""
    # A device's content shows only once it is mounted, which the intent has to precede.
    if volume.options is None and not await driver.would_populate(volume.name, command.rootfs, command.source):
        return
    await context.append(decide.stream(volume.name), VolumePopulateRequested(name=volume.name))
    try:
        async with attached(context, driver, volume):
            await driver.populate(volume.name, command.rootfs, command.source)
    except BaseException as error:
        await _failed(context, volume.name, str(error) or type(error).__name__)
        raise
    await _done(context, volume.name)


async def settle(context: Context, driver: VolumeDriver, volume: Volume) -> None:
    """Bring an interrupted copy to its outcome.

    What is left inside a mounted device is settled by the driver when it is mounted again: boot doesn't wait for it.
    """
    if volume.options is not None:
        if not volume.mounted_by:
            await driver.unmount(volume.name)
        await _failed(context, volume.name, "interrupted")
    elif await driver.settle_populate(volume.name):
        await _done(context, volume.name)
    else:
        await _failed(context, volume.name, "interrupted")


async def _done(context: Context, name: str) -> None:
    await context.append(decide.stream(name), VolumePopulated(name=name), answer=None)


async def _failed(context: Context, name: str, reason: str) -> None:
    with finishing(OUTCOME_TIMEOUT_S, f"populate {name}: the outcome could not be recorded"):
        await context.append(decide.stream(name), VolumePopulateFailed(name=name, error=reason))
