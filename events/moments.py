"""Where in a log a moment lies; without it a time could only be found by reading everything before it.

An event's `time_ns` never runs backwards, whatever the clock did, so halving finds it: a log of a million events is
asked twenty times.
"""

import msgspec

from events.errors import InvalidParameter
from events.log import EventLog, LogBroken


class UnknownSequence(InvalidParameter):
    """A sequence that the log hasn't reached."""

    def __init__(self, sequence: int, head: int) -> None:
        super().__init__(
            f"event {sequence} is not in the log, which ends with event {head}: choose one from 1 to {head}"
        )


class BeforeTheLog(InvalidParameter):
    """A moment of which the log can tell nothing."""

    def __init__(self, moment: str, first: str) -> None:
        super().__init__(f"{moment} is before the log begins ({first}, event 1): choose a later time")


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """When an event happened: in the log's order, and by the wall clock as it was read."""

    time_ns: int
    clock_ns: int


_decoder = msgspec.json.Decoder(Times)


async def last_at(log: EventLog, time_ns: int) -> int:
    """Sequence of the last event that happened at `time_ns` or before; 0 when there is none."""
    low, high = 0, log.head
    while low < high:
        middle = (low + high + 1) // 2
        if (await times_of(log, middle)).time_ns <= time_ns:
            low = middle
        else:
            high = middle - 1
    return low


async def times_of(log: EventLog, sequence: int) -> Times:
    """When an event happened. Raises UnknownSequence, LogBroken."""
    if not 1 <= sequence <= log.head:
        raise UnknownSequence(sequence, log.head)
    found = await log.stored(sequence - 1, 1)
    if not found or found[0][0] != sequence:
        raise LogBroken(f"event {sequence} is missing from the log")
    return _decoder.decode(found[0][1])
