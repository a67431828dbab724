"""A file that is appended to while others read it; locked (flock(2)) for as long as more may come.

Without the lock, which the kernel takes away when the writer dies, a reader couldn't tell an end from a pause.
"""

import fcntl
import os
from pathlib import Path
from typing import Protocol

from handlers.kernel.calls import attempt

_BLOCK_BYTES = 1024 * 1024


class Digest(Protocol):
    """What hashlib's objects are."""

    def update(self, data: bytes, /) -> None: ...


class GrowingFile:
    """Opens a file, or makes it (0600, its directory 0700), and locks it. Methods block and raise KernelRefused."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with attempt(f"open {path}"):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self.size = os.lseek(self._descriptor, 0, os.SEEK_END)

    def digest_into(self, digest: Digest) -> None:
        """Digest all that is there."""
        with attempt(f"read {self._path}"):
            offset = 0
            while block := os.pread(self._descriptor, _BLOCK_BYTES, offset):
                digest.update(block)
                offset += len(block)

    def append(self, content: bytes, digest: Digest) -> None:
        """Write at the end, and digest."""
        digest.update(content)
        left = memoryview(content)
        with attempt(f"write {self._path}"):
            while left:
                written = os.write(self._descriptor, left)
                self.size += written
                left = left[written:]

    def clear(self) -> None:
        """Make it empty."""
        with attempt(f"truncate {self._path}"):
            os.ftruncate(self._descriptor, 0)
            self.size = os.lseek(self._descriptor, 0, os.SEEK_SET)

    def discard(self) -> None:
        """Take its name away: who has it open keeps what there was."""
        with attempt(f"remove {self._path}"):
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._descriptor)
