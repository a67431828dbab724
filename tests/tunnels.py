"""A proxy that is asked for tunnels (CONNECT), and remembers where to; what goes through them it can't read."""

import base64
import http.server
import selectors
import socket

import msgspec
from typing_extensions import override

from tests.registries import HttpServer, connected

_IDLE_S = 30.0
_BLOCK_BYTES = 65536


class Wanted(msgspec.Struct, frozen=True):
    """A tunnel that was asked for, and by whom."""

    target: str  # HOST:PORT
    user: str  # USER:PASSWORD, "" for nobody


class TunnelProxy:
    """Serves in a network namespace those who know `user`; `address` is HOST:PORT."""

    def __init__(self, namespace: str, user: str) -> None:
        self.wanted: list[Wanted] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            @override
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_CONNECT(self) -> None:
                given = self.headers.get("Proxy-Authorization", "").removeprefix("Basic ")
                wanted = Wanted(self.path, base64.b64decode(given).decode())
                outer.wanted.append(wanted)
                if wanted.user != user:
                    self.send_error(407)
                    return
                host, _, port = self.path.rpartition(":")
                try:
                    there = connected(namespace, int(port), host)
                except OSError:
                    self.send_error(502)
                    return
                with there:
                    self.send_response(200)
                    self.end_headers()
                    _pass_on(self.connection, there)

        self._server = HttpServer(namespace, Handler)
        self.address = self._server.address

    def close(self) -> None:
        """End it."""
        self._server.close()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    """Bytes both ways until either side ends."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while ready := selector.select(_IDLE_S):
            for key, _ in ready:
                block = key.fileobj.recv(_BLOCK_BYTES)  # type: ignore[union-attr]  # sockets
                if not block:
                    return
                key.data.sendall(block)
