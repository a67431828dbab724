"""One at a time for one volume; without it a removal could meet a copy that still fills the same directory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import anyio

from handlers.volumes.errors import VolumeBusy

TURN_TIMEOUT_S = 300.0


class Turns:
    """A lock per volume name, kept only while somebody holds or awaits it."""

    def __init__(self, timeout_s: float = TURN_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Hold the volume's turn. Raises VolumeBusy when others keep it too long."""
        lock = self._locks.setdefault(name, anyio.Lock())
        with anyio.move_on_after(self._timeout_s) as waiting:
            await lock.acquire()
        if waiting.cancelled_caught:
            raise VolumeBusy(name)
        try:
            yield
        finally:
            lock.release()
