"""Follows an engine's log over restarts and outages: every event once, in order, from any position on."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Final

import anyio

from clients.api import ApiError, Client, EngineUnreachable
from clients.errors import LogChanged, Unusable
from clients.subscribe.filters import Filters
from clients.subscribe.position import Position
from events.errors import EngineError
from events.lines import Line, read_lines

LOGGER = logging.getLogger(__name__)
PAUSES_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # between attempts; the last one from then on
PATH: Final = "/shiplog/events"
_CONFLICT: Final = 409


class Subscriber:
    """An async iterator of lines; `position` is behind the last one that it gave.

    Keep the position with what you make of the events, and give it again: nothing is left out, nothing comes twice. It
    reconnects by itself, for ever, unless `attempts` bounds how often in a row; slowness costs nobody else anything.
    """

    def __init__(
        self,
        client: Client,
        *,
        position: Position | None = None,
        begin: str = "",
        end: str = "",
        filters: Filters | None = None,
        attempts: int = 0,
    ) -> None:
        """`begin` and `end` are moments (a sequence, a time) as `GET /shiplog/events` takes them; a position wins over
        `begin`. Without either it begins with what happens from now on, and without `end` it never ends."""
        self.position = position
        self._client = client
        self._begin, self._end = begin, end
        self._filters = filters or Filters()
        self._attempts = attempts

    async def __aiter__(self) -> AsyncIterator[Line]:
        """Line by line. Raises LogChanged, ApiError (the moments make no sense), EngineUnreachable, Unusable."""
        async for batch in self.batches():
            for line in batch:
                yield line

    async def batches(self) -> AsyncGenerator[list[Line]]:
        """The same as they arrive, several at a time; what the filters leave out is left out."""
        async for raw in self.raw():
            if batch := self._filters.wanted(_read(raw)):
                yield batch

    async def raw(self) -> AsyncGenerator[list[bytes]]:
        """All of them as bytes, without the lines' ends, unfiltered: for those who pass them on."""
        failed = 0
        while True:
            before = self.position
            try:
                async for chunk in self._connection():
                    yield chunk
            except EngineUnreachable as error:
                LOGGER.info("%s", error)
                problem: EngineUnreachable | None = error
            else:
                problem = None
            if problem is None and self._end:
                return
            failed = 0 if self.position != before else failed + 1
            if problem is not None and 0 < self._attempts <= failed:
                raise problem
            await anyio.sleep(PAUSES_S[min(failed, len(PAUSES_S) - 1)])

    async def _connection(self) -> AsyncGenerator[list[bytes]]:
        """One connection's whole lines."""
        rest = b""
        try:
            async with self._client.stream("GET", PATH, await self._query()) as chunks:
                async for chunk in chunks:
                    *lines, rest = (rest + chunk).split(b"\n")
                    if lines:
                        first, last = _read((lines[0], lines[-1]))
                        self._move(first, last, len(lines))
                        yield lines
        except ApiError as error:
            raise self._explained(error) from error

    async def _query(self) -> dict[str, str]:
        if self.position is None and not self._begin:
            self.position = await self._now()
        asked = {"to": self._end} if self._end else {}
        if self.position is not None:
            return asked | {"from": str(self.position.sequence + 1), "log": self.position.log}
        return asked | {"from": self._begin}

    async def _now(self) -> Position:
        """Before what is to happen: a connection that is lost before the first event misses none."""
        facts = await self._client.get("/shiplog/log", dict[str, object])
        return Position(log=str(facts["id"]), sequence=int(str(facts["events"])))

    def _move(self, first: Line, last: Line, count: int) -> None:
        """Raises Unusable for lines that aren't the next ones."""
        before = self.position
        expected = first.sequence if before is None else before.sequence + 1
        if first.sequence != expected or last.sequence != first.sequence + count - 1:
            raise Unusable(
                f"the engine sent event {first.sequence} where {expected} was to come: update one of the two"
            )
        self.position = Position(log=last.log, sequence=last.sequence)

    def _explained(self, error: ApiError) -> Exception:
        return LogChanged(error.message) if error.status == _CONFLICT else error


def _read(lines: Iterable[bytes]) -> list[Line]:
    try:
        return read_lines(lines)
    except EngineError as error:
        raise Unusable(str(error)) from error
