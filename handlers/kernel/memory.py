"""How the C library keeps memory that was freed; by itself it keeps an area for each of many threads, and all of it.

Source: man 3 mallopt, man 3 malloc_trim. A C library that knows neither is left alone.
"""

import ctypes

_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h
_LIBC = ctypes.CDLL(None)


def share_one_area() -> None:
    """Have all threads allocate from one area: Python lets one run at a time anyway. For before there are others."""
    if hasattr(_LIBC, "mallopt"):
        _LIBC.mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the kernel what is free."""
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(ctypes.c_size_t(0))
