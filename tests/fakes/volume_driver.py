"""A volume driver in memory: which volumes are there, mounted and filled, without a disk."""

from pathlib import Path

from events.errors import SystemFailure
from handlers.volumes.drivers import mount_options
from handlers.volumes.errors import BadName


class FakeVolumeDriver:
    """Keeps names and contents; `failing` names operations that raise SystemFailure."""

    def __init__(self, name: str = "local") -> None:
        self.name = name
        self.volumes: dict[str, set[str]] = {}
        self.mounted: set[str] = set()
        self.arrived: set[str] = set()  # interrupted copies that were complete
        self.failing: set[str] = set()
        self.calls: list[str] = []

    def check(self, name: str, options: dict[str, str]) -> None:
        if "/" in name:
            raise BadName(name)
        mount_options.check(options)

    async def create(self, name: str, options: dict[str, str]) -> str:
        self._enter("create", name)
        self.volumes.setdefault(name, set())
        return f"/volumes/{name}"

    async def remove(self, name: str) -> None:
        self._enter("remove", name)
        self.mounted.discard(name)
        self.volumes.pop(name, None)

    async def mount(self, name: str, options: dict[str, str]) -> str:
        self._enter("mount", name)
        if options:
            self.mounted.add(name)
        return f"/volumes/{name}"

    async def unmount(self, name: str) -> None:
        self._enter("unmount", name)
        self.mounted.discard(name)

    async def would_populate(self, name: str, rootfs: str, source: str) -> bool:
        return not self.volumes[name] and self._source(rootfs, source).is_dir()

    async def populate(self, name: str, rootfs: str, source: str) -> None:
        self._enter("populate", name)
        if await self.would_populate(name, rootfs, source):
            self.volumes[name] = {entry.name for entry in self._source(rootfs, source).iterdir()}

    async def settle_populate(self, name: str) -> bool:
        self._enter("settle_populate", name)
        return name in self.arrived

    async def list(self) -> frozenset[str]:
        return frozenset(self.volumes)

    async def content(self, name: str) -> set[str]:
        return self.volumes[name]

    def _source(self, rootfs: str, source: str) -> Path:
        return Path(rootfs) / source.lstrip("/")

    def _enter(self, operation: str, name: str) -> None:
        self.calls.append(f"{operation} {name}")
        if operation in self.failing:
            raise SystemFailure(f"{operation} {name}: refused")
