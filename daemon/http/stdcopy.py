"""Frames that carry several streams over one; without them stderr couldn't be told from stdout.

Source: Docker Engine API, "Attach to a container", stream format.
"""

import struct

STDIN, STDOUT, STDERR = 0, 1, 2

_HEADER = struct.Struct(">BxxxI")


def frame(stream: int, data: bytes) -> bytes:
    """Eight bytes of header (stream number, three zeros, length as big-endian u32), then the data."""
    return _HEADER.pack(stream, len(data)) + data
