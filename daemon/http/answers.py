"""Sends answers: complete, streamed, or as a switch to raw bytes; the only writer of response heads."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

import anyio
import h11
from anyio.lowlevel import checkpoint

from daemon.http.errors import BODYLESS, REASONS
from daemon.http.limits import Limits
from daemon.http.messages import Hijack, Response, StreamResponse
from daemon.http.rawstream import HijackedStream
from daemon.http.wire import ClientGone, Wire

logger = logging.getLogger(__name__)

Headers = list[tuple[bytes, bytes]]


class HeaderWriter:
    """Puts the headers that every answer has before those of the answer itself."""

    def __init__(self, common: Mapping[str, str], clock_ns: Callable[[], int]) -> None:
        self._common = [(name.encode("ascii"), value.encode("latin-1")) for name, value in common.items()]
        self._names = {name.lower() for name in common}
        self._clock_ns = clock_ns
        self._date: tuple[int, bytes] = (-1, b"")
        self._lines = lru_cache(maxsize=256)(self._write_lines)

    def write(self, own: Mapping[str, str], *more: tuple[bytes, bytes]) -> Headers:
        """An answer's own header takes the place of a common one. Raises UnicodeEncodeError."""
        common, own_headers = self._both(own)
        return [*common, (b"Date", self._now()), *own_headers, *more]

    def _both(self, own: Mapping[str, str]) -> tuple[Headers, Headers]:
        common = self._common
        if own and not self._names.isdisjoint(name.lower() for name in own):
            overridden = {name.lower().encode() for name in own}
            common = [header for header in common if header[0].lower() not in overridden]
        return common, [(name.encode("ascii"), value.encode("latin-1")) for name, value in own.items()]

    def whole(self, answer: Response) -> bytes:
        """The head of a complete answer, after which the connection goes on.

        Raises UnicodeEncodeError, h11.LocalProtocolError."""
        kind = answer.content_type if answer.body else ""
        lines = self._lines(answer.status, kind, tuple(answer.headers.items()))
        if answer.status in BODYLESS:
            return b"%sDate: %s\r\n\r\n" % (lines, self._now())
        return b"%sDate: %s\r\nContent-Length: %d\r\n\r\n" % (lines, self._now(), len(answer.body))

    def _write_lines(self, status: int, kind: str, own: tuple[tuple[str, str], ...]) -> bytes:
        """What is the same in all answers of a sort; h11 checks it."""
        common, own_headers = self._both(dict(own))
        more = [(b"Content-Type", kind.encode("latin-1"))] if kind else []
        head = h11.Response(status_code=status, headers=[*common, *own_headers, *more], reason=REASONS.get(status, b""))
        lines = (b"%s: %s\r\n" % header for header in head.headers.raw_items())
        return b"HTTP/1.1 %d %s\r\n%s" % (status, head.reason, b"".join(lines))

    def _now(self) -> bytes:
        second = self._clock_ns() // 1_000_000_000
        if self._date[0] != second:
            text = format_datetime(datetime.fromtimestamp(second, UTC), usegmt=True)
            self._date = (second, text.encode("ascii"))
        return self._date[1]


