"""Signals as people write them: names with or without SIG, real-time signals, numbers."""

import signal

from handlers.containers.errors import InvalidSignal

_LAST = 64
_RTMIN, _RTMAX = 34, 64  # of the C library, which takes two of the kernel's for itself
NUMBERS = {member.name.removeprefix("SIG"): int(member) for member in signal.Signals} | {
    f"RTMIN+{number - _RTMIN}": number for number in range(_RTMIN, _RTMAX)
}


def parse_signal(text: str) -> int:
    """`SIGTERM`, `term`, `15`, `RTMIN+3` -> number. Raises InvalidSignal."""
    if text.isascii() and text.isdigit():
        number = int(text)
        if not 0 < number <= _LAST:
            raise InvalidSignal(text)
        return number
    number = NUMBERS.get(text.upper().removeprefix("SIG"), 0)
    if not number:
        raise InvalidSignal(text)
    return number
