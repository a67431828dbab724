"""The graph driver `aufs`: layers stacked by the aufs file system, for kernels that carry it (it was never merged).

Layers as in `stacked.py`, deletions as aufs's own marks. Mount options: aufs(5).
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from events.errors import SystemFailure
from handlers.kernel import mounts
from handlers.kernel.programs import ProgramFailed, run_program
from handlers.layers.drivers.overlay_check import backing_filesystem
from handlers.layers.drivers.quota import refuse
from handlers.layers.drivers.stacked import ShownStacks
from handlers.layers.drivers.unpacking import Marks

_FILESYSTEMS = Path("/proc/filesystems")
_UNSUITABLE = ("aufs", "btrfs", "overlay", "ecryptfs", "zfs")  # aufs(5): they can't be a writable branch


class AufsUnusable(SystemFailure):
    """The host lacks what aufs needs."""

    def __init__(self, why: str) -> None:
        super().__init__(f"aufs can't be used: {why}")


class Aufs(ShownStacks):
    """Stacks layers by aufs below `<root>`."""

    name = "aufs"
    marks: ClassVar[Marks] = "aufs"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._filesystem = ""

    @override
    def describe(self) -> tuple[tuple[str, str], ...]:
        return (("Root Dir", str(self._root)), ("Backing Filesystem", self._filesystem), ("Dirperm1 Supported", "true"))

    @override
    def _prepare(self) -> None:
        if not _kernel_has_aufs():
            raise AufsUnusable("the kernel has no aufs file system (module aufs); overlay2 is what replaced it")
        self._make_root()
        self._filesystem = backing_filesystem(self._root)
        if self._filesystem in _UNSUITABLE:
            raise AufsUnusable(f"{self._root} lies on {self._filesystem}, which can't be a writable branch")

    @override
    def _size(self, options: Mapping[str, str]) -> int:
        refuse(options, "--storage-opt is not supported for aufs")  # dockerd's words
        return 0

    @override
    def _stack(self, cache_id: str, lineage: tuple[str, ...]) -> None:
        self._pile(f"{self._diff(cache_id)}=rw", lineage, self._merged(cache_id))

    @override
    def _stack_for_reading(self, lineage: tuple[str, ...]) -> None:
        self._pile(f"{self._diff(lineage[0])}=ro+wh", lineage[1:], self._root / lineage[0] / "view")

    def _pile(self, top: str, lineage: tuple[str, ...], place: Path) -> None:
        merged = str(place)
        # dirperm1: the topmost layer's permission decides, not the sum of all; dio: direct I/O works
        options = f"br:{top},dio,xino=/dev/shm/aufs.xino,dirperm1"
        mounts.mount("none", merged, filesystem="aufs", options=options)
        try:
            for lower in lineage:  # one by one: all of them don't fit into one page of options
                options = f"append:{self._diff(lower)}=ro+wh"
                mounts.mount("none", merged, filesystem="aufs", flags=mounts.MountFlag.REMOUNT, options=options)
        except BaseException:
            mounts.unmount(merged)
            raise


def _kernel_has_aufs() -> bool:
    """Whether aufs is there, after the module was asked for."""
    if "aufs" not in _FILESYSTEMS.read_text(encoding="ascii").split():
        with suppress(ProgramFailed):  # built in, absent, or no modprobe: the next line tells
            run_program(["modprobe", "aufs"])
    return "aufs" in _FILESYSTEMS.read_text(encoding="ascii").split()
