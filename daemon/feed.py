"""The log's newest events as lines, made once for all who follow it; without it each follower would read the disk."""

from collections.abc import Sequence
from itertools import accumulate, islice

import anyio

from events.envelope import Recorded
from events.lines import lines
from events.log import EventLog, LogBroken

PAUSE_S = 0.008  # between two reads of what is new: under load followers get several events at once, soon enough
KEPT_LINES = 1024
KEPT_BYTES = 8 * 1024 * 1024
PAGE_EVENTS = 500


class Feed:
    """Hands out what comes after a position, at any reader's own speed.

    It holds the newest lines; of those who wait for more one reads them for all. Who is further behind reads pages of
    the log. A slow reader costs nobody anything, and a position is all there is of a reader: nothing can be dropped.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._kept: list[bytes] = []
        self._last = log.head  # sequence of the newest line that is kept
        self._is_led, self._read_at_s = False, float("-inf")
        self._written = anyio.Event()  # there is more in the log than is kept
        self._advanced = anyio.Event()  # there is more kept, or whoever was to see to it has left
        log.listen(self._notify)

    @property
    def log_id(self) -> str:
        """Of the log whose lines these are."""
        return self._log.id

    @property
    def head(self) -> int:
        """Sequence of the newest event."""
        return self._log.head

    def _notify(self, batch: Sequence[Recorded]) -> None:
        del batch
        self._written.set()

    async def after(self, sequence: int, last: int | None = None) -> tuple[bytes, int]:
        """Lines after a position and the sequence of the last one; waits until there is one. Ends at `last`."""
        while True:
            if found := self._held(sequence, last):
                return found
            if sequence < self._last:
                return await self._page(sequence, last)
            if self._is_led:
                await self._advanced.wait()
            else:
                await self._lead()

    def _held(self, sequence: int, last: int | None) -> tuple[bytes, int] | None:
        behind = self._last - sequence
        if not 0 < behind <= len(self._kept):
            return None
        end = self._last if last is None else min(self._last, last)
        first = len(self._kept) - behind
        return b"".join(islice(self._kept, first, first + end - sequence)), end

    async def _lead(self) -> None:
        """Wait for what is new and read it, for all who wait; when this one leaves, another takes over."""
        self._is_led = True
        try:
            while self._last >= self._log.head:
                self._written = anyio.Event()
                await self._written.wait()
            await anyio.sleep_until(self._read_at_s + PAUSE_S)
            await self._read()
            self._read_at_s = anyio.current_time()
        finally:
            self._is_led = False
            self._advanced.set()
            self._advanced = anyio.Event()

    async def _read(self) -> None:
        after = max(self._last, self._log.head - KEPT_LINES)
        page = await self._log.stored(after, KEPT_LINES)
        if not page or page[0][0] != after + 1:
            raise LogBroken(f"event {after + 1} is missing from the log")
        if after != self._last:
            self._kept.clear()
        self._kept += lines(self._log.id, page)
        self._last = page[-1][0]
        del self._kept[: -self._room()]

    def _room(self) -> int:
        """How many of the newest lines are kept; always one."""
        total = accumulate(map(len, reversed(self._kept)))
        return max(1, sum(1 for bytes_ in islice(total, KEPT_LINES) if bytes_ <= KEPT_BYTES))

    async def _page(self, sequence: int, last: int | None) -> tuple[bytes, int]:
        end = self._log.head if last is None else last
        page = await self._log.stored(sequence, min(PAGE_EVENTS, end - sequence))
        if not page or page[0][0] != sequence + 1:
            raise LogBroken(f"event {sequence + 1} is missing from the log")
        return b"".join(lines(self._log.id, page)), page[-1][0]
