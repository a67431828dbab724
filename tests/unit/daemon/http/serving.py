"""A server on real sockets for a test's length, and a client that speaks in raw bytes."""

import ssl
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import SocketStream

from daemon.http.limits import Limits
from daemon.http.messages import Answer, Endpoint, Request, Response, Route
from daemon.http.request import OnSpooled
from daemon.http.server import Server
from daemon.http.sockets import Listener, Opening, open_listeners

COMMON = {"Server": "Docker/28.0.0 (linux)", "Api-Version": "1.51", "Ostype": "linux", "Docker-Experimental": "false"}
DEADLINE_S = 5.0
NOW_NS = 1_700_000_000_000_000_000


class Serving:
    """The server under test and how to reach it."""

    def __init__(self, server: Server, listeners: Sequence[Listener], path: Path) -> None:
        self.server = server
        self.path = path
        self.listeners = listeners

    @property
    def port(self) -> int:
        port: int = self.listeners[-1].socket.getsockname()[1]
        return port

    async def connect(self) -> SocketStream:
        return await anyio.connect_unix(self.path)

    async def exchange(self, sent: bytes) -> bytes:
        """Everything that comes back until the server closes."""
        async with await self.connect() as stream:
            await stream.send(sent)
            return await read_to_end(stream)


@asynccontextmanager
async def serving(
    routes: Sequence[Route],
    *,
    limits: Limits | None = None,
    tcp: bool = False,
    tls: ssl.SSLContext | None = None,
    on_spooled: OnSpooled | None = None,
) -> AsyncIterator[Serving]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "s.sock"
        addresses = [f"unix://{path}"] + (["tcp://127.0.0.1:0"] if tcp or tls else [])
        listeners = open_listeners(addresses, Opening(tls=tls, allow_plain_tcp=tcp), environment={})
        server = Server(routes, common_headers=COMMON, limits=limits, clock_ns=lambda: NOW_NS, on_spooled=on_spooled)
        async with anyio.create_task_group() as group:

            async def serve(*, task_status: anyio.abc.TaskStatus[None]) -> None:
                await server.serve(listeners, task_status=task_status)

            await group.start(serve)
            try:
                with anyio.fail_after(20):
                    yield Serving(server, listeners, path)
            finally:
                with anyio.CancelScope(shield=True):
                    await server.close(0)


def route(endpoint: Endpoint, method: str = "GET", pattern: str = "/x", minimum: tuple[int, int] = (1, 24)) -> Route:
    return Route(method=method, pattern=pattern, endpoint=endpoint, minimum_version=minimum)


async def hello(request: Request) -> Answer:
    return Response(body=b"hello", content_type="text/plain")


async def echo(request: Request) -> Answer:
    return Response(body=await request.read(), content_type="text/plain")


def get(path: str = "/x", *headers: str, method: str = "GET", close: bool = True) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: d", *headers, *(["Connection: close"] if close else [])]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def read_to_end(stream: anyio.abc.ByteReceiveStream) -> bytes:
    received = b""
    with anyio.fail_after(DEADLINE_S):
        while True:
            try:
                received += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return received


async def read_until(stream: anyio.abc.ByteReceiveStream, end: bytes) -> bytes:
    """Everything up to and with the first chunk that ends so."""
    received = b""
    with anyio.fail_after(DEADLINE_S):
        while not received.endswith(end):
            received += await stream.receive()
    return received


def split(answer: bytes) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers, the rest."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), body


def chunked(body: bytes) -> bytes:
    """Undo the chunked encoding; fails when the last chunk is missing."""
    plain = b""
    while True:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            assert rest == b"\r\n"
            return plain
        plain += rest[:length]
        body = rest[length + 2 :]
