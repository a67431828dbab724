"""The HEALTHCHECK instruction; its options are the only ones with times in them."""

import re

import msgspec

from events.messages.image import HealthcheckConfig
from handlers.dockerfile.errors import InvalidChange

_TIME = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_TIMES = ("interval", "timeout", "start-period", "start-interval")
_SHORTEST_NS = 1_000_000


def parse_healthcheck(text: str) -> HealthcheckConfig:
    """Read `NONE`, or `[--interval=30s ...] CMD command`. Raises InvalidChange."""
    options: dict[str, int] = {}
    while text.startswith("--"):
        option, _, text = text.partition(" ")
        options |= _option(option)
        text = text.strip()
    kind, _, command = text.partition(" ")
    if kind.upper() == "NONE":
        if command.strip() or options:
            raise InvalidChange("HEALTHCHECK NONE takes no arguments")
        return HealthcheckConfig(test=("NONE",))
    if kind.upper() != "CMD":
        raise InvalidChange(f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)')
    return msgspec.convert({"Test": _test(command.strip())} | options, HealthcheckConfig)


def parse_duration_ns(text: str) -> int:
    """Go's durations: `1m30s`, `1.5h`. Raises InvalidChange."""
    parts = _TIME.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidChange(f'time: invalid duration "{text}"')
    return sum(int(float(number) * _UNITS_NS[unit]) for number, unit in parts)


def _option(text: str) -> dict[str, int]:
    name, equals, value = text.removeprefix("--").partition("=")
    if name == "retries" and value.isdecimal():
        return {"Retries": int(value)}
    if name not in _TIMES or not equals:
        raise InvalidChange(f"unknown flag: {text}")
    time_ns = parse_duration_ns(value)
    if 0 < time_ns < _SHORTEST_NS:
        raise InvalidChange(f"Interval {name!r} cannot be less than 1ms")
    return {"".join(word.capitalize() for word in name.split("-")): time_ns}


def _test(command: str) -> list[str]:
    if not command:
        raise InvalidChange("Missing command after HEALTHCHECK CMD")
    try:
        return ["CMD", *msgspec.json.decode(command, type=list[str])]
    except msgspec.DecodeError:
        return ["CMD-SHELL", command]
