"""What takes events: it keeps its position with its output, so that neither is ever ahead of the other."""

from collections.abc import Sequence
from typing import Protocol

from clients.api import Client
from clients.subscribe.filters import Filters
from clients.subscribe.position import Position
from clients.subscribe.subscriber import Subscriber
from events.lines import Line


class Sink(Protocol):
    """Takes lines in order."""

    async def position(self) -> Position | None:
        """Behind the last line that it took; None when it never took any. Raises SinkFailed, Unusable."""

    async def write(self, lines: Sequence[Line]) -> None:
        """Take lines, durably. When it raises (SinkFailed) it has taken none of them, or the first few: `position`
        tells."""


async def deliver(
    client: Client, sink: Sink, *, begin: str = "1", end: str = "", filters: Filters | None = None, attempts: int = 0
) -> Position | None:
    """Bring events into a sink, from where it stands (from `begin` when it is new) to `end`, or for ever.

    Returns where it then stands. Raises SinkFailed, LogChanged, Unusable, ApiError, EngineUnreachable.
    """
    position = await sink.position()
    subscriber = Subscriber(client, position=position, begin=begin, end=end, filters=filters, attempts=attempts)
    async for batch in subscriber.batches():
        await sink.write(batch)
    return subscriber.position