class Sender:
    """Answers the requests of one connection."""

    def __init__(self, wire: Wire, headers: HeaderWriter, limits: Limits) -> None:
        self._wire = wire
        self._headers = headers
        self._limits = limits

    async def respond(self, answer: Response, *, head_only: bool, close: bool) -> None:
        """Send a complete answer. Raises ClientGone; h11.LocalProtocolError or UnicodeEncodeError before any byte."""
        has_body = bool(answer.body) and not head_only and answer.status not in BODYLESS
        if self._wire.lacks_only_answer and not close:
            head = self._headers.whole(answer)
            await self._wire.send_whole(head + answer.body if has_body else head, timeout_s=self._limits.send_timeout_s)
            return
        more: Headers = []
        if answer.body:
            more.append((b"Content-Type", answer.content_type.encode("latin-1")))
        if answer.status not in BODYLESS:
            more.append((b"Content-Length", b"%d" % len(answer.body)))
        events: list[h11.Event] = [self._head(answer, more, close=close)]
        if has_body:
            events.append(h11.Data(data=answer.body))
        events.append(h11.EndOfMessage())
        await self._wire.send(*events, timeout_s=self._limits.send_timeout_s)

    async def stream(
        self, answer: StreamResponse, *, head_only: bool, close: bool, wait_gone: Callable[[], Awaitable[None]]
    ) -> bool:
        """Send head and chunks as they come; False when they broke off or the client left.

        Raises ClientGone; h11.LocalProtocolError or UnicodeEncodeError before any byte. The iterator is closed.
        """
        try:
            await self._wire.send_continue()
            head = self._head(answer, [(b"Content-Type", answer.content_type.encode("latin-1"))], close=close)
            await self._wire.send(head, timeout_s=self._limits.send_timeout_s)
        except BaseException:
            await self._close(answer.chunks)
            raise
        if head_only or answer.status in BODYLESS:
            await self._close(answer.chunks)
        elif not await self._pump(answer.chunks, wait_gone):
            return False
        await self._wire.send(h11.EndOfMessage(), timeout_s=self._limits.send_timeout_s)
        return True

    async def hijack(self, answer: Hijack, protocol: str) -> None:
        """Leave HTTP and let the answer's function have the connection. `protocol` "": the client asked for none."""
        kind = (b"Content-Type", answer.content_type.encode("latin-1"))
        if protocol:
            upgrade = [(b"Connection", b"Upgrade"), (b"Upgrade", protocol.encode("latin-1"))]
            headers = self._headers.write({}, kind, *upgrade)
            await self._wire.send(
                h11.InformationalResponse(status_code=101, headers=headers, reason=b"UPGRADED"),
                timeout_s=self._limits.send_timeout_s,
            )
        else:  # no length, no chunks: what h11 wouldn't let out
            lines = [b"%s: %s\r\n" % header for header in self._headers.write({}, kind)]
            head = b"HTTP/1.1 200 OK\r\n" + b"".join(lines) + b"\r\n"
            await self._wire.send_raw(head, timeout_s=self._limits.send_timeout_s)
        await answer.run(HijackedStream(self._wire.stream, self._wire.leave_http()))

    def _head(self, answer: Response | StreamResponse, more: Headers, *, close: bool) -> h11.Response:
        if close:
            more = [*more, (b"Connection", b"close")]
        return _head(answer.status, tuple(self._headers.write(answer.headers, *more)))

    async def _pump(self, chunks: AsyncIterator[bytes], wait_gone: Callable[[], Awaitable[None]]) -> bool:
        """Whether all chunks went out."""
        complete = False
        async with anyio.create_task_group() as group:

            async def stop_when_gone() -> None:
                try:
                    await wait_gone()
                except OSError:  # out of descriptors: a failing send will tell
                    logger.warning("cannot watch for the client to leave", exc_info=True)
                else:
                    group.cancel_scope.cancel("the client is gone")

            group.start_soon(stop_when_gone)
            complete = await self._send_all(chunks)
            group.cancel_scope.cancel("the stream has ended")
        return complete

    async def _send_all(self, chunks: AsyncIterator[bytes]) -> bool:
        # The scope is older than anything the iterator opens, and becomes a shield only for closing it: a scope
        # entered for closing would stand inside scopes that the iterator has open, and leave before them.
        with anyio.CancelScope() as scope:
            try:
                async for chunk in chunks:
                    if chunk:
                        await self._wire.send(h11.Data(data=chunk))
                        await checkpoint()
            except ClientGone:
                return False
            except Exception:
                logger.exception("a streamed answer broke off")
                return False
            else:
                return True
            finally:
                scope.shield = True
                scope.deadline = anyio.current_time() + self._limits.iterator_close_timeout_s
                await _close(chunks)
        return False

    async def _close(self, chunks: AsyncIterator[bytes]) -> None:
        """Close an iterator that hasn't begun."""
        with anyio.move_on_after(self._limits.iterator_close_timeout_s, shield=True):
            await _close(chunks)


@lru_cache(maxsize=256)
def _head(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> h11.Response:
    """Heads repeat, and checking each header anew would be a fifth of a short request's time."""
    return h11.Response(status_code=status, headers=list(headers), reason=REASONS.get(status, b""))


async def _close(chunks: AsyncIterator[bytes]) -> None:
    close = getattr(chunks, "aclose", None)  # generators have it, plain iterators needn't
    if close is None:
        return
    try:
        await close()
    except Exception:
        logger.exception("a streamed answer could not be closed")
    except BaseExceptionGroup as group:  # a task group inside the iterator wraps the order to close among its errors
        _, rest = group.split(GeneratorExit)
        if rest is not None:
            raise rest from None
