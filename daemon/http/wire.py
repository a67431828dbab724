"""One connection's bytes as HTTP/1.1 messages, each wait with its limit; without it endpoints would see sockets.

Source: RFC 9112, by way of h11.
"""

import contextlib

import anyio
import h11
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSStream

from daemon.http.errors import BodyCutOff, BodyStalled
from daemon.http.limits import Limits
from daemon.http.stream import ConnectedStream

_RECEIVE_BYTES = 64 * 1024
_RECEIVE_BODY_BYTES = 256 * 1024  # a unix socket holds nearly as much; for heads it would cost more than it brings


class ClientGone(Exception):
    """Nobody is there to answer."""


class Malformed(Exception):
    """What came isn't HTTP, is too much of it, or too slow; `status` says which."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Wire:
    """Requests in, answers out. Bytes are received only when somebody asks, so a client can't fill our memory."""

    def __init__(self, stream: ByteStream, limits: Limits) -> None:
        self.stream = stream
        self._send_at_once = stream.send_at_once if isinstance(stream, ConnectedStream) else None
        self._limits = limits
        self._machine = self._new_machine()
        self._is_answered = False  # past h11
        self._awaits_continue = False
        self._body_failure: BodyCutOff | BodyStalled | None = None

    # ---- in

    async def wait(self) -> None:
        """Until there is something of the next request, or its end. Raises ClientGone.

        Others have their turn meanwhile, however many requests a client sends ahead."""
        if self._machine.trailing_data[0]:
            await checkpoint()
        else:
            await self._fill()

    async def next_head(self) -> h11.Request | None:
        """The next request, or None when there is none to come. Raises Malformed, ClientGone."""
        event = self._parse()
        if event is h11.NEED_DATA:
            event = await self._rest_of_head()
        if not isinstance(event, h11.Request):
            return None
        self._awaits_continue = self._machine.they_are_waiting_for_100_continue
        if not _declares_body(event):
            self._machine.next_event()  # its end, so that an endpoint's answer needn't look for one
        return event

    async def next_piece(self) -> bytes | None:
        """Some of the body, None at its end. Raises BodyCutOff, BodyStalled, and the same again when asked again."""
        if self._body_failure is not None:
            raise self._body_failure
        while self.has_body:
            event = await self._next_body_event()
            if isinstance(event, h11.Data):
                return bytes(event.data)
        return None

    async def finish_body(self, limit_bytes: int, timeout_s: float) -> bool:
        """Drop what is left of the body; False when that is more or takes longer than allowed."""
        with anyio.move_on_after(timeout_s), contextlib.suppress(BodyCutOff, BodyStalled):
            left_bytes = limit_bytes
            while left_bytes >= 0:
                piece = await self.next_piece()
                if piece is None:
                    return True
                left_bytes -= len(piece)
        return False

    @property
    def has_body(self) -> bool:
        """Whether some of the body may still be to come."""
        return self._body_failure is None and self._machine.their_state is h11.SEND_BODY

    @property
    def is_whole(self) -> bool:
        """Whether the body has come to its proper end."""
        return self._body_failure is None and not self.has_body

    @property
    def awaits_continue(self) -> bool:
        """Whether the client holds its body back until it is told to go on."""
        return self._awaits_continue and self.has_body

    # ---- out

    async def send(self, *events: h11.Event, timeout_s: float | None = None) -> None:
        """Write in one piece; nobody else has a turn when there is room for it.

        Raises ClientGone, also when the client takes longer than the timeout."""
        data = b"".join([self._machine.send(event) or b"" for event in events])
        if data:
            await self.send_raw(data, timeout_s=timeout_s)

    async def send_whole(self, answer: bytes, *, timeout_s: float) -> None:
        """Write an answer to a request that `lacks_only_answer`. Raises ClientGone.

        h11 would merely follow, which costs half of a short request's time: a new one takes over from here."""
        self._is_answered = True
        await self.send_raw(answer, timeout_s=timeout_s)

    async def send_raw(self, data: bytes, *, timeout_s: float | None = None) -> None:
        """Write bytes outside the protocol."""
        try:
            if self._send_at_once is not None:
                data = self._send_at_once(data)
            if data:
                with anyio.fail_after(timeout_s):
                    await self.stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:  # TimeoutError is an OSError
            raise ClientGone from error

    async def send_continue(self) -> None:
        """Tell a client that waits for it to send its body."""
        if self.awaits_continue:
            self._awaits_continue = False
            await self.send(
                h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"),
                timeout_s=self._limits.send_timeout_s,
            )

    # ---- from one request to the next, and out of HTTP

    @property
    def can_answer(self) -> bool:
        """Whether the head of an answer can still be sent."""
        return self._machine.our_state in (h11.IDLE, h11.SEND_RESPONSE)

    @property
    def lacks_only_answer(self) -> bool:
        """Whether there can be another request, and nothing but an answer that shows its own length before it."""
        machine = self._machine
        return self.is_whole and machine.their_state is h11.DONE and machine.our_state is h11.SEND_RESPONSE

    def start_next(self) -> bool:
        """Be ready for another request; False when this connection has had its last."""
        if self._is_answered:
            self._is_answered = False
            ahead, is_end = self._machine.trailing_data
            self._machine = self._new_machine()
            if ahead:
                self._machine.receive_data(ahead)
            if is_end:
                self._machine.receive_data(b"")
            return True
        if self._machine.our_state is not h11.DONE or self._machine.their_state is not h11.DONE:
            return False
        self._machine.start_next_cycle()
        return True

    def leave_http(self) -> bytes:
        """Bytes that the client sent ahead of the switch to another protocol."""
        return self._machine.trailing_data[0]

    async def linger(self) -> None:
        """Close our side and drop what still comes: a socket closed with unread bytes resets the client."""
        left_bytes = self._limits.linger_bytes
        gone = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
        with anyio.move_on_after(self._limits.linger_timeout_s), contextlib.suppress(*gone):
            if isinstance(self.stream, TLSStream):
                await self.stream.unwrap()  # says goodbye and waits for the client's
                return
            await self.stream.send_eof()
            while left_bytes > 0:
                left_bytes -= len(await self.stream.receive(_RECEIVE_BYTES))

    # ---- parts

    def _new_machine(self) -> h11.Connection:
        return h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.head_bytes)

    async def _rest_of_head(self) -> object:
        try:
            with anyio.fail_after(self._limits.head_timeout_s):
                while (event := self._parse()) is h11.NEED_DATA:
                    await self._fill()
        except TimeoutError:
            raise Malformed(408, "request head took too long") from None
        return event

    async def _next_body_event(self) -> object:
        try:
            while (event := self._machine.next_event()) is h11.NEED_DATA:
                await self.send_continue()
                with anyio.fail_after(self._limits.body_idle_timeout_s):
                    await self._fill(_RECEIVE_BODY_BYTES)
        except h11.RemoteProtocolError as error:
            self._body_failure = BodyCutOff(_without_quote(error))
        except ClientGone:
            self._body_failure = BodyCutOff("the client is gone")
        except TimeoutError:
            self._body_failure = BodyStalled(self._limits.body_idle_timeout_s)
        else:
            return event
        raise self._body_failure

    def _parse(self) -> object:
        try:
            return self._machine.next_event()
        except h11.RemoteProtocolError as error:
            raise Malformed(error.error_status_hint, _without_quote(error)) from None

    async def _fill(self, most_bytes: int = _RECEIVE_BYTES) -> None:
        try:
            data = await self.stream.receive(most_bytes)
        except anyio.EndOfStream:
            data = b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise ClientGone from error
        self._machine.receive_data(data)


def _declares_body(head: h11.Request) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in head.headers)


def _without_quote(error: h11.RemoteProtocolError) -> str:
    """What is wrong, without the bytes themselves, which h11 shows as Python would."""
    return str(error).partition(": bytearray(")[0]
