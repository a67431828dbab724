"""Whether overlayfs can hold Docker's layers here; without it a wrong file system shows as odd errors in containers."""

import os
import secrets
import stat
from pathlib import Path

from events.errors import SystemFailure
from handlers.kernel import mounts
from handlers.kernel.calls import KernelRefused, attempt
from handlers.kernel.trees import delete_tree
from handlers.layers.drivers.whiteouts import OVERLAY_OPAQUE

EMPTY = "empty"  # below the links: the lower directory of a container without an image
_PARAMETERS = Path("/sys/module/overlay/parameters")
_FILESYSTEM_NAMES = {"ext2": "extfs", "ext3": "extfs", "ext4": "extfs", "overlay": "overlayfs"}  # as Docker has them
_SAFE_OPTIONS = {"redirect_dir": "nofollow", "metacopy": "off", "index": "off"}


class OverlayUnusable(SystemFailure):
    """This file system or kernel can't hold overlay2 layers."""

    def __init__(self, root: Path, why: str) -> None:
        self.root, self.why = root, why
        super().__init__(f"overlay2 can't be used on {root}: {why}; choose another --data-root or --storage-driver vfs")


def safe_options() -> str:
    """Mount options that switch off what would let one layer speak of another's files, where the kernel knows them."""
    known = (f",{name}={value}" for name, value in _SAFE_OPTIONS.items() if (_PARAMETERS / name).exists())
    return "".join(known)


def backing_filesystem(root: Path) -> str:
    """The name of the file system below, as `docker info` shows it."""
    kind = mounts.mount_holding(str(root), mounts.mounts()).filesystem
    return _FILESYSTEM_NAMES.get(kind, kind)


def check(root: Path, options: str) -> None:
    """Mount a small stack and see whether deletions hide. Raises OverlayUnusable. Leaves nothing behind."""
    directory = root / f".check-{secrets.token_hex(4)}"
    try:
        with attempt(f"try overlayfs out in {root}"):
            _fill(directory)
        _look(root, directory, options)
    finally:
        mounts.unmount(str(directory / "merged"))
        with attempt(f"remove {directory}"):
            delete_tree(directory)


def _fill(directory: Path) -> None:
    for name in ("lower/opaque", "upper/opaque", "work", "merged"):
        (directory / name).mkdir(parents=True)
    for name in ("kept", "deleted", "opaque/deleted"):
        (directory / "lower" / name).touch()
    os.mknod(directory / "upper" / "deleted", stat.S_IFCHR, os.makedev(0, 0))
    os.setxattr(directory / "upper" / "opaque", OVERLAY_OPAQUE, b"y")


def _look(root: Path, directory: Path, options: str) -> None:
    layers = f"lowerdir={directory}/lower,upperdir={directory}/upper,workdir={directory}/work"
    try:
        mounts.mount("overlay", str(directory / "merged"), filesystem="overlay", options=layers + options)
    except KernelRefused as refusal:
        known = "overlay" in Path("/proc/filesystems").read_text(encoding="ascii").split()
        missing = f"the kernel refuses the mount ({refusal})" if known else "the kernel has no overlay file system"
        raise OverlayUnusable(root, missing) from refusal
    if sorted(path.name for path in (directory / "merged").iterdir()) != ["kept", "opaque"]:
        raise OverlayUnusable(root, "deleted files stay visible (a file system without d_type?)")
    if list((directory / "merged" / "opaque").iterdir()):
        raise OverlayUnusable(root, "opaque directories aren't (no trusted extended attributes?)")
