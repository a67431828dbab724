"""HTTP over the engine's socket as tests need it: whole requests with their answers, and bytes that are no requests."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

import msgspec
from typing_extensions import override

TIMEOUT_S = 20.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body decoded; None without one."""
        return json.loads(self.body) if self.body else None

    @property
    def message(self) -> str:
        """The text of an error; "" where there is none."""
        return self.json.get("message", "") if self.status >= 400 else ""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    @override
    def connect(self) -> None:
        self.sock = dial(self._path, self.timeout)


class RawClient:
    """One connection, kept alive while the engine keeps it."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._connection = _UnixConnection(path, timeout_s)

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, method: str, target: str, body: object = None, **headers: str) -> Answer:
        """One request. `body`: bytes as they are, anything else but None as JSON; `content_type` overrides its type."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            named.setdefault("content-type", "application/json")
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._connection.request(method, target, body=body, headers=named)
        with self._connection.getresponse() as answer:
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(status=answer.status, headers=found, body=answer.read())


def dial(path: Path, timeout_s: float | None = TIMEOUT_S) -> socket.socket:
    """A connected socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_s)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def say(path: Path, data: bytes, *, ends: bool = True) -> bytes:
    """Send bytes, with `ends` close our side, and return all that the engine says until it closes its own."""
    with dial(path) as connection:
        try:
            connection.sendall(data)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        except BrokenPipeError:  # it has heard enough
            pass
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    said = bytearray()
    while chunk := connection.recv(65536):
        said += chunk
    return bytes(said)


def status_of(said: bytes) -> int:
    """The status of the first answer in what was said; 0 when nothing was."""
    words = said.split(b" ", 2)
    return int(words[1]) if said.startswith(b"HTTP/1.1 ") and len(words) > 1 else 0
