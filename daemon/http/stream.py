"""A connected socket as a byte stream, the same for unix and TCP.

anyio's own stream for unix sockets logs an error when it is cancelled in the instant in which the socket gets ready,
which is what happens when a client leaves a stream that was waiting for it (compare
https://github.com/agronholm/anyio/issues/1267).
"""

import contextlib
import socket

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint
from typing_extensions import override


class ConnectedStream(ByteStream):
    """Takes over a connected, non-blocking stream socket. One task may receive while another sends."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        """At least one byte. Raises EndOfStream, BrokenResourceError, ClosedResourceError."""
        data = self._try_to_receive(max_bytes)
        if data is not None:
            await cancel_shielded_checkpoint()
        while data is None:
            await anyio.wait_readable(self._socket)
            data = self._try_to_receive(max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data

    @override
    async def send(self, item: bytes) -> None:
        """All of it. Raises BrokenResourceError, ClosedResourceError."""
        await checkpoint()  # before, not after: what is cancelled hasn't been sent
        left = memoryview(item)[self._try_to_send(item) :]
        while left:
            await anyio.wait_writable(self._socket)
            left = left[self._try_to_send(left) :]

    def send_at_once(self, item: bytes) -> bytes:
        """What is left of it: the peer has yet to make room. Raises BrokenResourceError, ClosedResourceError."""
        return item[self._try_to_send(item) :]

    @override
    async def send_eof(self) -> None:
        """Close our side. Raises BrokenResourceError when the peer has closed both."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise anyio.BrokenResourceError from error

    @override
    async def aclose(self) -> None:
        """Close; tasks that wait on the stream get ClosedResourceError. Closing twice is fine."""
        if self._socket.fileno() >= 0:
            with contextlib.suppress(OSError):
                anyio.notify_closing(self._socket)
            self._socket.close()
        await checkpoint()

    def _try_to_receive(self, max_bytes: int) -> bytes | None:
        """None when there is nothing yet."""
        try:
            return self._socket.recv(max_bytes)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise self._failure() from error

    def _try_to_send(self, data: bytes | memoryview) -> int:
        """How many bytes went out."""
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise self._failure() from error

    def _failure(self) -> Exception:
        return anyio.ClosedResourceError() if self._socket.fileno() < 0 else anyio.BrokenResourceError()
