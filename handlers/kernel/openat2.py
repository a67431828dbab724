"""openat2(2): without it a symbolic link in a container's file system could lead the engine out of it."""

import ctypes
import errno
import os
import struct

_SYSTEM_CALL = 437  # the same on every architecture: numbers above 402 are shared
_OPEN_HOW = struct.Struct("=QQQ")  # `struct open_how` of linux/openat2.h: flags, mode, resolve
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10
_ATTEMPTS = 128  # a rename anywhere on the host may make the kernel give up with EAGAIN

_libc = ctypes.CDLL(None, use_errno=True)


def open_in_root(root_descriptor: int, path: str, flags: int) -> int:
    """Open `path` as a process would whose root directory is `root_descriptor`; returns a new descriptor.

    Absolute paths, `..` and symbolic links all stay inside; links of /proc are refused.
    Raises OSError as open(2) does, and EAGAIN when the tree keeps changing. Source: openat2(2), Linux 5.6.
    """
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    name = os.fsencode(path) or b"."
    number = errno.EAGAIN
    for _ in range(_ATTEMPTS):
        descriptor = _libc.syscall(_SYSTEM_CALL, root_descriptor, name, how, len(how))
        if descriptor >= 0:
            return int(descriptor)
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), path)
