"""Serves one connection, request after request; without it a client would have to dial for each."""

import enum
import logging
import math
import socket
from collections.abc import Awaitable, Callable

import anyio
import h11
import msgspec
from anyio.abc import ByteStream

from daemon.http.answers import HeaderWriter, Sender
from daemon.http.disconnect import wait_gone
from daemon.http.errors import failure, message
from daemon.http.limits import Limits
from daemon.http.messages import Answer, Hijack, Response, StreamResponse
from daemon.http.request import HttpRequest, OnSpooled, parse_headers
from daemon.http.router import Router
from daemon.http.wire import ClientGone, Malformed, Wire
from events.envelope import Actor
from events.errors import EngineError

logger = logging.getLogger(__name__)

_USER_AGENT_CHARACTERS = 256  # it goes into the log with every change


OnUnrouted = Callable[[Actor, str, str, EngineError], Awaitable[None]]  # method, path, why no endpoint was found


class Phase(enum.Enum):
    """What a connection does, which decides how it is closed."""

    IDLE = "idle"
    ANSWERING = "answering"
    STREAMING = "streaming"
    HIJACKED = "hijacked"


class Exchange:
    """A request's head, read once."""

    def __init__(self, head: h11.Request) -> None:
        self.method = head.method.decode("ascii")
        self.target = head.target.decode("ascii")
        self.line = (
            f"{self.method} {self.target.partition('?')[0]}"  # for the daemon's own log; a query may hold secrets
        )
        self.headers = parse_headers(head)
        self.head_only = self.method == "HEAD"
        self.upgrade = self.headers.get("upgrade", "") if head.http_version != b"1.0" else ""

    @property
    def declared_bytes(self) -> int:
        """Length of the body where the client has declared it (h11 has checked the number)."""
        return int(self.headers.get("content-length", "0"))

    def path_and_query(self) -> tuple[str, str]:
        """Of a target in origin form or, as sent to proxies, in absolute form."""
        target = self.target
        if not target.startswith("/"):
            _, _, rest = target.partition("://")
            target = "/" + rest.partition("/")[2]
        path, _, query = target.partition("?")
        return path, query


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What all connections of a server share."""

    router: Router
    headers: HeaderWriter
    limits: Limits
    on_unrouted: OnUnrouted
    on_spooled: OnSpooled


class Connection:
    """A client, from its first byte to its last."""

    def __init__(self, service: Service, stream: ByteStream, raw: socket.socket, actor: Actor) -> None:
        self._service = service
        self._raw = raw
        self._actor = actor
        self._wire = Wire(stream, service.limits)
        self._sender = Sender(self._wire, service.headers, service.limits)
        self._scope = anyio.CancelScope()
        self._phase = Phase.IDLE
        self._retiring = False

    async def run(self) -> None:
        """Serve until the client is done, misbehaves, keeps us waiting, or the server closes. Raises nothing."""
        idle_timeout_s = self._service.limits.head_timeout_s
        try:
            with self._scope:
                while await self._serve_next(idle_timeout_s):
                    idle_timeout_s = self._service.limits.idle_timeout_s
            if not self._retiring:
                await self._say_goodbye()
        except ClientGone:
            logger.debug("the client left before it had its answer")

    def retire(self) -> None:
        """Serve nothing more: a request being answered is finished, anything else is cut."""
        self._retiring = True
        if self._phase is not Phase.ANSWERING:
            self.cut()

    def cut(self) -> None:
        """End now."""
        self._scope.cancel("the server is closing")

    # ---- one request

    async def _serve_next(self, idle_timeout_s: float) -> bool:
        """Whether there may be another request after this."""
        self._phase = Phase.IDLE
        try:
            await self._wait(idle_timeout_s)
            head = await self._wire.next_head()
        except Malformed as error:
            await self._refuse(error)
            return False
        if head is None:
            return False
        self._phase = Phase.ANSWERING
        exchange = Exchange(head)
        answer = await self._answer(exchange)
        try:
            return await self._deliver(answer, exchange)
        except (h11.LocalProtocolError, UnicodeEncodeError) as error:
            logger.exception("%s answered with a malformed head", exchange.line)
            if not self._wire.can_answer:
                return False
            return await self._deliver(_internal(error), exchange)

    async def _refuse(self, error: Malformed) -> None:
        self._phase = Phase.ANSWERING
        if self._wire.can_answer:
            await self._sender.respond(message(error.status, str(error)), head_only=False, close=True)

    async def _answer(self, exchange: Exchange) -> Answer:
        logger.debug("calling %s", exchange.line)
        try:
            if exchange.method == "OPTIONS":
                return Response()
            return await self._call(exchange)
        except EngineError as error:
            return failure(error)
        except Exception as error:
            logger.exception("%s failed", exchange.line)
            return _internal(error)

    async def _call(self, exchange: Exchange) -> Answer:
        path, query = exchange.path_and_query()
        actor = self._actor_of(exchange)
        try:
            found = self._service.router.find(exchange.method, path)
        except EngineError as error:
            await self._service.on_unrouted(actor, exchange.method, path, error)
            raise
        request = HttpRequest(
            method=exchange.method,
            headers=exchange.headers,
            found=found,
            query_text=query,
            actor=actor,
            wants_upgrade=bool(exchange.upgrade),
            wire=self._wire,
            wait_gone=self._wait_gone,
            on_spooled=self._service.on_spooled,
        )
        return await found.endpoint(request)

    async def _deliver(self, answer: Answer, exchange: Exchange) -> bool:
        """Whether the connection can go on."""
        if isinstance(answer, Hijack) and exchange.head_only:
            answer = Response()
        if isinstance(answer, Hijack):
            await self._hijack(answer, exchange)
            return False
        if isinstance(answer, StreamResponse):
            self._enter(Phase.STREAMING)
            if not await self._stream(answer, exchange):
                return False
        else:
            close = self._retiring or not self._can_drain(exchange)
            await self._sender.respond(answer, head_only=exchange.head_only, close=close)
        return await self._drain() and self._wire.start_next()

    async def _stream(self, answer: StreamResponse, exchange: Exchange) -> bool:
        # the request's body may be large: the iterator is expected to read it
        return await self._sender.stream(
            answer, head_only=exchange.head_only, close=self._retiring, wait_gone=self._wait_gone
        )

    async def _hijack(self, answer: Hijack, exchange: Exchange) -> None:
        if not await self._drain():
            too_much = message(400, "the request body must end before the protocol is switched")
            await self._sender.respond(too_much, head_only=False, close=True)
            return
        self._enter(Phase.HIJACKED)
        try:
            await self._sender.hijack(answer, exchange.upgrade)
        except (ClientGone, anyio.BrokenResourceError):
            raise ClientGone from None
        except Exception:
            logger.exception("%s broke off", exchange.line)

    # ---- parts

    async def _wait(self, timeout_s: float) -> None:
        """For the next request. The scope of the whole connection serves as limit: one of its own costs much more."""
        self._scope.deadline = anyio.current_time() + timeout_s
        await self._wire.wait()
        self._scope.deadline = math.inf

    async def _say_goodbye(self) -> None:
        self._phase = Phase.IDLE
        with anyio.CancelScope() as self._scope:
            await self._wire.linger()

    def _enter(self, phase: Phase) -> None:
        """Begin what doesn't end by itself; not any more when the server is closing."""
        self._phase = phase
        if self._retiring:
            self.cut()

    def _can_drain(self, exchange: Exchange) -> bool:
        """Whether what no endpoint read of the body is little enough to be read and dropped."""
        if self._wire.is_whole:
            return True
        small = exchange.declared_bytes <= self._service.limits.drain_bytes
        return self._wire.has_body and not self._wire.awaits_continue and small

    async def _drain(self) -> bool:
        limits = self._service.limits
        if self._wire.is_whole:
            return True
        if self._wire.awaits_continue:
            return False
        return await self._wire.finish_body(limits.drain_bytes, limits.drain_timeout_s)

    async def _wait_gone(self) -> None:
        await wait_gone(self._raw, half_close_is_leaving=self._phase is not Phase.HIJACKED)

    def _actor_of(self, exchange: Exchange) -> Actor:
        user_agent = exchange.headers.get("user-agent", "")[:_USER_AGENT_CHARACTERS]
        if user_agent != self._actor.user_agent:
            self._actor = msgspec.structs.replace(self._actor, user_agent=user_agent)
        return self._actor


def _internal(error: Exception) -> Response:
    return message(500, f"internal error: {type(error).__name__}: {error}")
