"""How a process of ours gives up power before it reads what strangers wrote; without it an archive parser is root.

Runs in small child processes that import little: no third-party module here.
"""

import ctypes
import os
import struct
from collections.abc import Iterable

from handlers.kernel.calls import attempt, call

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_SIGKILL = 9
_CAPABILITY_VERSION_3 = 0x20080522  # <linux/capability.h>
_LAST_CAPABILITY = "/proc/sys/kernel/cap_last_cap"

CAP_CHOWN = 0
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_FOWNER = 3
CAP_FSETID = 4
CAP_SYS_ADMIN = 21
CAP_MKNOD = 27
CAP_SETFCAP = 31


def die_with_parent(parent_pid: int) -> None:
    """Be killed when the thread that started this process ends; end at once if it has."""
    call("prctl", _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0, what="prctl PR_SET_PDEATHSIG")
    if os.getppid() != parent_pid:
        raise SystemExit(1)


def last_capability() -> int:
    """The highest capability number that the kernel knows."""
    with attempt(f"read {_LAST_CAPABILITY}"), open(_LAST_CAPABILITY, encoding="ascii") as file:  # noqa: PTH123
        return int(file.read())


def keep_capabilities(kept: Iterable[int], *, last: int) -> None:
    """Drop all other capabilities for good (capset(2), the bounding set, no_new_privs); `last`: highest number."""
    allowed = set(kept)
    for number in range(last + 1):
        if number not in allowed:
            call("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0, what=f"drop capability {number}")
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, what="prctl PR_SET_NO_NEW_PRIVS")
    mask = sum(1 << number for number in allowed) & _permitted()
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = struct.pack("=6I", low, low, 0, high, high, 0)  # effective, permitted, inheritable; twice 32 bits
    call("capset", struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), data, what="capset")


def enter_root(path: str) -> None:
    """chroot(2) and stand in it: names resolve below `path` from now on."""
    with attempt(f"chroot {path}"):
        os.chroot(path)
        os.chdir("/")


def _permitted() -> int:
    data = ctypes.create_string_buffer(24)
    call("capget", struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), data, what="capget")
    _, low, _, _, high, _ = struct.unpack("=6I", data.raw)
    return int(low) | int(high) << 32
