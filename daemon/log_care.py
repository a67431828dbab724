"""Looks after the log while the engine runs: signs where it stands, checks what boot didn't, archives what is old."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final

import anyio
from anyio.to_thread import run_sync

from daemon.snapshots import SnapshotTaker
from events.checkpoints import Checkpoint, Signer
from events.envelope import Recorded
from events.errors import EngineError, Unavailable
from events.ledger import Clock
from events.log import LogBroken
from events.sqlite_log import SqliteLog
from events.verification import verify

CHECKPOINT_EVENTS: Final = 10_000
CHECKPOINT_INTERVAL_S: Final = 3600.0
LAST_CHECKPOINT_TIMEOUT_S: Final = 10.0

LOGGER = logging.getLogger(__name__)


class Checkpoints:
    """Signs a checkpoint whenever enough has happened, or time gone by, since the last; and on demand."""

    def __init__(self, log: SqliteLog, signer: Signer, clock: Clock) -> None:
        self._log, self._signer, self._clock = log, signer, clock
        self._newest: Checkpoint | None = None
        self._signing = anyio.Lock()
        self._due = anyio.Event()
        log.listen(self._note)

    @property
    def public_key(self) -> str:
        """What checkpoints are checked with, PEM."""
        return self._signer.public_pem

    async def check(self) -> list[Checkpoint]:
        """The log is what the newest checkpoint says; all that there are. Raises LogBroken."""
        kept = await run_sync(self._signer.kept, self._log.id)
        if kept:
            self._newest = max(kept, key=lambda checkpoint: checkpoint.sequence)
            await self._log.check_reaches(self._newest)
        return kept

    def _note(self, batch: Sequence[Recorded]) -> None:
        if batch[-1].sequence - (self._newest.sequence if self._newest else 0) >= CHECKPOINT_EVENTS:
            self._due.set()

    async def run(self) -> None:
        """Sign until cancelled."""
        while True:
            with anyio.move_on_after(CHECKPOINT_INTERVAL_S):
                await self._due.wait()
            self._due = anyio.Event()
            await self._try_to_sign()

    async def finish(self) -> None:
        """Sign the last one: what is cut off while the engine is away shows."""
        with anyio.move_on_after(LAST_CHECKPOINT_TIMEOUT_S, shield=True):
            await self._try_to_sign()

    async def _try_to_sign(self) -> None:
        try:
            await self.sign()
        except (OSError, EngineError) as error:
            LOGGER.warning("no checkpoint was signed: %s", error)

    async def sign(self) -> Checkpoint:
        """State where the log stands now, durably. Raises OSError."""
        async with self._signing:
            position = self._log.position
            if self._newest is not None and self._newest.sequence == position.sequence:
                return self._newest
            checkpoint = self._signer.sign(self._log.id, position, self._clock.now_ns())
            await run_sync(self._signer.keep, checkpoint)
            self._newest = checkpoint
            return checkpoint


class LogCare:
    """Checks in the background what lies before the snapshot that was booted from, then archives full files.

    What doesn't verify breaks the log: the engine stops and says why.
    """

    def __init__(self, log: SqliteLog, directory: Path, taker: SnapshotTaker, kept: Sequence[Checkpoint]) -> None:
        self._log, self._directory, self._taker, self._kept = log, directory, taker, kept

    async def run(self) -> None:
        """Work until cancelled."""
        head, given_up = self._log.head, Event()
        check = partial(verify, self._directory, head, self._kept, given_up=given_up)
        try:
            while not await _is_done(check):
                await self._taker.wait_next()
            LOGGER.info("the event log was verified up to event %d", head)
            while True:
                await self._archive()
                await self._taker.wait_next()
        except LogBroken as error:
            self._log.fail(error)
        finally:
            given_up.set()  # the process doesn't end before its threads

    async def _archive(self) -> None:
        try:
            await self._log.archive(self._taker.newest)
        except LogBroken:
            raise
        except (OSError, EngineError) as error:
            LOGGER.warning("older files of the event log stay as they are: %s", error)


async def _is_done(check: Callable[[], None]) -> bool:
    """Whether there was room for the check, which unpacks archives. Raises LogBroken."""
    try:
        await run_sync(check, abandon_on_cancel=True)
    except Unavailable as error:
        LOGGER.warning("the event log is not verified yet: %s", error)
        return False
    return True
