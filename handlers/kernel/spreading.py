"""Tells a file system that the directories in one have nothing to do with each other; without it all layers would crowd
into the part of the disk where the first one lies, and wait there for each other while several are filled.

ioctls and flag of linux/fs.h; the flag is `T` of chattr(1), which ext2, ext3 and ext4 know.
"""

import errno
import fcntl
import os
import struct
from pathlib import Path

_FLAGS = struct.Struct("=i")
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS
_TOP = 0x00020000  # FS_TOPDIR_FL
_NOT_KNOWN = (errno.ENOTTY, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS, errno.EPERM)


def spread_subdirectories(directory: Path) -> bool:
    """Have what is made in a directory, and with it what comes below that, put where the disk has most room.

    False where the file system knows no such thing. Raises OSError.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        (flags,) = _FLAGS.unpack(fcntl.ioctl(descriptor, _GET_FLAGS, bytes(_FLAGS.size)))
        fcntl.ioctl(descriptor, _SET_FLAGS, _FLAGS.pack(flags | _TOP))
    except OSError as error:
        if error.errno in _NOT_KNOWN:
            return False
        raise
    finally:
        os.close(descriptor)
    return True
