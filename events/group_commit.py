"""Gathers concurrent appends into groups; without it every append would wait for an fsync of its own.

Whatever is handed over while one group is written makes up the next, so a lone append goes at once and many share.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.lowlevel

from events.envelope import Recorded
from events.errors import EngineError, Unavailable
from events.ledger import Batch
from events.log import LogBroken

WAITING_APPENDS = 512  # the largest group; who comes later waits for room, first come first served

LOGGER = logging.getLogger("shiplog.log")


class Pending:
    """An append that was handed over, and later what became of it."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.recorded: Sequence[Recorded] = ()
        self.error: EngineError | None = None


class _Group:
    def __init__(self) -> None:
        self.pending: list[Pending] = []
        self.done = anyio.Event()

    def fail(self, error: EngineError) -> None:
        """Also for who was refused already: what stood in the way isn't in the log either."""
        for pending in self.pending:
            pending.error = type(error)(str(error))


Commit = Callable[[Sequence[Pending]], Awaitable[None]]


class GroupCommit:
    """One writer for many callers.

    `commit` makes a group durable and fills in `recorded` or `error` of each; what it raises fails the whole group,
    and a LogBroken (or anything unforeseen) every later one too, after `on_break` was told.
    """

    def __init__(self, commit: Commit, on_break: Callable[[LogBroken], None]) -> None:
        self._commit = commit
        self._on_break = on_break
        self._broken: LogBroken | None = None
        self._closing = False
        self._room = anyio.Semaphore(WAITING_APPENDS, fast_acquire=True)
        self._next = _Group()
        self._handed_over = anyio.Event()
        self._written = anyio.Event()
        self._writing = anyio.CancelScope(shield=True)

    async def append(self, batch: Batch) -> Sequence[Recorded]:
        """Hand a batch over and wait until it is durable. A caller that is cancelled doesn't take it back."""
        pending = Pending(batch)
        async with self._room:
            self._refuse_when_ended()
            group = self._next
            group.pending.append(pending)
            self._handed_over.set()
            await group.done.wait()
        if pending.error is not None:
            raise pending.error
        return pending.recorded

    def _refuse_when_broken(self) -> None:
        if self._broken is not None:
            raise LogBroken(str(self._broken))

    def _refuse_when_ended(self) -> None:
        self._refuse_when_broken()
        if self._closing:
            raise Unavailable("the event log is closed")

    async def run(self) -> None:
        """Write until closed. Cancellation doesn't reach it: what was handed over is written."""
        try:
            with self._writing:
                while await self._something_handed_over():
                    group, self._next = self._next, _Group()
                    await self._write(group)
                    await anyio.lowlevel.checkpoint()  # who waited for this group may join the next one
        finally:
            self._closing = True
            self._next.fail(Unavailable("the event log is closed"))
            self._next.done.set()
            self._written.set()

    async def _something_handed_over(self) -> bool:
        while not self._next.pending:
            if self._closing:
                return False
            self._handed_over = anyio.Event()
            await self._handed_over.wait()
        return True

    async def _write(self, group: _Group) -> None:
        try:
            self._refuse_when_broken()
            await self._commit(group.pending)
        except EngineError as error:
            if isinstance(error, LogBroken):
                self._break(error)
            group.fail(error)
        except BaseException as error:
            self._break(failure := LogBroken(f"the event log's writer failed: {error!r}"))
            group.fail(failure)
            raise
        finally:
            group.done.set()

    def fail(self, error: LogBroken) -> None:
        """The log can't be trusted any more: refuse every append from now on."""
        self._break(error)

    def _break(self, error: LogBroken) -> None:
        if self._broken is None:
            self._broken = error
            LOGGER.critical("%s", error)
            self._on_break(error)

    async def aclose(self, timeout_s: float) -> None:
        """Write what was handed over, then end `run`; after `timeout_s` end it by force."""
        self._closing = True
        self._handed_over.set()
        with anyio.move_on_after(timeout_s, shield=True):
            await self._written.wait()
        self._writing.cancel()
