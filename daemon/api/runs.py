"""Waits for the end of a container's run, however it comes; `wait` and `attach` must see the same end."""

from collections.abc import Awaitable, Callable

import msgspec

from daemon.api.engine import Engine
from events.messages import container as m
from events.projections.containers import Container


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    exit_code: int
    error: str = ""
    began: bool = True  # False: its process never ran


class Run:
    """The present run of a container or, when it isn't running, its next; fixed at the time of construction."""

    def __init__(self, engine: Engine, container: Container) -> None:
        self._engine = engine
        self._stream = f"container/{container.id}"
        self._first = container
        self.number = container.run if container.is_live or container.operation == "start" else container.run + 1

    @property
    def container(self) -> Container | None:
        """The container now; None once it was removed."""
        return self._engine.state.containers.get(self._first.id)

    @property
    def is_live(self) -> bool:
        """Whether this run's process lives."""
        now = self.container
        return now is not None and now.run == self.number and now.is_live

    def has_ended(self) -> bool:
        """Whether this run is over: ended, failed to start, overtaken by another, or removed with its container."""
        now = self.container
        if now is None or now.run > self.number:
            return True
        return now.run == self.number and not now.is_live and now.operation not in ("start", "exit")

    def is_removed(self) -> bool:
        """Whether the container is gone, or what is left of it can't be removed now."""
        now = self.container
        return now is None or now.status == "dead"

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds()` after an event of the container."""
        with self._engine.watch(self._stream) as changed:
            await _until(holds, changed)

    async def ended(self) -> Ending:
        """Wait for the end of the run and tell how it came: by the state while that is about this run, else the log."""
        await self.until(self.has_ended)
        now = self.container
        if now is not None and now.run == self.number:
            return Ending(exit_code=now.exit_code, error=now.error, began=_began(now, self._first))
        return (await self._recorded()).get(self.number, self._nothing())

    async def not_running(self) -> Ending:
        """Like `ended`; for one that waits for its restart also when somebody stops it first."""

        def over() -> bool:
            now = self.container
            return self.has_ended() or (now is not None and not now.is_up and now.operation != "start")

        await self.until(over)
        now = self.container
        if now is not None and now.run < self.number:
            return Ending(exit_code=now.exit_code, began=False)
        return await self.ended()

    async def removed(self) -> Ending:
        """Wait until the container is gone, or dead, and tell how its last run ended."""
        await self.until(self.is_removed)
        now = self.container
        if now is not None:
            return Ending(exit_code=now.exit_code, error=now.error)
        recorded = await self._recorded()
        return recorded[max(recorded)] if recorded else self._nothing()

    def _nothing(self) -> Ending:
        """Removed before it ran again."""
        return Ending(exit_code=self._first.exit_code, began=False)

    async def _recorded(self) -> dict[int, Ending]:
        """How this run and later ones ended, from the log."""
        number, endings = 0, dict[int, Ending]()
        async for recorded in self._engine.log.read_stream(self._stream):
            match recorded.event:
                case m.ContainerStartRequested(run=run):
                    number = run
                case m.ContainerStartFailed(exit_code=exit_code, error=error):
                    endings[number] = Ending(exit_code=exit_code, error=error, began=False)
                case m.ContainerDied(exit_code=exit_code):
                    endings[number] = Ending(exit_code=exit_code)
                case _:
                    pass
        return {number: ending for number, ending in endings.items() if number >= self.number}


def _began(now: Container, first: Container) -> bool:
    return first.is_live or now.started_at_ns != first.started_at_ns


async def _until(holds: Callable[[], bool], changed: Callable[[], Awaitable[None]]) -> None:
    while not holds():
        await changed()
