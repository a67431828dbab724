"""Being told of a file's growth; without it following output would mean to look again and again.

Source: inotify(7).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from handlers.kernel.calls import KernelRefused, call

_NON_BLOCKING, _CLOSE_ON_EXEC = 0o4000, 0o2000000
_MODIFY, _MOVE_SELF, _DELETE_SELF = 0x2, 0x800, 0x400
_MOVED_TO, _CREATE = 0x80, 0x100  # of what is in a directory
_READ_BYTES = 64 * 1024
_KEPT_INSTANCES = 16


class FileWatch:
    """Readable (`fileno`) whenever the file, or one in the directory, was written to or moved since `drain`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._descriptor

    def drain(self) -> None:
        """Forget what was told so far."""
        try:
            while os.read(self._descriptor, _READ_BYTES):
                pass
        except BlockingIOError:
            return


class FileWatches:
    """Watches files. Instances of inotify are used again: the kernel takes 15 ms to close one, 10 us to end a watch."""

    def __init__(self) -> None:
        self._idle: list[int] = []

    @contextmanager
    def watch(self, path: Path) -> Iterator[FileWatch]:
        """Watch a file or a directory until the end of the block.

        Raises KernelRefused where there is no such file, or the host's limit of instances
        (fs.inotify.max_user_instances) is reached.
        """
        descriptor = self._idle.pop() if self._idle else _instance()
        try:
            mask = _MODIFY | _MOVE_SELF | _DELETE_SELF | _MOVED_TO | _CREATE
            number = call("inotify_add_watch", descriptor, os.fsencode(path), mask, what=f"watch {path}")
        except BaseException:
            self._keep(descriptor)
            raise
        watch = FileWatch(descriptor)
        try:
            yield watch
        finally:
            with suppress(KernelRefused):  # it ended with its file
                call("inotify_rm_watch", descriptor, number, what=f"stop watching {path}")
            watch.drain()
            self._keep(descriptor)

    def _keep(self, descriptor: int) -> None:
        if len(self._idle) < _KEPT_INSTANCES:
            self._idle.append(descriptor)
        else:
            os.close(descriptor)


def _instance() -> int:
    return call("inotify_init1", _NON_BLOCKING | _CLOSE_ON_EXEC, what="watch a file")
