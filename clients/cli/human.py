"""Sizes, ages and ports as people read them, in the docker CLI's own words."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_FACTORS = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4, "p": 1024**5}


def size(count: float, digits: int = 4) -> str:
    """Bytes in decimal units: `1.234MB`."""
    return _in_units(count, 1000.0, _DECIMAL, digits)


def binary_size(count: float) -> str:
    """Bytes in binary units: `1.5GiB`."""
    return _in_units(count, 1024.0, _BINARY, 4)


def _in_units(count: float, base: float, units: Sequence[str], digits: int) -> str:
    index = 0
    while count >= base and index < len(units) - 1:
        count /= base
        index += 1
    return f"{count:.{digits}g}{units[index]}"


def parse_size(text: str) -> int:
    """`512m`, `1.5g`, `1048576` as bytes; units are binary. Raises ValueError."""
    word = text.strip().lower().removesuffix("ib").removesuffix("b") or text.strip().lower()
    unit = word[-1:]
    if unit in _FACTORS:
        return int(float(word[:-1]) * _FACTORS[unit])
    return int(float(word))


def age(seconds: float) -> str:
    """A span of time: `3 minutes`, `About an hour`."""
    for limit, divisor, one, many in _SPANS:
        count = int(seconds / divisor)
        if seconds < limit:
            return one if count <= 1 and one else many.format(count)
    return f"{int(seconds / 86400 / 365)} years"


_SPANS: tuple[tuple[float, float, str, str], ...] = (
    (1, 1, "Less than a second", ""),
    (2, 1, "1 second", ""),
    (60, 1, "", "{} seconds"),
    (120, 60, "About a minute", ""),
    (3600 - 14 * 60, 60, "", "{} minutes"),
    (5400, 3600, "About an hour", "About an hour"),
    (48 * 3600, 3600, "", "{} hours"),
    (14 * 86400, 86400, "", "{} days"),
    (60 * 86400, 7 * 86400, "", "{} weeks"),
    (2 * 365 * 86400, 30 * 86400, "", "{} months"),
)


def ago(timestamp_s: float) -> str:
    """How long ago that was; "N/A" for a time that isn't known."""
    if timestamp_s <= 0:
        return "N/A"
    return f"{age(max(0.0, time.time() - timestamp_s))} ago"  # noqa: TID251 - the person's now


def moment(timestamp_s: float) -> str:
    """`2026-01-31 10:20:30 +0000 UTC`, in this host's zone."""
    return datetime.fromtimestamp(timestamp_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %z %Z")


def parse_time(text: str) -> datetime:
    """An RFC 3339 time of the engine, whose fractions have nine digits. Raises ValueError."""
    whole, _, rest = text.partition(".")
    if not rest:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    zone = rest[len(digits) :].replace("Z", "+00:00")
    return datetime.fromisoformat(f"{whole}.{digits[:6].ljust(6, '0')}{zone}")


_PORT_KEYS: tuple[tuple[str, str | int], ...] = (("Type", ""), ("IP", ""), ("PrivatePort", 0), ("PublicPort", 0))


def ports(found: Sequence[Mapping[str, Any]]) -> str:
    """`0.0.0.0:8080->80/tcp, 443/tcp`; neighbours become ranges."""
    groups: list[list[Any]] = []  # [address, public first, private first, length, protocol]
    ordered = sorted(found, key=lambda port: tuple(port.get(key, zero) for key, zero in _PORT_KEYS))
    for port in ordered:
        address, public, private = port.get("IP", ""), port.get("PublicPort", 0), port.get("PrivatePort", 0)
        last = groups[-1] if groups else None
        follows = (
            last is not None
            and (last[0], last[4]) == (address, port.get("Type", ""))
            and private == last[2] + last[3]
            and public == (last[1] + last[3] if last[1] else 0)
        )
        if last is not None and follows:
            last[3] += 1
        else:
            groups.append([address, public, private, 1, port.get("Type", "")])
    return ", ".join(_port_text(*group) for group in groups)


def _port_text(address: str, public: int, private: int, length: int, protocol: str) -> str:
    inside = f"{_span(private, length)}/{protocol}"
    if not public:
        return inside
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{_span(public, length)}->{inside}" if host else f"{_span(public, length)}->{inside}"


def _span(first: int, length: int) -> str:
    return str(first) if length == 1 else f"{first}-{first + length - 1}"


def shortened(text: str, length: int) -> str:
    """At most that many characters, the last of them telling that more follows."""
    return text if len(text) <= length else text[: length - 1] + "…"
