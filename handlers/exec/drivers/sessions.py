"""Connections to conmon's attach socket: the streams of an exec, and the input of a first process.

The socket keeps packet boundaries. From conmon: a byte (2 stdout, 3 stderr) and data. To conmon: data, of which it
drops whatever exceeds 32768 bytes in a packet. A client that doesn't read blocks conmon whole, exit status included.
"""

import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import anyio

from events.errors import SystemFailure
from handlers.exec.ports import STDERR, STDOUT

INPUT_PACKET_BYTES = 32768
_PACKET_BYTES = 65536
_DRAIN_BYTES = 4 * 1024 * 1024
_STREAMS = {2: STDOUT, 3: STDERR}
_END_OF_TRANSMISSION = b"\x04"
_GONE = (OSError, anyio.ClosedResourceError)


def connect(directory: Path) -> socket.socket:
    """A connection to the process kept in `directory`. Raises SystemFailure."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        connection.connect(str(directory / "attach"))
    except OSError as error:
        connection.close()
        raise SystemFailure(f"cannot attach to the process: {error.strerror}") from error
    return connection


def _close(connection: socket.socket) -> None:
    """Close, and wake a task that waits on it."""
    if connection.fileno() >= 0:
        anyio.notify_closing(connection)
        connection.close()


class _Input:
    """The way to a process's stdin."""

    def __init__(self, connection: socket.socket, *, terminal: bool, closable: bool) -> None:
        self._connection = connection
        self._terminal, self._closable = terminal, closable

    async def send(self, data: bytes) -> None:
        """Write; what a process that has ended doesn't take is dropped."""
        with suppress(*_GONE):
            for start in range(0, len(data), INPUT_PACKET_BYTES):
                await self._send_packet(data[start : start + INPUT_PACKET_BYTES])

    async def _send_packet(self, packet: bytes) -> None:
        while True:
            try:
                self._connection.send(packet)
            except BlockingIOError:
                await anyio.wait_writable(self._connection)
            else:
                return

    async def send_eof(self) -> None:
        """A terminal is told by ^D, as a person would; a pipe that stays open for others can't be told at all."""
        if self._terminal:
            await self.send(_END_OF_TRANSMISSION)
        elif self._closable:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)


class StdinSession:
    """`Session` of handlers/exec/ports.py that only writes: output is read from the durable file, so that a slow
    client never blocks a container."""

    def __init__(self, connection: socket.socket, *, terminal: bool, stdin_once: bool) -> None:
        connection.shutdown(socket.SHUT_RD)  # conmon then drops this client's output, and no other's
        self._connection = connection
        self._input = _Input(connection, terminal=terminal, closable=stdin_once)

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """Nothing."""
        nothing: tuple[tuple[int, bytes], ...] = ()
        for chunk in nothing:
            yield chunk

    async def send(self, data: bytes) -> None:
        """Write to stdin; waits while the process doesn't read."""
        await self._input.send(data)

    async def send_eof(self) -> None:
        """Close stdin, where that is what the container was created for (StdinOnce)."""
        await self._input.send_eof()

    async def aclose(self) -> None:
        """Leave. With StdinOnce the process sees the end of its input."""
        _close(self._connection)


class ExecSession:
    """`Session` of handlers/exec/ports.py for an exec: announced first, connected when the exec is made.

    Nothing is read ahead: a client that doesn't read slows that exec down. Once the process has ended `drain` takes
    the rest, so that conmon can go.
    """

    def __init__(self, forget: Callable[[], None]) -> None:
        self._forget = forget
        self._settled = anyio.Event()  # connected, or never will be
        self._connection: socket.socket | None = None
        self._input: _Input | None = None
        self._ahead: deque[tuple[int, bytes]] = deque()
        self._reading = anyio.Lock()

    def connected(self, connection: socket.socket, *, terminal: bool) -> None:
        """The driver has connected it."""
        if self._settled.is_set():  # the client has left already
            connection.close()
            return
        self._connection = connection
        self._input = _Input(connection, terminal=terminal, closable=True)
        self._settled.set()

    def failed(self) -> None:
        """There will be no process."""
        self._settled.set()
        self._disconnect()

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """Chunks with their stream, until the process ends."""
        await self._settled.wait()
        while (chunk := await self._next()) is not None:
            yield chunk

    async def _next(self) -> tuple[int, bytes] | None:
        async with self._reading:
            if self._ahead:
                return self._ahead.popleft()
            return await self._receive()

    async def _receive(self) -> tuple[int, bytes] | None:
        while self._connection is not None:
            try:
                packet = self._connection.recv(_PACKET_BYTES)
            except BlockingIOError:
                with suppress(anyio.ClosedResourceError):
                    await anyio.wait_readable(self._connection)
                continue
            except OSError:
                return None
            if not packet:
                return None
            if len(packet) > 1:
                return _STREAMS.get(packet[0], STDOUT), packet[1:]
        return None

    async def drain(self) -> None:
        """The process has ended: read what is left for a client that is slow. Beyond 4 MiB it is cut off."""
        taken = 0
        while taken < _DRAIN_BYTES:
            async with self._reading:
                chunk = await self._receive()
                if chunk is None:
                    return
                self._ahead.append(chunk)
                taken += len(chunk[1])
        self._disconnect()

    async def send(self, data: bytes) -> None:
        """Write to stdin; waits while the process doesn't read."""
        await self._settled.wait()
        if self._input is not None:
            await self._input.send(data)

    async def send_eof(self) -> None:
        """Close stdin."""
        await self._settled.wait()
        if self._input is not None:
            await self._input.send_eof()

    async def aclose(self) -> None:
        """Leave: conmon drops what the process still writes."""
        self._forget()
        self._settled.set()
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection, self._input = self._connection, None, None
        if connection is not None:
            _close(connection)
