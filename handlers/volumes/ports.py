"""What the volume handler needs of a volume driver."""

from typing import Protocol


class VolumeDriver(Protocol):
    """Keeps volumes. Creating what is there with the same options and removing what is absent succeed."""

    name: str

    def check(self, name: str, options: dict[str, str]) -> None:
        """Raise InvalidParameter, in Docker's words, for a name or option that can't be."""

    async def create(self, name: str, options: dict[str, str]) -> str:
        """Make it and return its mountpoint on the host."""

    async def remove(self, name: str) -> None:
        """Remove it and what is in it."""

    async def mount(self, name: str, options: dict[str, str]) -> str:
        """Make its content available and return where; mounted already is fine."""

    async def unmount(self, name: str) -> None:
        """Undo `mount`."""

    async def would_populate(self, name: str, rootfs: str, source: str) -> bool:
        """Whether `populate` would copy anything: the volume is empty and `source` is a directory."""

    async def populate(self, name: str, rootfs: str, source: str) -> None:
        """Copy `source` of a container's file system into an empty volume: owners, modes, times, xattrs, links.

        `source` is resolved inside `rootfs`; nothing outside is read. Nothing happens when the volume isn't empty
        or `source` is no directory.
        """

    async def settle_populate(self, name: str) -> bool:
        """Complete or discard what an interrupted `populate` left; True when its content has arrived."""

    async def list(self) -> frozenset[str]:
        """Names of everything on disk that has this engine's mark, complete or not."""
