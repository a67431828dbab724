"""Project quotas: a directory with all below it gets a number, and the file system bounds what files of a number take.

quotactl_fd(2) with the commands of linux/dqblk_xfs.h, which xfs and ext4 answer; ioctls of linux/fs.h.
"""

import ctypes
import errno
import fcntl
import os
import struct
from pathlib import Path

from handlers.kernel.calls import KernelRefused, attempt

_QUOTACTL_FD = 443  # the same on every architecture: numbers above 402 are shared; Linux 5.14
_SET_LIMITS = ((ord("X") << 8) + 4) << 8 | 2  # QCMD(Q_XSETQLIM, PRJQUOTA)
_LIMITS = struct.Struct("=bbHIQQQQQQiiHHbbbbQQQiHh8x")  # struct fs_disk_quota
_VERSION, _PROJECT, _BLOCK_LIMITS = 1, 2, (1 << 2) | (1 << 3)
_BLOCK_BYTES = 512
_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820  # FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR
_ATTRIBUTES = struct.Struct("=5I8x")  # struct fsxattr: flags, extent size, extents, project, copy-on-write extent size
_INHERIT = 0x200  # FS_XFLAG_PROJINHERIT
_NOT_THERE = (errno.ENOSYS, errno.ENOTSUP, errno.ESRCH, errno.ENOTTY, errno.EINVAL, errno.ENODEV)

_libc = ctypes.CDLL(None, use_errno=True)


def has_project_quotas(path: Path) -> bool:
    """Whether the file system that holds a directory enforces project quotas now."""
    try:
        set_limit(path, 0, 0)
    except KernelRefused as refusal:
        if refusal.errno in _NOT_THERE:
            return False
        raise
    return True


def set_limit(path: Path, project: int, size_bytes: int) -> None:
    """Bound what files of a project take on the file system that holds `path`; 0: no bound. Raises KernelRefused."""
    blocks = -(-size_bytes // _BLOCK_BYTES)
    limits = _LIMITS.pack(_VERSION, _PROJECT, _BLOCK_LIMITS, project, blocks, blocks, *(0,) * 18)
    with attempt(f"open {path}"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syscall(_QUOTACTL_FD, descriptor, _SET_LIMITS, project, limits) < 0:
            raise KernelRefused(f"set the quota of {path}", ctypes.get_errno())
    finally:
        os.close(descriptor)


def project_of(path: Path) -> int:
    """The number of a directory's project; 0 for none. Raises OSError."""
    return int(_attributes(path)[3])


def set_project(path: Path, project: int) -> None:
    """Give a directory, and what will be made in it, to a project. Raises OSError."""
    flags, extent_size, extents, _, copied_size = _attributes(path)
    value = _ATTRIBUTES.pack(flags | _INHERIT, extent_size, extents, project, copied_size)
    _on_directory(path, _SET_ATTRIBUTES, value)


def _attributes(path: Path) -> tuple[int, ...]:
    return _ATTRIBUTES.unpack(_on_directory(path, _GET_ATTRIBUTES, bytes(_ATTRIBUTES.size)))


def _on_directory(path: Path, request: int, value: bytes) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(descriptor, request, value)
    finally:
        os.close(descriptor)
