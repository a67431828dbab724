"""The size of a container's layer as people give it; without it every driver would read `10G` in its own way."""

import re
from collections.abc import Mapping

from events.errors import InvalidParameter

_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?) ?(?:([kmgtp])?i?b?)?", re.IGNORECASE)
_LARGEST_BYTES = 2**63 - 1  # that file systems count to
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


class BadStorageOption(InvalidParameter):
    """A storage option that the driver in use can't honour: the request's fault (dockerd answers 500)."""


def requested_size(options: Mapping[str, str]) -> int:
    """Bytes of the option `size`, 0 without it. Raises BadStorageOption for another option or a malformed size."""
    for key in options:
        if key.lower() != "size":
            raise BadStorageOption(f"unknown option {key}")
    text = next(iter(options.values()), "")
    return parse_size(text) if options else 0


def parse_size(text: str) -> int:
    """`10G`, `512m`, `1.5 GiB` as bytes, powers of 1024. Raises BadStorageOption."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise BadStorageOption(f"invalid size: '{text}'")
    size_bytes = int(float(match[1]) * 1024 ** _POWERS[(match[2] or "").lower()])
    if size_bytes > _LARGEST_BYTES:
        raise BadStorageOption(f"invalid size: '{text}'")
    return size_bytes


def refuse(options: Mapping[str, str], why: str) -> None:
    """For a driver without quotas. Raises BadStorageOption when there are options at all."""
    if options:
        raise BadStorageOption(why)
