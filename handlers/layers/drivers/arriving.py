"""A file that is read while another process still writes it; without it nothing could be unpacked while it is fetched.

The writer holds a lock on the file (flock(2)) for as long as more may come, and the kernel takes it away when the
writer dies. A reader at the present end waits while the file is locked; once it isn't, the end is the end.
"""

import fcntl
import io
import os
import time
from io import BufferedReader
from typing import Any

from typing_extensions import override

_PAUSE_S = 0.005  # nobody is told of a file's growth but by inotify, whose directory may be out of reach here
_BUFFER_BYTES = 256 * 1024


class Arriving(io.RawIOBase):
    """Reads to the end that the file has when nobody writes it any more."""

    def __init__(self, descriptor: int) -> None:
        """Takes the descriptor over."""
        self._descriptor = descriptor
        self._is_whole = False

    @override
    def readinto(self, buffer: Any, /) -> int:
        """Wait for at least one byte; 0 at the end."""
        while not (size := os.readv(self._descriptor, [buffer])) and not self._is_whole:
            self._wait()
        return size

    @override
    def readable(self) -> bool:
        """Yes."""
        return True

    @override
    def seekable(self) -> bool:
        """Yes."""
        return True

    @override
    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """As for any file; the end is the present one."""
        return os.lseek(self._descriptor, offset, whence)

    @override
    def close(self) -> None:
        """Close the descriptor too; twice is fine."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def _wait(self) -> None:
        """Once the lock can be had, whatever was written before it went is there to be read."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        else:
            self._is_whole = True
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def open_arriving(path: str) -> BufferedReader:
    """Open a file for reading, finished or not. Raises OSError."""
    return BufferedReader(Arriving(os.open(path, os.O_RDONLY | os.O_CLOEXEC)), _BUFFER_BYTES)
