"""Volumes as directories of this host, and what its kernel can mount there; without it nothing outlives a container."""

import os
import re
from pathlib import Path

import anyio.from_thread
import anyio.to_thread

from events.errors import SystemFailure
from handlers.kernel.calls import attempt
from handlers.kernel.mounts import mounts
from handlers.kernel.threads import run_foreign, run_long
from handlers.kernel.trees import delete_tree
from handlers.volumes.drivers import arrival, device, mount_options
from handlers.volumes.errors import BadName, ShortName

CONTENT = "_data"
MARK = ".shiplog"
DEVICE = ".shiplog-device"  # its presence: the volume's options name something to mount

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class LocalDriver:
    """Keeps volume NAME in ROOT/NAME/_data, as Docker's local driver does.

    `mark` tells this engine's volumes from directories that somebody else put below `root`: only what carries it is
    ever listed, so that recovery removes nobody's data but the engine's own. The log's id is a good mark.
    """

    name = "local"

    def __init__(self, root: Path, mark: str = "shiplog") -> None:
        self._root = root.resolve()  # as the kernel lists it among the mounts
        self._mark = mark

    def check(self, name: str, options: dict[str, str]) -> None:
        """Raise InvalidParameter for a name or an option that can't be."""
        if len(name) == 1:
            raise ShortName
        if not _NAME.fullmatch(name):
            raise BadName(name)
        mount_options.check(options)

    async def create(self, name: str, options: dict[str, str]) -> str:
        """Make the directories, durably, and return where the content will be."""
        await anyio.to_thread.run_sync(self._create, name)
        if mount_options.plan(options) is not None:
            await anyio.to_thread.run_sync((self._root / name / DEVICE).touch)
        return str(self._data(name))

    async def remove(self, name: str) -> None:
        """Unmount and delete. Raises SystemFailure when it can't be unmounted: then nothing is deleted."""
        await self.unmount(name)
        await run_long(self._remove, name)

    async def mount(self, name: str, options: dict[str, str]) -> str:
        """Mount the device that the options name, if they name one and it isn't mounted, and return where."""
        data = self._data(name)
        plan = mount_options.plan(options)
        if plan is not None and not await anyio.to_thread.run_sync(self._is_mounted, name):
            await device.mount_device(plan, str(data))
            await run_foreign(self._settle, name)
        return str(data)

    async def unmount(self, name: str) -> None:
        """Take down what `mount` has mounted."""
        # A plain volume's directory is left alone: what somebody may have mounted there isn't ours.
        if (self._root / name / DEVICE).exists():
            await device.unmount_device(str(self._data(name)))

    async def would_populate(self, name: str, rootfs: str, source: str) -> bool:
        """Whether the volume is empty and `source` a directory."""
        descriptor = await run_foreign(self._open_source, name, rootfs, source)
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is not None

    async def populate(self, name: str, rootfs: str, source: str) -> None:
        """Copy `source`; all of it is in the volume afterwards, or nothing."""
        descriptor = await run_foreign(self._open_source, name, rootfs, source)
        if descriptor is None:
            return
        try:
            with attempt(f"populate volume {name}"):
                stage = await anyio.to_thread.run_sync(self._stage, name)
                await arrival.arrive(descriptor, stage, self._data(name))
        finally:
            os.close(descriptor)

    async def settle_populate(self, name: str) -> bool:
        """Complete or discard an interrupted copy; True when its content has arrived."""
        return await run_long(self._settle, name)

    async def list(self) -> frozenset[str]:
        """Volumes below the root that carry this engine's mark."""
        return await anyio.to_thread.run_sync(self._list)

    def _data(self, name: str) -> Path:
        return self._root / name / CONTENT

    def _create(self, name: str) -> None:
        directory, data = self._root / name, self._data(name)
        with attempt(f"create {directory}"):
            self._root.mkdir(mode=0o701, parents=True, exist_ok=True)
            directory.mkdir(mode=0o701, exist_ok=True)
            (directory / MARK).write_text(self._mark)
            if not data.is_dir():
                data.mkdir()
                data.chmod(0o755)  # whatever the umask
            for place in (directory / MARK, directory, self._root):
                _sync(place)

    def _remove(self, name: str) -> None:
        directory = self._root / name
        mounted = [point.path for point in mounts() if Path(point.path).is_relative_to(directory)]
        if mounted:  # deleting would reach what is behind the mount
            raise SystemFailure(f"remove {name}: {mounted[0]} is still mounted")
        with attempt(f"remove {directory}"):
            if directory.is_dir():
                _delete_content(self._data(name))
                delete_tree(directory)

    def _is_mounted(self, name: str) -> bool:
        path = str(self._data(name))
        return any(point.path == path for point in mounts())

    def _stage(self, name: str) -> Path:
        """Where content arrives: on the same file system, so in a mounted device inside it."""
        return self._data(name) if self._is_mounted(name) else self._root / name

    def _open_source(self, name: str, rootfs: str, source: str) -> int | None:
        self._settle(name)
        with attempt(f"populate volume {name}"):
            return arrival.open_source(rootfs, source) if arrival.is_empty(self._data(name)) else None

    def _settle(self, name: str) -> bool:
        with attempt(f"populate volume {name}"):
            return arrival.settle(self._stage(name), self._data(name))

    def _list(self) -> frozenset[str]:
        with attempt(f"list {self._root}"):
            if not self._root.is_dir():
                return frozenset()
            return frozenset(entry.name for entry in self._root.iterdir() if self._is_marked(entry))

    def _is_marked(self, directory: Path) -> bool:
        try:
            return (directory / MARK).read_text() == self._mark
        except (FileNotFoundError, NotADirectoryError):
            return False


def _delete_content(directory: Path) -> None:
    """Delete what is in a directory, stopping between entries when the caller has been cancelled."""
    if not directory.is_dir():
        return
    for entry in directory.iterdir():
        anyio.from_thread.check_cancelled()
        delete_tree(entry)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
