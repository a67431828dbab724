"""The framed output of containers, taken apart; without it stdout and stderr would come as one, with stray bytes.

A frame is a header of 8 bytes (stream 1 or 2, three zeros, length big-endian) and its data, as the Docker Engine API
documents for attach.
"""

import struct
from collections.abc import Iterator

_HEADER = struct.Struct(">BxxxI")
STDERR = 2


class Demultiplexer:
    """Feed it bytes as they come; it gives whole or partial frames' data back at once."""

    def __init__(self) -> None:
        self._buffer = b""
        self._stream = 0
        self._left = 0  # of the frame that is being read

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Pairs of stream (1 stdout, 2 stderr) and data."""
        self._buffer += data
        while self._left or len(self._buffer) >= _HEADER.size:
            if not self._left:
                self._stream, self._left = _HEADER.unpack_from(self._buffer)
                self._buffer = self._buffer[_HEADER.size :]
                continue
            if not self._buffer:
                return
            chunk, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
            self._left -= len(chunk)
            yield self._stream, chunk
