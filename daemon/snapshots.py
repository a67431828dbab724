"""Takes snapshots while the engine runs; without it each boot would fold more than the one before."""

import logging
from collections.abc import Sequence
from typing import Final

import anyio
from anyio.to_thread import run_sync

from events.envelope import Recorded
from events.errors import EngineError
from events.projections.state import State
from events.snapshot_directory import SnapshotDirectory
from events.sqlite_log import SqliteLog

SNAPSHOT_EVENTS: Final = 10_000  # folding so many takes a tenth of a second
LAST_SNAPSHOT_TIMEOUT_S: Final = 10.0

LOGGER = logging.getLogger(__name__)


class SnapshotTaker:
    """Takes one whenever enough has happened since the last, and one when the engine stops in order."""

    def __init__(
        self, log: SqliteLog, state: State, directory: SnapshotDirectory, every: int = SNAPSHOT_EVENTS
    ) -> None:
        """The state listens to the log already."""
        self._log, self._state, self._directory, self._every = log, state, directory, every
        self._due = anyio.Event()
        self._saving = anyio.Lock()
        self._newest = self.newest = max(directory.sequences(), default=0)
        self._taken = anyio.Event()
        log.listen(self._note)

    def _note(self, batch: Sequence[Recorded]) -> None:
        if batch[-1].sequence - self._newest >= self._every:
            self._due.set()

    async def run(self) -> None:
        """Take snapshots until cancelled. One that fails is tried again when as much has happened once more."""
        while True:
            await self._due.wait()
            self._due = anyio.Event()
            await self.take()

    async def wait_next(self) -> None:
        """Wait until one is taken; `newest` is the event that it is of."""
        await self._taken.wait()

    async def finish(self) -> None:
        """Take the last one: the next boot has nothing to fold then."""
        with anyio.move_on_after(LAST_SNAPSHOT_TIMEOUT_S, shield=True):
            await self.take()

    async def take(self) -> None:
        """Take one now, unless there is one of this position."""
        async with self._saving:
            if self._newest == self._log.head:
                return
            try:
                snapshot = self._log.capture(self._state)
                self._newest = snapshot.position.sequence
                await run_sync(self._directory.save, snapshot, abandon_on_cancel=True)
                self.newest = self._newest
                self._taken.set()
                self._taken = anyio.Event()
            except (OSError, EngineError) as error:
                LOGGER.warning("no snapshot was taken, the next boot takes longer: %s", error)
