"""How a volume's content becomes available on the host: with the first container that has it, until the last."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from events.errors import EngineError, SystemFailure
from events.messages.volume import MountedVolume, MountVolume
from events.projections.volumes import Volume
from events.sealed import KeyDestroyed
from handlers.context import Context
from handlers.volumes import decide
from handlers.volumes.ports import VolumeDriver
from handlers.volumes.record import finishing, open_options, record

UNMOUNT_TIMEOUT_S = 60.0

logger = logging.getLogger(__name__)


async def mount(context: Context, driver: VolumeDriver, volume: Volume, command: MountVolume) -> MountedVolume:
    """Record that the container has it, then make it so. Raises SystemFailure with nothing left."""
    volumes = context.state.volumes
    # Recorded first: a mount that the log doesn't know of would outlive a daemon killed in between.
    await record(context, lambda: decide.mount(volumes, command))
    try:
        return MountedVolume(path=await attach(context, driver, volume))
    except BaseException:
        await _undo(context, driver, volume.name, command.container_id)
        raise


async def unmount(context: Context, driver: VolumeDriver, volume: Volume, container_id: str) -> None:
    """Take the content away when the container is the last one that has it, then record it."""
    volumes = context.state.volumes
    with finishing(UNMOUNT_TIMEOUT_S, f"unmount {volume.name}: the {driver.name} driver took too long"):
        if volume.mounted_by <= {container_id}:
            await driver.unmount(volume.name)
        await record(context, lambda: decide.unmount(volumes, volume.name, container_id), answer=None)


async def attach(context: Context, driver: VolumeDriver, volume: Volume) -> str:
    """Mount with the volume's options and return where."""
    try:
        options = open_options(context, volume.options)
        return await driver.mount(volume.name, options)
    except (KeyDestroyed, SystemFailure) as error:
        mountpoint = volume.mountpoint
        raise SystemFailure(f"error while mounting volume '{mountpoint}': {error}") from error


@asynccontextmanager
async def attached(context: Context, driver: VolumeDriver, volume: Volume) -> AsyncIterator[None]:
    """Have it mounted for a while; it stays so when a container has it."""
    await attach(context, driver, volume)
    try:
        yield
    finally:
        if not volume.mounted_by:
            with finishing(UNMOUNT_TIMEOUT_S, f"unmount {volume.name}: the {driver.name} driver took too long"):
                await driver.unmount(volume.name)


async def _undo(context: Context, driver: VolumeDriver, name: str, container_id: str) -> None:
    volume = context.state.volumes.get(name)
    if volume is None:
        return
    try:
        await unmount(context, driver, volume, container_id)
    except EngineError:
        logger.exception("volume %s could not be unmounted", name)
