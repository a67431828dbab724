"""A log in memory; without it every test of a handler would need a disk. It keeps the whole contract but durability."""

import itertools
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

import anyio.lowlevel

from events import chain, codec
from events.envelope import Cause, Recorded
from events.errors import Unavailable
from events.ledger import Batch, Clock, Draft, Entry, Ledger, Position, prepare
from events.log import Append, Listener, LogBroken, Stored
from events.tail import Tail


class MemoryLog:
    """An `EventLog` that forgets everything with the process. Readers get events decoded from their stored bytes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._id = secrets.token_hex(16)
        self._entries: list[Entry] = []
        self._ledger = Ledger(Position.genesis(self._id), {})
        self._tail = Tail(0, self._page)

    @property
    def id(self) -> str:
        """Random id of this log."""
        return self._id

    @property
    def head(self) -> int:
        """Sequence of the newest event."""
        return len(self._entries)

    async def append(
        self, appends: Sequence[Append], *, cause: Cause, reply: bytes | None = None
    ) -> Sequence[Recorded]:
        """Append atomically. Raises VersionConflict, ClaimTaken, Unavailable (closed)."""
        batch = prepare(appends, cause, reply)
        await anyio.lowlevel.checkpoint()
        if self._tail.closed:
            raise Unavailable("the event log is closed")
        return self._commit(batch)

    def _commit(self, batch: Batch) -> Sequence[Recorded]:
        draft, clock_ns = Draft(self._ledger), self._clock.now_ns()
        admitted = [entries for entries in (draft.note_clock(clock_ns), draft.admit(batch, clock_ns)) if entries]
        self._entries += draft.entries
        self._ledger.adopt(draft)
        batches = [tuple(entry.recorded for entry in entries) for entries in admitted]
        self._tail.publish(batches)
        return batches[-1]

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every committed batch from now on, before append returns."""
        self._tail.listen(listener)

    async def read(self, after: int = 0, *, limit: int = 1000) -> AsyncIterator[Recorded]:
        """Events with a sequence greater than `after`, at most `limit` of them (0: all up to the head)."""
        last = min(self.head, after + limit) if limit else self.head
        for entry in itertools.islice(self._entries, max(after, 0), last):
            yield _decoded(entry)

    async def stored(self, after: int, limit: int) -> Sequence[Stored]:
        """Events with a sequence greater than `after` as their bytes, at most `limit` of them."""
        await anyio.lowlevel.checkpoint()
        found = self._entries[max(after, 0) : max(after, 0) + limit]
        return [(entry.recorded.sequence, entry.stored, entry.recorded.hash) for entry in found]

    async def read_stream(self, stream: str) -> AsyncIterator[Recorded]:
        """All events of one stream."""
        for entry in self._entries[:]:
            if entry.recorded.stream == stream:
                yield _decoded(entry)

    def subscribe(self, after: int = 0) -> AbstractAsyncContextManager[AsyncIterator[Recorded]]:
        """Catch up from `after`, then live, without gap or duplicate."""
        return self._tail.subscribe(after)

    async def _page(self, after: int, limit: int) -> Sequence[Recorded]:
        await anyio.lowlevel.checkpoint()
        return [_decoded(entry) for entry in self._entries[after : after + limit]]

    async def reply_to(self, command_id: str) -> bytes | None:
        """The first recorded answer to a command, or None."""
        for entry in self._entries:
            if entry.recorded.reply is not None and entry.recorded.cause.command_id == command_id:
                return entry.recorded.reply
        return None

    async def claim_holder(self, key: str) -> str | None:
        """The stream that holds a claim."""
        return self._ledger.holders.get(key)

    async def verify(self, first: int = 1, last: int | None = None) -> None:
        """Recompute the chain over a range. Raises LogBroken that names the first bad sequence."""
        end = self.head if last is None else last
        if max(first - 1, end) > self.head:
            raise LogBroken(f"event {self.head + 1} is missing from the log")
        previous = self._entries[first - 2].recorded.hash if first > 1 else chain.genesis(self._id)
        links = (
            (entry.recorded.sequence, entry.stored, entry.recorded.hash) for entry in self._entries[first - 1 : end]
        )
        chain.check(previous, first - 1, links)

    async def aclose(self) -> None:
        """End all subscriptions; later appends are refused."""
        self._tail.close()


def _decoded(entry: Entry) -> Recorded:
    return codec.recorded(entry.stored, entry.recorded.hash)
