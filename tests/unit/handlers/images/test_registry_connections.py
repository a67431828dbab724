"""Connections to a registry serve more than one request; without that each would begin with a handshake."""

import http.server
import threading
from collections.abc import Iterator

import pytest
from typing_extensions import override

from events.messages.image import Credentials
from handlers.images.drivers.http_registry import HttpRegistries
from handlers.images.drivers.transport import Transport
from handlers.images.registry_settings import RegistrySettings


class Handler(http.server.BaseHTTPRequestHandler):
    """Takes every upload; `length` is what its answers claim to have, and have not."""

    protocol_version = "HTTP/1.1"
    connections: set[tuple[str, int]]
    length = 0

    def do_POST(self) -> None:
        """An upload begins."""
        self._answer(202, self.length)

    def do_HEAD(self) -> None:
        """A blob is there."""
        self._answer(200, 5_000_000)

    def do_PUT(self) -> None:
        """An upload ends."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201, 0)

    def _answer(self, status: int, length: int) -> None:
        self.connections.add(self.client_address)
        self.send_response(status)
        self.send_header("Location", "/v2/a/blobs/uploads/1")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def handler() -> Iterator[type[Handler]]:
    """Of a server that runs; its `address` is in it."""

    class Fresh(Handler):
        connections: set[tuple[str, int]] = set()
        address = ""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    server.daemon_threads = True
    Fresh.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield Fresh
    server.shutdown()
    server.server_close()
    thread.join(10)


async def test_an_upload_takes_one_connection(handler):
    registries = HttpRegistries(Transport(RegistrySettings))
    async with registries.repository(f"{handler.address}/a", Credentials()) as repository:
        for _ in range(3):
            place = await repository.begin_upload()
            await repository.finish_upload(place, "sha256:0", b"content")
            assert await repository.has_blob("sha256:0")
    assert len(handler.connections) == 1


async def test_an_answer_that_breaks_off_behind_its_headers_was_an_answer(handler):
    handler.length = 10
    handler.protocol_version = "HTTP/1.0"  # it closes the connection then
    registries = HttpRegistries(Transport(RegistrySettings))
    async with registries.repository(f"{handler.address}/a", Credentials()) as repository:
        assert await repository.begin_upload() == f"http://{handler.address}/v2/a/blobs/uploads/1"
