"""Many connections that follow a log's end, in a process that does little else: what is measured is the engine.

python -m tests.subscribers.followers SOCKET CONNECTIONS FIRST EVENTS

Says `ready` once all are connected, and at the end, as JSON, how many ms after its clock each event came.
"""

import json
import re
import selectors
import socket
import sys
import time
from typing import Final

_RECEIVE_BYTES: Final = 1 << 16
_CLOCK: Final = re.compile(rb'"clock_ns":(\d+)')
_SILENCE_S: Final = 60.0


class Follower:
    """One connection."""

    def __init__(self, path: str, first: int, events: int) -> None:
        self._left, self._rest = events, b""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.sendall(b"GET /shiplog/events?from=%d HTTP/1.1\r\nHost: shiplog\r\n\r\n" % first)
        self._receive(b"\r\n\r\n")

    def _receive(self, end: bytes) -> None:
        """Up to the end of the answer's head."""
        while end not in self._rest:
            self._rest += self.socket.recv(_RECEIVE_BYTES)
        self._rest = self._rest.partition(end)[2]

    def take(self, delays_ms: list[float]) -> bool:
        """Note what has come; whether more is to come. Raises ConnectionError."""
        content = self.socket.recv(_RECEIVE_BYTES)
        if not content:
            raise ConnectionError("the engine closed a stream")
        now_ns = time.time_ns()
        lines, separator, self._rest = (self._rest + content).rpartition(b"\n")
        clocks = _CLOCK.findall(lines + separator)
        delays_ms += [(now_ns - int(clock_ns)) / 1e6 for clock_ns in clocks]
        self._left -= len(clocks)
        return self._left > 0


def main(path: str, connections: int, first: int, events: int) -> None:
    delays_ms: list[float] = []
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            follower = Follower(path, first, events)
            selector.register(follower.socket, selectors.EVENT_READ, follower)
        print("ready", flush=True)  # noqa: T201  # it is a program
        while selector.get_map():
            ready = selector.select(_SILENCE_S)
            if not ready:
                raise TimeoutError("no event came for a minute")
            for key, _ in ready:
                if not key.data.take(delays_ms):
                    selector.unregister(key.fileobj)
    print(json.dumps([round(delay, 2) for delay in delays_ms]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
