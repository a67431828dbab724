"""The metadata of directories that an archive takes for granted; without it a layer that brings `tmp/x` but no `tmp/`
would turn everybody's /tmp from 1777 into 0755.

Looks into the lower layers from inside the chroot, from a directory opened before it, one component at a time and
through no symbolic link: nothing outside the layers can be reached. Runs in the unpacking process.
"""

import errno
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from handlers.layers.drivers.whiteouts import OPAQUE, OVERLAY_ATTRIBUTES, OVERLAY_OPAQUE, PREFIX

_ABSENT = (errno.ENOENT,)
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Metadata(NamedTuple):
    """What a directory has besides its entries."""

    mode: int
    uid: int
    gid: int
    modified_ns: int
    attributes: dict[str, bytes]


class Lineage:
    """Lower layers, top first."""

    def __init__(self, directories: Sequence[str], root: int | None = None) -> None:
        """Absolute paths, as seen from the open directory `root` where there is one. Raises OSError."""
        self.descriptors = tuple(
            os.open(path, _OPEN) if root is None else os.open(path.lstrip("/"), _OPEN, dir_fd=root)
            for path in directories
        )

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in self.descriptors:
            os.close(descriptor)

    def directory(self, path: str) -> Metadata | None:
        """Metadata of the directory that would be seen at `path`; None when there is none."""
        for lower in self.descriptors:
            descriptor, hides = _open_below(lower, path)
            if descriptor is not None:
                try:
                    return _metadata(descriptor)
                finally:
                    os.close(descriptor)
            if hides:
                return None
        return None


def _open_below(root: int, path: str) -> tuple[int | None, bool]:
    """A descriptor of `path` if this layer has it as a directory, and whether what is further below is hidden."""
    descriptor, hides = os.dup(root), False
    for component in path.split("/") if path else ():
        try:
            following = os.open(component, _OPEN, dir_fd=descriptor)
        except OSError as error:
            hides = hides or error.errno not in _ABSENT or _has(descriptor, PREFIX + component)
            os.close(descriptor)
            return None, hides
        os.close(descriptor)
        descriptor = following
        hides = hides or _is_opaque(descriptor)
    return descriptor, hides


def _is_opaque(descriptor: int) -> bool:
    try:
        return os.getxattr(descriptor, OVERLAY_OPAQUE) == b"y"
    except OSError:
        return _has(descriptor, OPAQUE)


def _has(descriptor: int, name: str) -> bool:
    """Whether a directory has an entry; only aufs layers have any that begin with `.wh.`."""
    try:
        os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except OSError:
        return False
    return True


def _metadata(descriptor: int) -> Metadata:
    status = os.fstat(descriptor)
    names = [name for name in os.listxattr(descriptor) if not name.startswith(OVERLAY_ATTRIBUTES)]
    return Metadata(
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        modified_ns=status.st_mtime_ns,
        attributes={name: os.getxattr(descriptor, name) for name in names},
    )
