"""Room that is kept for the end of what was begun; without it a full disk would leave effects that the log can't tell.

When the disk is full, nothing new is begun: only events that conclude something are still written, into the room that
the reserve gave back. As soon as there is room for the reserve again, everything goes on by itself.
"""

import errno
import os
from pathlib import Path
from typing import Final

from events.ledger import Batch
from events.log_directory import FILE_MODE

RESERVE_BYTES: Final = 8 * 1024 * 1024
_SHARE: Final = 16  # of a small file system the reserve takes no more than this part
_PROBED_BYTES: Final = 64 * 1024
_CONCLUDING: Final = frozenset(
    {
        "container.committed",
        "container.created",
        "container.died",
        "container.exit_observed",
        "container.extracted",
        "container.killed",
        "container.paused",
        "container.removed",
        "container.restart_cancelled",
        "container.restarted",
        "container.started",
        "container.stopped",
        "container.unpaused",
        "container.updated",
        "exec.exited",
        "exec.started",
        "image.committed",
        "image.created",
        "image.imported",
        "image.loaded",
        "image.pull_finished",
        "image.released",
        "image.removed",
        "layer.applied",
        "layer.released",
        "layer.removed",
        "network.created",
        "network.removed",
        "network.sandbox_connected",
        "network.sandbox_disconnected",
        "process.exited",
        "system.engine_started",
        "system.engine_stopped",
        "system.log_repaired",
        "system.orphan_removed",
        "volume.created",
        "volume.mounted",
        "volume.populated",
        "volume.released",
        "volume.removed",
        "volume.unmounted",
    }
)


def concludes(tag: str) -> bool:
    """Whether an event of this type tells the outcome of something that was begun."""
    return tag in _CONCLUDING or tag.endswith("_failed")


def may_use(batch: Batch) -> bool:
    """Whether a batch may be written when the disk is full: it only concludes."""
    return all(concludes(event.TYPE) for append in batch.appends for event in append.events)


def has_room(directory: Path, size_bytes: int) -> bool:
    """Whether the file system of a log has so much for others: what it takes to hold the reserve isn't theirs."""
    reserve, free = _measured(directory)
    return free >= size_bytes + 2 * reserve


def _measured(directory: Path) -> tuple[int, int]:
    """Bytes that the reserve takes on a file system, and those that are free there."""
    facts = os.statvfs(directory)
    return min(RESERVE_BYTES, facts.f_blocks * facts.f_frsize // _SHARE), facts.f_bavail * facts.f_frsize


class Reserve:
    """A file whose only content is its size. Methods block, shortly."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "reserve"
        self.is_held = False

    def take(self) -> bool:
        """Hold the room, if the file system has it and as much again; whether it is held."""
        try:
            size, free = _measured(self._path.parent)
            present = self._path.stat().st_size if self._path.exists() else 0
            if free + present < 2 * size:
                return self.is_held
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, FILE_MODE)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)
        except OSError:
            self.give_back()
        else:
            self.is_held = True
        return self.is_held

    def give_back(self) -> None:
        """Let the log have the room."""
        self.is_held = False
        self._path.unlink(missing_ok=True)

    def is_disk_full(self) -> bool:
        """Whether a write fails for want of room, or of a quota: SQLite tells a quota from a broken disk by neither."""
        probe = self._path.with_name("probe")
        try:
            descriptor = os.open(probe, os.O_RDWR | os.O_CREAT, FILE_MODE)
            try:
                os.posix_fallocate(descriptor, 0, _PROBED_BYTES)
            finally:
                os.close(descriptor)
                probe.unlink()
        except OSError as error:
            return error.errno in (errno.ENOSPC, errno.EDQUOT)
        return False
