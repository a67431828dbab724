"""Carries TCP connections from a held port to a container, with half-close and backpressure."""

import contextlib
import errno
import os
import socket
import struct
import time

from handlers.networks.drivers.forwarding.loop import READ, WRITE, Loop

CONNECT_LIMIT_S = 15.0
CHUNK_BYTES = 1 << 16
ACCEPTS_AT_ONCE = 64
BACKLOG = 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close by a reset
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Relays:
    """All connections of the process, and the ports that wait until there is room for more."""

    def __init__(self, loop: Loop, maximum: int) -> None:
        self.loop = loop
        self.open: set[Relay] = set()
        self.paused: set[StreamPort] = set()
        self._maximum = maximum

    @property
    def full(self) -> bool:
        """Whether there is no room for another one."""
        return len(self.open) >= self._maximum

    def tick(self, now: float) -> None:
        """Give up connects that take too long; let ports accept again."""
        for relay in [r for r in self.open if r.connecting and r.born + CONNECT_LIMIT_S < now]:
            relay.close()
        if not self.full:
            for port in tuple(self.paused):
                port.resume()


class Direction:
    """Bytes on their way from one socket to another: the next are read when the last are written."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.pending = memoryview(b"")
        self.ended = False  # the source has no more
        self.done = False  # and the sink was told

    def pump(self) -> None:
        """Move what can be moved without waiting. Raises OSError when an end is broken."""
        if not self.pending and not self.ended:
            with contextlib.suppress(BlockingIOError):
                data = self.source.recv(CHUNK_BYTES)
                self.pending, self.ended = memoryview(data), not data
        if self.pending:
            with contextlib.suppress(BlockingIOError):
                self.pending = self.pending[self.sink.send(self.pending) :]
        if self.ended and not self.pending and not self.done:
            self.done = True
            self.sink.shutdown(socket.SHUT_WR)


class Relay:
    """One connection; its two directions end independently."""

    lasting = False

    def __init__(self, relays: Relays, client: socket.socket, target: tuple[str, int]) -> None:
        self._relays, self._client = relays, client
        self.born = time.monotonic()
        self._upstream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._directions = (Direction(client, self._upstream), Direction(self._upstream, client))
        relays.open.add(self)
        for end in (client, self._upstream):
            end.settimeout(0)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.connecting = self._upstream.connect_ex(target) in (0, errno.EINPROGRESS)
        if self.connecting:
            relays.loop.watch(self._upstream, WRITE, self)
        else:
            self.close()

    def ready(self, source: socket.socket, events: int) -> None:
        """An end can be read or written."""
        try:
            if self.connecting:
                self._connected()
            for direction in self._directions:
                direction.pump()
        except OSError:
            self.close()
            return
        if all(direction.done for direction in self._directions):
            self._let_go()
        else:
            self._watch()

    def _connected(self) -> None:
        number = self._upstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        self.connecting = False

    def _watch(self) -> None:
        wanted = {self._client: 0, self._upstream: 0}
        for direction in self._directions:
            if direction.pending:
                wanted[direction.sink] |= WRITE
            elif not direction.ended:
                wanted[direction.source] |= READ
        for end, events in wanted.items():
            self._relays.loop.watch(end, events, self)

    def close(self) -> None:
        """Cut the connection off on both sides."""
        for end in (self._client, self._upstream):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._let_go()

    def _let_go(self) -> None:
        self._relays.open.discard(self)
        for end in (self._client, self._upstream):
            self._relays.loop.forget(end)


class StreamPort:
    """A held TCP port; without a target it only turns people away."""

    lasting = True

    def __init__(self, relays: Relays, listener: socket.socket, target: tuple[str, int] | None) -> None:
        self._relays, self._listener, self._target = relays, listener, target
        listener.listen(BACKLOG)
        relays.loop.watch(listener, READ, self)

    def ready(self, source: socket.socket, events: int) -> None:
        """Somebody connects."""
        for _ in range(ACCEPTS_AT_ONCE):
            if self._relays.full:
                self._pause()
                return
            try:
                client, _ = source.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._pause()
                return
            self._take(client)

    def _take(self, client: socket.socket) -> None:
        if self._target is not None:
            try:
                Relay(self._relays, client, self._target)
            except OSError:  # no descriptor left for the other end
                client.close()
                self._pause()
            return
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.close()

    def _pause(self) -> None:
        self._relays.loop.watch(self._listener, 0, self)
        self._relays.paused.add(self)

    def resume(self) -> None:
        """Accept again."""
        self._relays.paused.discard(self)
        self._relays.loop.watch(self._listener, READ, self)

    def close(self) -> None:
        """Give the port back; connections that were made go on."""
        self._relays.paused.discard(self)
        self._relays.loop.forget(self._listener)
