"""Reads `since` and `until`; without it each endpoint would understand another set of the ways to say when.

Source: Docker Engine API (`/events`, container logs, prune filters), RFC 3339, Go's time.ParseDuration.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

from daemon.http.quoting import quoted
from events.errors import InvalidParameter

LOGS = 'invalid value for "{name}": invalid timestamp {text}: {reason}'
EVENTS = "invalid value for '{name}': invalid timestamp {text}: {reason}"
PRUNE = "failed to parse value as time or duration: {reason}"

_SECOND_NS = 1_000_000_000
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "\N{MICRO SIGN}s": 1_000,
    "\N{GREEK SMALL LETTER MU}s": 1_000,
    "ms": 1_000_000,
    "s": _SECOND_NS,
    "m": 60 * _SECOND_NS,
    "h": 3600 * _SECOND_NS,
}
_PART = re.compile(r"([0-9]{1,19}(?:\.[0-9]{0,19})?|\.[0-9]{1,19})(ns|us|\xb5s|\u03bcs|ms|s|m|h)")
_DATE = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:T([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?)?)?"
    r"(?:(Z)|([+-])([0-9]{2}):([0-9]{2}))?"
)
_WHOLE = re.compile(r"[+-]?[0-9]+")
_WHOLE_CHARACTERS = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InvalidTimestamp(InvalidParameter):
    """Not a moment; `wording` is one of LOGS, EVENTS, PRUNE."""

    def __init__(self, wording: str, name: str, text: str, reason: str) -> None:
        super().__init__(wording.format(name=name, text=quoted(text), reason=reason))


class _Wrong(ValueError):
    """The reason, in Go's words."""


def timestamp(text: str, *, now_ns: int, wording: str, name: str = "") -> int:
    """Nanoseconds since the epoch, of: seconds with or without a fraction, a date and time (UTC unless it says
    otherwise), or a duration that ended `now_ns`. Raises InvalidTimestamp; `name` is the parameter's."""
    try:
        return _moment(text, now_ns)
    except _Wrong as wrong:
        raise InvalidTimestamp(wording, name, text, str(wrong)) from None


def _moment(text: str, now_ns: int) -> int:
    duration_ns = _duration(text)
    if duration_ns is not None:
        return now_ns - duration_ns
    if date := _DATE.fullmatch(text):
        return _date(date, text)
    return _unix(text)


def _duration(text: str) -> int | None:
    """Nanoseconds of `1h30m`, `-1.5s`; None when it isn't a duration."""
    sign, unsigned = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    parts = _PART.findall(unsigned)
    if not parts or "".join(number + unit for number, unit in parts) != unsigned:
        return None
    return sign * int(sum(Fraction(number.rstrip(".")) * _UNITS_NS[unit] for number, unit in parts))


def _date(match: re.Match[str], text: str) -> int:
    year, month, day, hour, minute, second = (int(group or 0) for group in match.groups()[:6])
    fraction, _, sign, zone_hours, zone_minutes = match.groups()[6:]
    offset = timedelta(hours=int(zone_hours or 0), minutes=int(zone_minutes or 0))
    try:
        zone = timezone(-offset if sign == "-" else offset)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
    except ValueError as error:
        raise _Wrong(f"parsing time {quoted(text)}: {error}") from None
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return seconds * _SECOND_NS + _nanoseconds(fraction or "")


def _unix(text: str) -> int:
    seconds, point, fraction = text.partition(".")
    whole = _whole(seconds, "seconds")
    if not point:
        return whole * _SECOND_NS
    _whole(fraction, "nanoseconds")
    return whole * _SECOND_NS + _nanoseconds(fraction)


def _whole(text: str, what: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise _Wrong(f"invalid {what} {quoted(text)}: invalid syntax")
    if len(text) > _WHOLE_CHARACTERS or not -(2**63) <= int(text) < 2**63:
        raise _Wrong(f"invalid {what} {quoted(text)}: value out of range")
    return int(text)


def _nanoseconds(fraction: str) -> int:
    """Of the digits behind the point."""
    return int(fraction[:9].ljust(9, "0"))
