"""Events to a web address, one request each; the position is in a file beside it. A worked example of a sink.

The request carries `Idempotency-Key: <log>-<sequence>`: between the answer and the position on disk a crash may lie,
and only the receiver can tell that an event comes again.
"""

import logging
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio
import anyio.abc
import h11
from anyio import to_thread

from clients.errors import SinkFailed, Unusable
from clients.subscribe.file_sink import Encode, as_line
from clients.subscribe.position import Position, read_position, write_position
from events.lines import Line

LOGGER = logging.getLogger(__name__)
ANSWER_S: Final = 30.0
PAUSES_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_TRY_AGAIN: Final = frozenset({408, 425, 429})  # RFC 9110, RFC 8470, RFC 6585: the request isn't to blame
_RECEIVE_BYTES: Final = 64 * 1024
_REDIRECTION, _REFUSAL, _FAILURE = 300, 400, 500


class Refused(Exception):
    """The receiver can't take it now; later it may."""


class WebhookSink:
    """POSTs each event as JSON and goes on when the answer is 2xx; until then it tries again, with growing pauses."""

    def __init__(
        self,
        url: str,
        position_file: Path,
        *,
        encode: Encode = as_line,
        content_type: str = "application/json",
        attempts: int = 0,
    ) -> None:
        """`attempts` bounds the tries for one event; 0: no bound. Raises Unusable for an address that isn't one."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Unusable(f"{url} is no web address: use http://HOST[:PORT]/PATH or https://...")
        self._url, self._parts = url, parts
        self._file = position_file
        self._encode, self._content_type = encode, content_type
        self._attempts = attempts

    async def position(self) -> Position | None:
        """See `Sink`."""
        return await to_thread.run_sync(read_position, self._file)

    async def write(self, lines: Sequence[Line]) -> None:
        """See `Sink`."""
        for line in lines:
            await self._deliver(line)
            try:
                await to_thread.run_sync(write_position, self._file, Position(log=line.log, sequence=line.sequence))
            except OSError as error:
                raise SinkFailed(f"the position can't be kept in {self._file}: {error.strerror}") from error

    async def _deliver(self, line: Line) -> None:
        attempt = 0
        while True:
            try:
                return await self._post(line)
            except (Refused, OSError, TimeoutError, anyio.BrokenResourceError, h11.RemoteProtocolError) as error:
                attempt += 1
                problem = str(error) or type(error).__name__
                if 0 < self._attempts <= attempt:
                    raise SinkFailed(
                        f"{self._url} doesn't take event {line.sequence} ({problem}): see to that and go on, the "
                        "position is kept"
                    ) from error
                LOGGER.warning("%s: event %d waits: %s", self._url, line.sequence, problem)
            await anyio.sleep(PAUSES_S[min(attempt - 1, len(PAUSES_S) - 1)])

    async def _post(self, line: Line) -> None:
        with anyio.fail_after(ANSWER_S):
            async with await self._connect() as stream:
                status = await _exchange(stream, self._request(line), self._encode(line))
        if status in _TRY_AGAIN or status >= _FAILURE:
            raise Refused(f"HTTP status {status}")
        if status >= _REDIRECTION:
            kind = "refused" if status >= _REFUSAL else "redirected"
            raise SinkFailed(f"{self._url} {kind} event {line.sequence} with HTTP status {status}: correct the address")

    async def _connect(self) -> anyio.abc.ByteStream:
        host = self._parts.hostname or ""
        if self._parts.scheme == "http":
            return await anyio.connect_tcp(host, self._parts.port or 80)
        context = ssl.create_default_context()
        return await anyio.connect_tcp(host, self._parts.port or 443, tls=True, ssl_context=context)

    def _request(self, line: Line) -> h11.Request:
        target = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        headers = [
            ("Host", self._parts.netloc.rpartition("@")[2]),
            ("Content-Type", self._content_type),
            ("Content-Length", str(len(self._encode(line)))),
            ("Idempotency-Key", f"{line.log}-{line.sequence}"),
            ("User-Agent", "shiplog"),
            ("Connection", "close"),
        ]
        return h11.Request(method="POST", target=target, headers=headers)


async def _exchange(stream: anyio.abc.ByteStream, request: h11.Request, body: bytes) -> int:
    """The status of the answer."""
    protocol = h11.Connection(h11.CLIENT)
    for part in (request, h11.Data(data=body), h11.EndOfMessage()):
        await stream.send(protocol.send(part) or b"")
    while True:
        event = protocol.next_event()
        if isinstance(event, h11.Response):
            return event.status_code
        if event is h11.NEED_DATA:
            try:
                protocol.receive_data(await stream.receive(_RECEIVE_BYTES))
            except anyio.EndOfStream:
                protocol.receive_data(b"")
        elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            raise Refused("no answer")
