"""A connection that has left HTTP; without it attach and exec would have no way for stdin to end before stdout."""

import contextlib
import ssl

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

_RECEIVE_BYTES = 64 * 1024


class HijackedStream:
    """Both directions of a raw connection; see `daemon.http.messages.RawStream`."""

    def __init__(self, stream: ByteStream, early: bytes) -> None:
        """`early`: what the client sent in the same breath as its request."""
        self._stream = stream
        self._early = early
        self._ended = False

    async def receive(self) -> bytes:
        """Some bytes; b"" when the client has closed its side or is gone."""
        if self._early:
            early, self._early = self._early, b""
            return early
        if self._ended:
            return b""
        try:
            return await self._stream.receive(_RECEIVE_BYTES)
        except (anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError):
            self._ended = True
            return b""

    async def send(self, data: bytes) -> None:
        """Write. Raises anyio.BrokenResourceError when the client is gone."""
        try:
            await self._stream.send(data)
        except (anyio.ClosedResourceError, OSError) as error:
            raise anyio.BrokenResourceError from error

    async def send_eof(self) -> None:
        """Close our side. With TLS that shows only when the connection closes, which the end of `run` does."""
        if not isinstance(self._stream, TLSStream):
            with contextlib.suppress(OSError):
                await self._stream.send_eof()
