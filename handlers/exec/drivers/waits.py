"""Who is waiting for an exit status; without it a removal could take the file away from under a reader."""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

_PATIENCE_S = 5.0


class Waits:
    """Waits under way, by container."""

    def __init__(self) -> None:
        self._under_way: dict[str, set[anyio.Event]] = {}

    @contextmanager
    def one(self, container_id: str) -> Iterator[None]:
        """A wait from its beginning to the reading of the status."""
        done = anyio.Event()
        events = self._under_way.setdefault(container_id, set())
        events.add(done)
        try:
            yield
        finally:
            done.set()
            events.discard(done)
            if not events:
                self._under_way.pop(container_id, None)

    async def settle(self, container_id: str) -> None:
        """Once all processes have ended: return when every wait has its status, or patience is over."""
        with anyio.move_on_after(_PATIENCE_S):
            for done in tuple(self._under_way.get(container_id, ())):
                await done.wait()
