"""Being told of a file's growth; without it following output would mean to look again and again.

Source: inotify(7).
"""

import os
from pathlib import Path
from typing import Self

from handlers.kernel.calls import call

_NON_BLOCKING, _CLOSE_ON_EXEC = 0o4000, 0o2000000
_MODIFY, _MOVE_SELF, _DELETE_SELF = 0x2, 0x800, 0x400
_READ_BYTES = 64 * 1024


class FileWatch:
    """Readable (`fileno`) whenever the file was written to, moved or deleted since `drain`.

    Raises KernelRefused where the host's limit of instances (fs.inotify.max_user_instances) is reached.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = call("inotify_init1", _NON_BLOCKING | _CLOSE_ON_EXEC, what="watch a file")
        try:
            mask = _MODIFY | _MOVE_SELF | _DELETE_SELF
            call("inotify_add_watch", self._descriptor, os.fsencode(path), mask, what=f"watch {path}")
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._descriptor

    def drain(self) -> None:
        """Forget what was told so far."""
        try:
            os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Stop watching."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
