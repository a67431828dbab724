"""How much of the disk containers and volumes take; asked for by `ps -s`, `inspect -s` and `system df` only."""

import os
import threading
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from daemon.shapes.layout import Layout

UNKNOWN: Final = -1
_TIMEOUT_S: Final = 60.0


class DirectoryUsage:
    """Adds up the sizes of files, hard links once, in a thread; what takes too long is unknown."""

    def __init__(self, layout: Layout, timeout_s: float = _TIMEOUT_S) -> None:
        self._layout = layout
        self._timeout_s = timeout_s

    async def container_bytes(self, container_id: str) -> int:
        """What a container has written into its own layer; unknown where the driver keeps whole copies."""
        upper = self._layout.upper_directory(container_id)
        return await self.directory_bytes(upper) if upper else UNKNOWN

    async def directory_bytes(self, path: str) -> int:
        """What a directory's files take; a directory that isn't there is unknown."""
        stop = threading.Event()
        try:
            with anyio.move_on_after(self._timeout_s):
                return await to_thread.run_sync(_add_up, Path(path), stop, abandon_on_cancel=True)
        finally:
            stop.set()
        return UNKNOWN


def _add_up(root: Path, stop: threading.Event) -> int:
    seen: set[tuple[int, int]] = set()
    total, waiting = 0, [str(root)]
    if not root.is_dir():
        return UNKNOWN
    while waiting and not stop.is_set():
        for entry in _entries(waiting.pop()):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            else:
                total += _size_once(entry, seen)
    return total


def _entries(path: str) -> list[os.DirEntry[str]]:
    """What is in a directory; one that went away meanwhile is empty."""
    try:
        with os.scandir(path) as found:
            return list(found)
    except OSError:
        return []


def _size_once(entry: os.DirEntry[str], seen: set[tuple[int, int]]) -> int:
    try:
        facts = entry.stat(follow_symlinks=False)
    except OSError:
        return 0
    key = (facts.st_dev, facts.st_ino)
    if facts.st_nlink > 1 and key in seen:
        return 0
    seen.add(key)
    return facts.st_size
