"""The graph driver `fuse-overlayfs`: overlayfs's layers served by a program; for kernels or file systems without it.

Layers are overlay2's (see `stacked.py`), marks included. Each mount has a process of its own, which goes with it; it
must outlive the engine, as containers do.
"""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from events.errors import SystemFailure
from handlers.kernel import mounts
from handlers.kernel.calls import attempt
from handlers.kernel.programs import find_program, run_program
from handlers.layers.drivers.overlay_check import EMPTY, backing_filesystem
from handlers.layers.drivers.quota import refuse
from handlers.layers.drivers.stacked import ShownStacks
from handlers.layers.drivers.unpacking import Marks

PROGRAM = "fuse-overlayfs"
_DEVICE = Path("/dev/fuse")


class FuseOverlayfsUnusable(SystemFailure):
    """The host lacks what fuse-overlayfs needs."""

    def __init__(self, why: str) -> None:
        super().__init__(f"fuse-overlayfs can't be used: {why}")


class FuseOverlayfs(ShownStacks):
    """Stacks layers by fuse-overlayfs below `<root>`."""

    name = "fuse-overlayfs"
    marks: ClassVar[Marks] = "overlay"
    own_names = frozenset((EMPTY,))

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._program = ""
        self._filesystem = ""

    @override
    def describe(self) -> tuple[tuple[str, str], ...]:
        return (("Backing Filesystem", self._filesystem),)

    @override
    def _prepare(self) -> None:
        self._program = find_program(PROGRAM)
        if not self._program:
            raise FuseOverlayfsUnusable("the program fuse-overlayfs is missing (Debian package fuse-overlayfs)")
        if not _DEVICE.exists():
            raise FuseOverlayfsUnusable(f"{_DEVICE} is missing (the kernel module fuse)")
        self._make_root()
        with attempt(f"make {self._root}"):
            (self._root / EMPTY).mkdir(exist_ok=True)
        self._filesystem = backing_filesystem(self._root)

    @override
    def _size(self, options: Mapping[str, str]) -> int:
        refuse(options, "--storage-opt is not supported")  # dockerd's words
        return 0

    @override
    def _stack(self, cache_id: str, lineage: tuple[str, ...]) -> None:
        self._serve(f"{_lower(lineage)},upperdir={cache_id}/diff,workdir={cache_id}/work", f"{cache_id}/merged")

    @override
    def _stack_for_reading(self, lineage: tuple[str, ...]) -> None:
        self._serve(_lower(lineage), f"{lineage[0]}/view")

    def _serve(self, stack: str, place: str) -> None:
        # dev and suid, or the image's devices and set-user-ID programs were dead; allow_other: containers have users
        command = [self._program, "-o", f"{stack},allow_other,dev,suid", place]
        run_program(command, directory=self._root)

    @override
    def _mount(self, cache_id: str, lineage: tuple[str, ...]) -> str:
        if _is_dead(self._merged(cache_id)):
            mounts.unmount(str(self._merged(cache_id)))
        return super()._mount(cache_id, lineage)


def _lower(lineage: tuple[str, ...]) -> str:
    return f"lowerdir={':'.join(f'{name}/diff' for name in lineage) or EMPTY}"


def _is_dead(mounted: Path) -> bool:
    """Whether the program that served a mount is gone."""
    try:
        mounted.stat()
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False
