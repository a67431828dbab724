"""The log in the formats of others, resumable by sequence, to a file, a stream or a NATS subject."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol

import anyio
from anyio import to_thread

from clients.audit.formats import Format
from clients.audit.sources import Source, check_same
from clients.errors import SinkFailed, Unusable
from clients.subscribe.file_sink import texts
from clients.subscribe.filters import Filters
from clients.subscribe.position import Position
from clients.subscribe.sinks import Sink
from events.lines import Line

HANDED_EVENTS: Final = 1000  # at once: what is written soon is still in the processor's caches
WAITING: Final = 8  # so often, while a sink is slow: it takes them together, a file is synced the less


class Output(Protocol):
    """What bytes can be written to."""

    def write(self, content: bytes, /) -> object:
        """Raises OSError."""

    def flush(self) -> None:
        """Raises OSError."""


class StreamSink:
    """An open stream, as standard output is: it has no memory, so whoever resumes says from where."""

    def __init__(self, stream: Output, form: Format) -> None:
        self._stream, self._format = stream, form

    async def position(self) -> Position | None:
        """See `Sink`."""
        return None

    async def write(self, lines: Sequence[Line]) -> None:
        """See `Sink`."""
        for text in texts(self._format.encode, lines):
            await to_thread.run_sync(self._send, text)

    def _send(self, content: bytes) -> None:
        try:
            self._stream.write(content)
            self._stream.flush()
        except OSError as error:
            raise SinkFailed(f"the output can't be written: {error.strerror or error}") from error


async def export(
    source: Source, sink: Sink, *, first: int = 1, last: int | None = None, filters: Filters | None = None
) -> int:
    """Bring a source's events into a sink, from where the sink stands, or from `first` when it is new.

    Returns the sequence up to which all is told. Raises SinkFailed, LogChanged, Unusable, EngineUnreachable.
    """
    end = source.last if last is None else last
    if not 0 <= end <= source.last or not 1 <= first <= source.last + 1:
        wrong = first if not 1 <= first <= source.last + 1 else end
        raise Unusable(f"event {wrong} is not in the log, which ends with event {source.last}: choose one up to it")
    position = await sink.position()
    check_same(position, source)
    after = first - 1 if position is None else position.sequence
    chosen = filters or Filters()
    wanted: list[Line] = []
    async with _beside(sink) as write:
        async for batch in source.batches(after, end):
            wanted += chosen.wanted(batch)
            after = batch[-1].sequence
            if len(wanted) >= HANDED_EVENTS:
                await write(wanted)
                wanted = []
        if wanted:
            await write(wanted)
    return after


@asynccontextmanager
async def _beside(sink: Sink) -> AsyncIterator[Callable[[list[Line]], Awaitable[None]]]:
    """Yields what hands lines to the sink: while it is at work with some the next ones are read."""
    hand, take = anyio.create_memory_object_stream[list[Line]](WAITING)

    async def write_all() -> None:
        async with take:
            async for lines in take:
                with suppress(anyio.WouldBlock, anyio.EndOfStream):
                    while True:
                        lines += take.receive_nowait()
                await sink.write(lines)

    try:
        async with anyio.create_task_group() as tasks, hand:
            tasks.start_soon(write_all)
            yield hand.send
    except BaseExceptionGroup as group:
        _, own = group.split(anyio.BrokenResourceError)  # what the reader hears when the sink has failed
        raise (own or group).exceptions[0] from None
