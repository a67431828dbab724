"""How a volume goes, with what is in it and with the key of its options."""

from events.errors import NotFound
from events.messages.volume import RemoveVolume
from events.projections.volumes import Volume
from handlers.context import Context
from handlers.volumes import decide
from handlers.volumes.ports import VolumeDriver
from handlers.volumes.record import finishing, record

REMOVAL_TIMEOUT_S = 1800.0  # a volume may hold millions of files


async def intend(context: Context, command: RemoveVolume) -> Volume | None:
    """Record that it is to go; None when there is none and `force` makes that fine. Raises NotFound, VolumeInUse."""
    volumes = context.state.volumes
    try:
        await record(context, lambda: decide.remove(volumes, command.name))
    except NotFound:
        if command.force:
            return None
        raise
    return volumes.get(command.name)


async def take_away(
    context: Context, driver: VolumeDriver, volume: Volume, timeout_s: float = REMOVAL_TIMEOUT_S
) -> None:
    """Do what the intent says; a failure leaves the intent open, and its name taken, for another try."""
    with finishing(timeout_s, f"remove {volume.name}: the {driver.name} driver took too long"):
        await driver.remove(volume.name)
        await context.append_all((decide.removed(volume.name),), answer=None)
        if volume.options is not None:
            await context.keyring.destroy(decide.stream(volume.name))
