"""btrfs's own calls: subvolumes, snapshots and their quotas; ioctls of linux/btrfs.h on a directory of the file system.

Every function blocks and raises KernelRefused.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handlers.kernel.calls import attempt

_ROOT_INODE = 256  # BTRFS_FIRST_FREE_OBJECTID: every subvolume's root has this number
_NAMED = struct.Struct("=q4088s")  # struct btrfs_ioctl_vol_args: descriptor, name
_SNAPSHOT, _CREATE, _DESTROY = 0x50009401, 0x5000940E, 0x5000940F
_QUOTA_CONTROL, _QGROUP_CREATE, _QGROUP_LIMIT = 0xC0109428, 0x4010942A, 0x8030942B
_QUOTA_ENABLE = 1
_MAXIMUM_REFERENCED = 1
_LOOKUP, _LOOKUP_SIZE = 0xD0009412, 4096  # BTRFS_IOC_INO_LOOKUP


def is_subvolume(path: Path) -> bool:
    """Whether a directory of a btrfs is a subvolume's root."""
    return path.stat(follow_symlinks=False).st_ino == _ROOT_INODE


def create_subvolume(path: Path) -> None:
    """Make an empty subvolume."""
    with _opened(path.parent) as parent:
        _ioctl(parent, _CREATE, _NAMED.pack(0, os.fsencode(path.name)), f"create subvolume {path}")


def snapshot(source: Path, target: Path) -> None:
    """Make a writable subvolume with all that another one holds now."""
    with _opened(source) as original, _opened(target.parent) as parent:
        _ioctl(parent, _SNAPSHOT, _NAMED.pack(original, os.fsencode(target.name)), f"snapshot {source}")


def destroy_subvolume(path: Path) -> None:
    """Delete a subvolume with all that is in it; subvolumes in it must be gone (ENOTEMPTY)."""
    with _opened(path.parent) as parent:
        _ioctl(parent, _DESTROY, _NAMED.pack(0, os.fsencode(path.name)), f"delete subvolume {path}")


def subvolume_id(path: Path) -> int:
    """The number of a subvolume, which its quota group has too."""
    buffer = bytearray(struct.pack("=QQ", 0, _ROOT_INODE) + bytes(_LOOKUP_SIZE - 16))
    with _opened(path) as descriptor, attempt(f"look up subvolume {path}"):
        fcntl.ioctl(descriptor, _LOOKUP, buffer)
    return int(struct.unpack_from("=Q", buffer)[0])


def enable_quotas(path: Path) -> None:
    """Have the file system count what subvolumes take; enabled already is fine."""
    with _opened(path) as descriptor:
        _ioctl(descriptor, _QUOTA_CONTROL, struct.pack("=QQ", _QUOTA_ENABLE, 0), f"enable quotas on {path}")


def limit_subvolume(path: Path, size_bytes: int) -> None:
    """Bound what a subvolume may refer to. Quotas must be enabled."""
    value = struct.pack("=6Q", 0, _MAXIMUM_REFERENCED, size_bytes, 0, 0, 0)
    with _opened(path) as descriptor:
        _ioctl(descriptor, _QGROUP_LIMIT, value, f"set the quota of {path}")


def forget_quota_group(path: Path, number: int) -> None:
    """Remove the quota group that a subvolume has left behind on the file system that holds `path`."""
    with _opened(path) as descriptor:
        _ioctl(descriptor, _QGROUP_CREATE, struct.pack("=QQ", 0, number), f"remove quota group {number}")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    with attempt(f"open {path}"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _ioctl(descriptor: int, request: int, value: bytes, what: str) -> None:
    with attempt(what):
        fcntl.ioctl(descriptor, request, bytearray(value))
