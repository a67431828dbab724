"""Where snapshots are kept, and how many; without it each reader of the past would look for files itself.

Each is a file of its own, complete or not there. The newer the history, the closer together are those that stay, so
that any past position has one not far before it.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from anyio.to_thread import run_sync

from events.envelope import Recorded
from events.errors import InvalidParameter
from events.log import LogBroken
from events.log_directory import DIRECTORY_MODE, create_file, sync_directory, sync_file
from events.projections.state import State
from events.snapshots import Snapshot, SnapshotUnusable, read, read_header, write

_PREFIX: Final = "snapshot-"
_DRAFT_SUFFIX: Final = ".new"
_NEWEST_KEPT: Final = 3
_EVEN_PARTS: Final = 64  # or a few more: of a million events any state is less than 30,000 events from a snapshot

LOGGER = logging.getLogger("shiplog.snapshots")


class ReadableLog(Protocol):
    """What of a log it takes to know a past state."""

    @property
    def id(self) -> str:
        """Random id of this log."""

    @property
    def head(self) -> int:
        """Sequence of the newest durable event."""

    def read(self, after: int = 0, *, limit: int = 1000) -> AsyncIterator[Recorded]:
        """Events with a sequence greater than `after`."""


class SnapshotDirectory:
    """Snapshots in a directory. Methods block: call them in a thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def prepare(self) -> None:
        """Make the directory (mode 0700); what a killed process never finished goes."""
        self._directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        self._directory.chmod(DIRECTORY_MODE)
        for draft in self._directory.glob(f"*{_DRAFT_SUFFIX}"):
            draft.unlink()

    def sequences(self) -> list[int]:
        """The positions that there are snapshots of, oldest first."""
        names = (path.name.removeprefix(_PREFIX) for path in self._directory.glob(f"{_PREFIX}*"))
        return sorted(int(name) for name in names if name.isdecimal())

    def save(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and of the older ones those that are spread well. Raises OSError."""
        sequence = snapshot.position.sequence
        path = self._path(sequence)
        draft = path.with_suffix(_DRAFT_SUFFIX)
        create_file(draft)
        with draft.open("r+b") as file:
            write(file, snapshot)
        sync_file(draft)
        draft.rename(path)
        kept = spread(self.sequences(), sequence)
        for other in self.sequences():
            if other not in kept:
                self._path(other).unlink(missing_ok=True)
        sync_directory(self._directory)

    def newest(self, log_id: str, at_most: int | None = None) -> Snapshot | None:
        """The newest usable snapshot of a log, of an event up to `at_most`; files that can't be used are removed."""
        for sequence in reversed(self.sequences()):
            if at_most is not None and sequence > at_most:
                continue
            try:
                if self._is_of(log_id, sequence):
                    return read(self._path(sequence))
            except (SnapshotUnusable, OSError) as error:
                LOGGER.warning("snapshot of event %d can't be used: %s", sequence, error)
            self._path(sequence).unlink(missing_ok=True)
        return None

    def remove_all(self) -> None:
        """They are made again from the log."""
        for sequence in self.sequences():
            self._path(sequence).unlink(missing_ok=True)

    def _is_of(self, log_id: str, sequence: int) -> bool:
        with self._path(sequence).open("rb") as file:
            return read_header(file).log_id == log_id

    def _path(self, sequence: int) -> Path:
        return self._directory / f"{_PREFIX}{sequence:016d}"


def spread(sequences: Sequence[int], head: int) -> set[int]:
    """Which to keep: the newest few, for each doubling of the distance from the head the oldest, and the oldest in each
    of so many equal parts of the history: every past state is less than two parts behind one of them."""
    part = 1 << (head // _EVEN_PARTS).bit_length()
    oldest: dict[int, int] = {}
    evenly: dict[int, int] = {}
    for sequence in sorted(sequences, reverse=True):
        oldest[(head - sequence).bit_length()] = sequence
        evenly[sequence // part] = sequence
    return {*oldest.values(), *evenly.values(), *sorted(sequences)[-_NEWEST_KEPT:]}


async def state_at(log: ReadableLog, snapshots: SnapshotDirectory, sequence: int) -> State:
    """The engine's state right after an event, or before the first (0): the nearest snapshot, and the events since.

    Raises InvalidParameter for a position that the log hasn't reached, LogBroken.
    """
    if not 0 <= sequence <= log.head:
        raise InvalidParameter(f"the log has no event {sequence}: its newest is {log.head}")
    snapshot = await run_sync(snapshots.newest, log.id, sequence)
    state = State()
    if snapshot is not None:
        await check_fits(log, snapshot)
        state = snapshot.state()
    if state.sequence < sequence:
        async for recorded in log.read(state.sequence, limit=sequence - state.sequence):
            state.apply((recorded,))
    return state


async def check_fits(log: ReadableLog, snapshot: Snapshot) -> None:
    """A snapshot speaks of the log as it is. Raises LogBroken when the log was changed behind it."""
    sequence = snapshot.position.sequence
    found = [recorded.hash async for recorded in log.read(sequence - 1, limit=1)]
    if found != [snapshot.position.hash]:
        raise LogBroken(f"event {sequence} is not the one that a snapshot was made of: the log was changed")
