"""The way into the kernel for calls that Python's library lacks, and the one place where errno becomes an error.

Without it every driver would load libc and word the kernel's refusals by itself.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from events.errors import SystemFailure

_LIBC = ctypes.CDLL(None, use_errno=True)


def reason(number: int) -> str:
    """The kernel's word for an errno, spelled as Docker's messages spell it (`no such file or directory`)."""
    text = os.strerror(number)
    return text[:1].lower() + text[1:]


class KernelRefused(SystemFailure):
    """The kernel said no: `errno` tells why, `what` what was tried."""

    def __init__(self, what: str, number: int) -> None:
        self.what, self.errno = what, number
        super().__init__(f"{what}: {reason(number)}")


@contextmanager
def attempt(what: str) -> Iterator[None]:
    """Turn an OSError into KernelRefused; `what` says what is tried (`remove layer 1234`)."""
    try:
        yield
    except OSError as error:
        raise KernelRefused(what, error.errno or 0) from error


def call(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None, what: str) -> int:
    """Call a libc function that returns an `int`, -1 with errno on failure.

    Numbers go as C `long`, bytes and None as pointers. Releases the GIL. Raises KernelRefused.
    """
    function = getattr(_LIBC, name)
    function.restype = ctypes.c_int  # all of them; read as long, -1 may come out as 4294967295
    result: int = function(*(ctypes.c_long(item) if isinstance(item, int) else item for item in arguments))
    if result == -1:
        raise KernelRefused(what, ctypes.get_errno())
    return result
