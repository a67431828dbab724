"""Ports as people write them; `-p`, `EXPOSE` and the API share one grammar."""

import re

from events.errors import InvalidParameter

_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/(\w+))?")


def parse_port(text: str) -> tuple[int, int, str]:
    """`80`, `80/udp`, `8000-8010/tcp` -> (first, last, protocol). Raises InvalidParameter."""
    match = _PORT.fullmatch(text)
    if match is None:
        raise InvalidParameter(f"invalid JSON: invalid port '{text.partition('/')[0]}': invalid syntax")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 0 <= first <= last <= 65535:
        raise InvalidParameter(f"invalid JSON: invalid port range '{text}': value out of range")
    return first, last, match[3] or "tcp"
