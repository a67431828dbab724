"""Accepts connections and serves them; without it there would be no API."""

import contextlib
import errno
import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence

import anyio
from anyio.abc import ByteStream, TaskGroup, TaskStatus

from daemon.http.answers import HeaderWriter
from daemon.http.connection import Connection, OnUnrouted, Service
from daemon.http.greeting import close, greet
from daemon.http.limits import Limits
from daemon.http.messages import Route, Version
from daemon.http.request import OnSpooled
from daemon.http.router import Router
from daemon.http.sockets import Listener
from events.envelope import Actor
from events.errors import EngineError

logger = logging.getLogger(__name__)

_FULL_BODY = b'{"message":"too many connections"}\n'
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s"
) % (len(_FULL_BODY), _FULL_BODY)
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_EXHAUSTED_PAUSE_S = 0.1
_CUT_TIMEOUT_S = 5.0


def _leave(descriptor: int, offset: int, size: int) -> None:
    """It comes to the disk when the kernel thinks fit."""


async def _ignore(_actor: Actor, _method: str, _path: str, _error: EngineError) -> None:
    """Nobody wants to know."""


class Server:
    """Serves a route table on any number of listeners."""

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        common_headers: Mapping[str, str],
        minimum_version: Version = (1, 24),
        maximum_version: Version = (1, 51),
        limits: Limits | None = None,
        on_unrouted: OnUnrouted | None = None,
        on_spooled: OnSpooled | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`common_headers` go on every answer; `on_unrouted` is told of requests that no endpoint hears of.

        `on_spooled` is told of each part of a body that was written to a file.

        Raises ValueError for a route table that makes no sense."""
        self._service = Service(
            router=Router(routes, minimum=minimum_version, maximum=maximum_version),
            headers=HeaderWriter(common_headers, clock_ns),
            limits=limits or Limits(),
            on_unrouted=on_unrouted or _ignore,
            on_spooled=on_spooled or _leave,
        )
        self._places = _Places(self._service.limits.connections)
        self._connections: set[Connection] = set()
        self._accepting: anyio.CancelScope | None = None
        self._closing = False
        self._none_left = anyio.Event()
        self._closed = anyio.Event()

    async def serve(
        self, listeners: Sequence[Listener], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until `close`. The listeners are closed at the end, and at once by `close`."""
        try:
            async with anyio.create_task_group() as connections:
                with anyio.CancelScope() as self._accepting:
                    task_status.started()
                    await self._accept_on_all(listeners, connections)
                _close_all(listeners)
                await self._closed.wait()
                connections.cancel_scope.cancel("the server is closing")
        finally:
            _close_all(listeners)

    async def close(self, grace_s: float) -> None:
        """Accept no more, cut streams, and give requests that are being answered `grace_s` seconds to finish."""
        self._closing = True
        if self._accepting is not None:
            self._accepting.cancel("the server is closing")
        try:
            for connection in list(self._connections):
                connection.retire()
            await self._wait_until_empty(grace_s)
            for connection in list(self._connections):
                connection.cut()
            await self._wait_until_empty(_CUT_TIMEOUT_S)
        finally:
            self._closed.set()

    # ---- parts

    async def _wait_until_empty(self, timeout_s: float) -> None:
        if self._connections:
            with anyio.move_on_after(timeout_s):
                await self._none_left.wait()

    async def _accept_on_all(self, listeners: Sequence[Listener], connections: TaskGroup) -> None:
        if not self._closing:
            async with anyio.create_task_group() as accepting:
                for listener in listeners:
                    accepting.start_soon(self._accept, listener, connections)

    async def _accept(self, listener: Listener, connections: TaskGroup) -> None:
        entry = self._places if listener.tls is None else _Places(self._service.limits.handshakes)
        while True:
            await anyio.wait_readable(listener.socket)
            try:
                accepted, address = listener.socket.accept()
            except OSError as error:  # a client that has left again is none of our business
                if error.errno in _EXHAUSTED:
                    logger.warning("cannot accept a connection on %s: %s", listener.address, error.strerror)
                    await anyio.sleep(_EXHAUSTED_PAUSE_S)
                continue
            if entry.take():
                connections.start_soon(self._handle, accepted, address, listener, entry)
            else:
                _turn_away(accepted, listener)

    async def _handle(self, accepted: socket.socket, address: object, listener: Listener, entry: "_Places") -> None:
        """Serve a client that has a place in `entry`; one that has shown who it is moves on to those of all clients."""
        place: _Places | None = entry
        try:
            timeout_s = self._service.limits.head_timeout_s
            if greeted := await greet(accepted, address, listener.tls, timeout_s=timeout_s):
                if place is not self._places:
                    entry.leave()
                    place = self._places if self._places.take() else None
                await (self._converse(accepted, *greeted) if place else _refuse(greeted[0], timeout_s))
        except Exception:  # one client's trouble is never another's
            logger.exception("a connection on %s failed", listener.address)
        finally:
            if place:
                place.leave()
            accepted.close()

    async def _converse(self, accepted: socket.socket, stream: ByteStream, actor: Actor) -> None:
        connection = Connection(self._service, stream, accepted, actor)
        self._connections.add(connection)
        if self._closing:
            connection.retire()
        try:
            await connection.run()
        finally:
            await close(stream)
            self._connections.discard(connection)
            if self._closing and not self._connections:
                self._none_left.set()


class _Places:
    """So many clients at once."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    def take(self) -> bool:
        """Whether there was a place."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    def leave(self) -> None:
        """Give one back."""
        self._free += 1


async def _refuse(stream: ByteStream, timeout_s: float) -> None:
    """Say 503 to a known client that is one too many."""
    with anyio.move_on_after(timeout_s), contextlib.suppress(OSError, anyio.BrokenResourceError):
        await stream.send(_FULL)
    await close(stream)


def _turn_away(accepted: socket.socket, listener: Listener) -> None:
    """Say 503 to a client that is one too many, without waiting for it; under TLS it can't be told."""
    with accepted, contextlib.suppress(OSError):
        accepted.settimeout(0)
        if listener.tls is None:
            accepted.send(_FULL)
            accepted.shutdown(socket.SHUT_WR)


def _close_all(listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        listener.close()
