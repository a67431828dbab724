"""Times as Docker writes them: RFC 3339 with as many digits as needed, and words for people."""

from datetime import UTC, datetime
from typing import Final

SECOND_NS: Final = 1_000_000_000
NEVER: Final = "0001-01-01T00:00:00Z"


def rfc3339(time_ns: int) -> str:
    """Wall-clock ns as `2026-11-23T19:03:25.3201421Z`; 0 is never."""
    if time_ns == 0:
        return NEVER
    seconds, fraction = divmod(time_ns, SECOND_NS)
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{digits}Z"


def rfc3339_seconds(time_ns: int) -> str:
    """Wall-clock ns as `2026-11-23T19:03:25Z`."""
    return rfc3339(time_ns - time_ns % SECOND_NS)


def unix_seconds(text: str) -> int:
    """An RFC 3339 time as seconds since 1970; "" and what can't be read are 0."""
    return unix_ns(text) // SECOND_NS


def unix_ns(text: str) -> int:
    """An RFC 3339 time as ns since 1970; "", year 1 and what can't be read are 0."""
    head, _, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        moment = datetime.fromisoformat(head + rest[len(digits) :])
    except ValueError:
        return 0
    if moment.year == 1:
        return 0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * SECOND_NS + int(f"{digits:0<9.9}" or "0")


def human_duration(duration_ns: int) -> str:
    """A span of time in the words of `docker ps` (`About a minute`, `3 weeks`)."""
    seconds = max(duration_ns, 0) // SECOND_NS
    minutes = seconds // 60
    if minutes < 60:
        return _below_an_hour(seconds, minutes)
    hours = round_half_up(seconds, 3600)
    spans = ((48, 1, "hours"), (24 * 14, 24, "days"), (24 * 60, 24 * 7, "weeks"), (24 * 730, 24 * 30, "months"))
    if hours == 1:
        return "About an hour"
    for limit, unit, word in spans:
        if hours < limit:
            return f"{hours // unit} {word}"
    return f"{seconds // 3600 // (24 * 365)} years"


def _below_an_hour(seconds: int, minutes: int) -> str:
    if seconds < 1:
        return "Less than a second"
    if minutes == 0:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    return "About a minute" if minutes == 1 else f"{minutes} minutes"


def round_half_up(value: int, unit: int) -> int:
    """`value / unit`, rounded to the nearest whole number."""
    return (value + unit // 2) // unit
