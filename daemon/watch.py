"""Wakes those who wait for something in the log; without it they would have to poll the state."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import anyio

from events.envelope import Recorded


class Watch:
    """One waiter's flag: set by an event on its stream, cleared by the wait that saw it."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def wake(self) -> None:
        """Something happened."""
        self._event.set()

    async def changed(self) -> None:
        """Wait until something has happened since the last call."""
        await self._event.wait()
        self._event = anyio.Event()


class StreamWatcher:
    """Who waits for which stream; `notify` is a listener of the log and runs after the state's own."""

    def __init__(self) -> None:
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)

    def notify(self, batch: Sequence[Recorded]) -> None:
        """Wake the waiters of every stream in the batch."""
        for stream in {recorded.stream for recorded in batch}:
            for watch in self._watches.get(stream, ()):
                watch.wake()

    @contextmanager
    def watch(self, stream: str) -> Iterator[Callable[[], Awaitable[None]]]:
        """While entered, the yielded function waits for the next event on the stream since its last call."""
        watch = Watch()
        self._watches[stream].add(watch)
        try:
            yield watch.changed
        finally:
            self._watches[stream].discard(watch)
            if not self._watches[stream]:
                del self._watches[stream]
