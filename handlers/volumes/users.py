"""Who refers to a volume: what keeps one from being removed, and an anonymous one alive."""

from events.messages.volume import AcquireVolume, ReleaseVolume
from events.projections.volumes import Volume
from handlers.context import Context
from handlers.volumes import decide
from handlers.volumes.record import record


async def acquire(context: Context, command: AcquireVolume) -> None:
    """A container refers to it. Raises NotFound when it isn't there, or about to go."""
    volumes = context.state.volumes
    await record(context, lambda: decide.acquire(volumes, command.name, command.container_id), answer=None)


async def release(context: Context, command: ReleaseVolume) -> None:
    """A container refers to it no more."""
    volumes = context.state.volumes
    await record(
        context, lambda: decide.release(volumes, command.name, command.container_id, remove=False), answer=None
    )


async def release_last(context: Context, command: ReleaseVolume) -> Volume | None:
    """As `release`; the volume is returned when it is to go with its last user."""
    volumes = context.state.volumes
    await record(context, lambda: decide.release(volumes, command.name, command.container_id, remove=True))
    volume = volumes.get(command.name)
    return volume if volume is not None and volume.status == "removing" else None
