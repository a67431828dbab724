"""Reads the moments that clients name: an event by its sequence, or a time."""

from typing import Final

import msgspec

from daemon.http.timestamps import timestamp
from daemon.shapes.times import rfc3339
from events.errors import InvalidParameter
from events.log import EventLog
from events.moments import BeforeTheLog, UnknownSequence, last_at, times_of

_WORDING: Final = (
    "invalid value for '{name}': {text} is neither an event's sequence, a time (2026-11-23T19:03:25Z, @seconds) nor a"
    " time ago (10m)"
)
_DIGITS: Final = 19  # of a 64-bit number


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What a client said: a sequence, or a time in ns."""

    sequence: int | None = None
    time_ns: int = 0


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A moment found in a log: the state after event `sequence`, at `time_ns` by the wall clock."""

    sequence: int
    time_ns: int


def read_moment(text: str, name: str, now_ns: int) -> Moment:
    """Digits are a sequence; anything else is a time. Raises InvalidParameter that names the parameter."""
    if text.isascii() and text.isdecimal():
        if len(text) > _DIGITS:
            raise InvalidParameter(f"invalid value for '{name}': {text[:_DIGITS]}... is no event's sequence")
        return Moment(sequence=int(text))
    return Moment(time_ns=timestamp(text.removeprefix("@"), now_ns=now_ns, wording=_WORDING, name=name))


async def place_of(log: EventLog, moment: Moment) -> Place:
    """The last event at a moment. Raises UnknownSequence, BeforeTheLog."""
    if moment.sequence is not None:
        if moment.sequence == 0 or not log.head:
            raise UnknownSequence(moment.sequence, log.head)
        return Place(sequence=moment.sequence, time_ns=(await times_of(log, moment.sequence)).clock_ns)
    sequence = await last_at(log, moment.time_ns)
    if sequence == 0:
        raise await _before(log, moment)
    return Place(sequence=sequence, time_ns=moment.time_ns)


async def first_of(log: EventLog, moment: Moment) -> int:
    """Sequence of the first event from a moment on; it may be the one to come. Raises UnknownSequence, BeforeTheLog."""
    if moment.sequence is not None:
        if not 1 <= moment.sequence <= log.head + 1:
            raise UnknownSequence(moment.sequence, log.head)
        return moment.sequence
    before = await last_at(log, moment.time_ns - 1)
    if before == 0 and log.head and (await times_of(log, 1)).time_ns > moment.time_ns:
        raise await _before(log, moment)
    return before + 1


async def _before(log: EventLog, moment: Moment) -> InvalidParameter:
    if not log.head:
        return InvalidParameter("the log has no event yet: nothing can be told of any time")
    first = await times_of(log, 1)
    return BeforeTheLog(rfc3339(moment.time_ns), rfc3339(first.time_ns))
