"""The commands of volumes; without it nobody would see to it that one volume has one thing done to it at a time."""

from collections.abc import Mapping
from typing import Any

from events.base import Command
from events.messages import volume as m
from events.projections.volumes import Volume
from handlers.context import Context, Handle
from handlers.turns import Turns
from handlers.volumes import decide, recovery, users
from handlers.volumes.create import check, create, make
from handlers.volumes.errors import NoSuchDriver
from handlers.volumes.mount import mount, unmount
from handlers.volumes.populate import populate, settle
from handlers.volumes.ports import VolumeDriver
from handlers.volumes.remove import intend, take_away

DEFAULT_DRIVER = "local"
TURN_LIMIT_S = 300.0  # a copy may be large


class VolumeHandler:
    """Volumes of all drivers."""

    def __init__(self, drivers: Mapping[str, VolumeDriver]) -> None:
        self._drivers = dict(drivers)
        self._turns = Turns(TURN_LIMIT_S)

    def commands(self) -> dict[type[Command[Any]], Handle]:
        """The table command -> coroutine."""
        return {
            m.CreateVolume: self.create,
            m.RemoveVolume: self.remove,
            m.AcquireVolume: users.acquire,
            m.ReleaseVolume: self.release,
            m.PopulateVolume: self.populate,
            m.MountVolume: self.mount,
            m.UnmountVolume: self.unmount,
        }

    async def reconcile(self, context: Context) -> None:
        """Settle open intents, remove what nobody knows, destroy keys without a volume."""
        await recovery.reconcile(context, self._drivers, self._turns, self._finish)

    async def create(self, context: Context, command: m.CreateVolume) -> m.CreatedVolume:
        """Make a volume, or answer with the one that has the name. Raises InvalidParameter, NameConflict."""
        name = command.name or context.ids.new()
        driver = self._driver(command.driver or DEFAULT_DRIVER, f"create {name}")
        check(driver, name, command.options)
        async with self._turns.of(name):
            await self._finish(context, context.state.volumes.get(name))
            if decide.existing(context.state.volumes, name, driver.name) is not None:
                return m.CreatedVolume(name=name, created=False)
            return await create(context, driver, name, command)

    async def remove(self, context: Context, command: m.RemoveVolume) -> None:
        """Remove a volume with what is in it. Raises NoSuchVolume, VolumeInUse."""
        async with self._turns.of(command.name):
            await self._take_away(context, await intend(context, command))

    async def release(self, context: Context, command: m.ReleaseVolume) -> None:
        """Let go of a volume; `remove` takes an anonymous one away with its last user."""
        if not command.remove:
            await users.release(context, command)
            return
        async with self._turns.of(command.name):
            await self._take_away(context, await users.release_last(context, command))

    async def populate(self, context: Context, command: m.PopulateVolume) -> None:
        """Copy image content into an empty volume. Raises NoSuchVolume, SystemFailure."""
        async with self._turns.of(command.name):
            volume = decide.ready(context.state.volumes, command.name)
            await populate(context, self._driver_of(volume), volume, command)

    async def mount(self, context: Context, command: m.MountVolume) -> m.MountedVolume:
        """Make the content available for a container's start. Raises NoSuchVolume, SystemFailure."""
        async with self._turns.of(command.name):
            volume = decide.ready(context.state.volumes, command.name)
            return await mount(context, self._driver_of(volume), volume, command)

    async def unmount(self, context: Context, command: m.UnmountVolume) -> None:
        """Undo `mount`; with the last container that has it the content goes from the host."""
        async with self._turns.of(command.name):
            volume = context.state.volumes.get(command.name)
            if volume is not None:
                await unmount(context, self._driver_of(volume), volume, command.container_id)

    async def _finish(self, context: Context, volume: Volume | None) -> None:
        """Bring its open intent, if it has one, to its outcome. The caller has its turn."""
        if volume is None:
            return
        if volume.status == "creating":
            await make(context, self._driver_of(volume), volume)
        elif volume.status == "removing":
            await take_away(context, self._driver_of(volume), volume, recovery.SETTLE_TIMEOUT_S)
        elif volume.populating:
            await settle(context, self._driver_of(volume), volume)

    async def _take_away(self, context: Context, volume: Volume | None) -> None:
        if volume is not None:
            await take_away(context, self._driver_of(volume), volume)

    def _driver_of(self, volume: Volume) -> VolumeDriver:
        return self._driver(volume.driver, f"get {volume.name}")

    def _driver(self, name: str, operation: str) -> VolumeDriver:
        driver = self._drivers.get(name)
        if driver is None:
            raise NoSuchDriver(name, operation)
        return driver
