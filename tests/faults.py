"""A proxy before a registry that breaks what it is told to break, and remembers what it was asked."""

import contextlib
import http.server
import re
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import msgspec
from typing_extensions import override

from tests.registries import HttpServer, Registry

_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


class Asked(msgspec.Struct):
    """A request as it came, and how many bytes of a body it got."""

    method: str
    path: str
    headers: dict[str, str]
    sent_bytes: int = 0


class Fault(msgspec.Struct):
    """What happens to requests whose `METHOD path` matches, `times` times (-1: always)."""

    pattern: str
    times: int = 1
    status: int = 0  # answer this instead
    headers: dict[str, str] = {}
    body: bytes = b""
    reset_after: int = -1  # bytes of the body, then a reset
    truncate_after: int = -1  # bytes of the body, then an orderly end
    alter: Callable[[bytes], bytes] | None = None  # the whole body
    hold: threading.Event | None = None  # wait for it after `hold_after` bytes
    hold_after: int = 0
    ignore_range: bool = False


class FaultyProxy:
    """Serves in the engine's namespace; `address` is HOST:PORT."""

    def __init__(self, namespace: str, registry: Registry) -> None:
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self._registry = registry
        self._released: list[threading.Event] = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            @override
            def log_message(self, format: str, *args: Any) -> None:
                pass

            def answer(self) -> None:
                with contextlib.suppress(OSError):
                    proxy.serve(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        self._server = HttpServer(namespace, Handler)
        self.address = self._server.address

    def close(self) -> None:
        """Let go of everything that is held, and end."""
        for fault in self.faults:
            if fault.hold is not None:
                fault.hold.set()
        self._server.close()

    def clear(self) -> None:
        """No faults, no memory."""
        for fault in self.faults:
            if fault.hold is not None:
                fault.hold.set()
        self.faults, self.asked = [], []

    def fetched(self, what: str) -> int:
        """Bytes of bodies that went out for paths which contain a text."""
        return sum(each.sent_bytes for each in self.asked if what in each.path and each.method == "GET")

    def requests(self, what: str, method: str = "GET") -> list[Asked]:
        """Requests whose path contains a text."""
        return [each for each in self.asked if what in each.path and each.method == method]

    # ---- one request

    def serve(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Pass it on, but for what a fault says."""
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        asked = Asked(method=handler.command, path=handler.path, headers=headers)
        self.asked.append(asked)
        fault = self._fault(f"{handler.command} {handler.path}")
        passed = {name: value for name, value in headers.items() if name not in _HOP}
        if fault is not None and fault.ignore_range:
            passed.pop("range", None)
        if fault is not None and fault.status:
            answer = (fault.status, fault.headers, fault.body)
        else:
            path = handler.path[handler.path.index("/", 8) :] if "://" in handler.path else handler.path
            status, answered, content = self._registry.ask(handler.command, path, body, **passed)
            answer = (status, dict(answered), content)
        self._reply(handler, asked, fault, answer)

    def _fault(self, line: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and re.search(fault.pattern, line):
                fault.times -= 1
                return fault
        return None

    def _reply(
        self,
        handler: http.server.BaseHTTPRequestHandler,
        asked: Asked,
        fault: Fault | None,
        answer: tuple[int, dict[str, str], bytes],
    ) -> None:
        status, headers, content = answer
        length = headers.get("content-length", str(len(content)))
        if fault is not None and fault.alter is not None:
            content = fault.alter(content)
            length = str(len(content))
        handler.send_response(status)
        for name, value in headers.items():
            if name not in _HOP and name not in ("date", "server"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", length)
        handler.end_headers()
        if handler.command != "HEAD":
            self._send(handler, asked, fault, content)

    def _send(
        self, handler: http.server.BaseHTTPRequestHandler, asked: Asked, fault: Fault | None, content: bytes
    ) -> None:
        limit = len(content)
        if fault is not None and max(fault.reset_after, fault.truncate_after) >= 0:
            limit = max(fault.reset_after, fault.truncate_after)
        if fault is not None and fault.hold is not None:
            self._write(handler, asked, content[: fault.hold_after])
            fault.hold.wait(120)
            self._write(handler, asked, content[fault.hold_after : limit])
        else:
            self._write(handler, asked, content[:limit])
        if limit < len(content) or (fault is not None and fault.reset_after >= 0):
            handler.close_connection = True
            if fault is not None and fault.reset_after >= 0:
                handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                handler.connection.close()

    def _write(self, handler: http.server.BaseHTTPRequestHandler, asked: Asked, content: bytes) -> None:
        for start in range(0, len(content), 65536):
            block = content[start : start + 65536]
            handler.wfile.write(block)
            asked.sent_bytes += len(block)
        handler.wfile.flush()
