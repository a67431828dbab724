"""The live end of a log: listeners and subscribers; without it everybody would have to poll the disk."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from events.envelope import Recorded
from events.log import Listener, LogBroken

BUFFERED_EVENTS = 256  # per subscriber; one that falls further behind reads from the log again
PAGE_EVENTS = 200

ReadPage = Callable[[int, int], Awaitable[Sequence[Recorded]]]  # (after, limit) -> events up to the head


class Tail:
    """Hands what was committed to everybody who follows the log."""

    def __init__(self, head: int, read_page: ReadPage) -> None:
        self.head = head
        self.closed = False
        self.broken: LogBroken | None = None
        self._read_page = read_page
        self._listeners: list[Listener] = []
        self._subscriptions: set[_Subscription] = set()
        self._ended = anyio.Event()

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every batch from now on."""
        self._listeners.append(listener)

    def publish(self, batches: Sequence[Sequence[Recorded]]) -> None:
        """These are durable, in this order."""
        self.head = batches[-1][-1].sequence
        for batch in batches:
            for listener in self._listeners:
                listener(batch)
            for subscription in self._subscriptions:
                subscription.feed(batch)

    def close(self, broken: LogBroken | None = None) -> None:
        """Nothing more will come; `broken` is raised to the subscribers, once they have read what there is."""
        if not self.closed:
            self.closed, self.broken = True, broken
            self._ended.set()
        for subscription in self._subscriptions:
            subscription.wake()

    async def ended(self) -> LogBroken | None:
        """Wait for the end and tell whether it was a good one."""
        await self._ended.wait()
        return self.broken

    @asynccontextmanager
    async def subscribe(self, after: int) -> AsyncIterator[AsyncIterator[Recorded]]:
        """Everything after `after`, first from the log, then live."""
        subscription = _Subscription(self, after, self._read_page)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)


class _Subscription:
    """One subscriber's place in the log.

    What is committed goes into its buffer as long as there is room. What didn't fit shows as a gap in the sequence and
    is read from the log, so a slow subscriber costs no memory and misses nothing.
    """

    def __init__(self, tail: Tail, after: int, read_page: ReadPage) -> None:
        self._tail = tail
        self._after = after
        self._read_page = read_page
        self._page: deque[Recorded] = deque()
        self._live: deque[Recorded] = deque()
        self._changed = anyio.Event()

    def feed(self, batch: Sequence[Recorded]) -> None:
        """Keep what there is room for."""
        self._live.extend(batch[: BUFFERED_EVENTS - len(self._live)])
        self.wake()

    def wake(self) -> None:
        """Let the subscriber look again."""
        self._changed.set()

    def __aiter__(self) -> AsyncIterator[Recorded]:
        return self

    async def __anext__(self) -> Recorded:
        while (recorded := self._ready()) is None:
            await self._more()
        self._after = recorded.sequence
        return recorded

    def _ready(self) -> Recorded | None:
        if self._page:
            return self._page.popleft()
        while self._live and self._live[0].sequence <= self._after:
            self._live.popleft()
        if self._live and self._live[0].sequence == self._after + 1:
            return self._live.popleft()
        return None

    async def _more(self) -> None:
        if self._after < self._tail.head and not self._tail.closed:
            page = await self._read_page(self._after, PAGE_EVENTS)
            if not page or page[0].sequence != self._after + 1:
                raise LogBroken(f"event {self._after + 1} is missing from the log")
            self._page.extend(page)
        elif self._tail.broken is not None:
            raise self._tail.broken
        elif self._tail.closed:
            raise StopAsyncIteration
        else:
            self._changed = anyio.Event()
            await self._changed.wait()
