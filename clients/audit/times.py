"""Times as other programs read them."""

from datetime import UTC, datetime
from typing import Final

SECOND_NS: Final = 1_000_000_000


def rfc3339(time_ns: int) -> str:
    """Wall-clock ns as `2026-11-23T19:03:25.320142100Z`, always with nine digits."""
    seconds, fraction = divmod(time_ns, SECOND_NS)
    return f"{_second(seconds)}.{fraction:09d}Z"


_last: list[tuple[int, str]] = [(-1, "")]  # events lie close together: formatting a second once is enough


def _second(seconds: int) -> str:
    known, text = _last[0]
    if known != seconds:
        text = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
        _last[0] = (seconds, text)
    return text
