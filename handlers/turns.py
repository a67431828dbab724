"""One at a time for one object; without it two commands that fill or remove the same thing would meet on disk."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import anyio

from events.errors import Unavailable


class Busy(Unavailable):
    """Others have kept the object for too long."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"{key} is busy; try again")


class Turns:
    """A lock per key, kept only while somebody holds or awaits it; served in order of arrival."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Hold the key's turn. Raises Busy when others keep it too long."""
        lock = self._locks.setdefault(key, anyio.Lock())
        with anyio.move_on_after(self._timeout_s) as waiting:
            await lock.acquire()
        if waiting.cancelled_caught:
            raise Busy(key)
        try:
            yield
        finally:
            lock.release()
