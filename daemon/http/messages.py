"""What an endpoint gets and gives; without these the API layer would have to know the wire."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from events.envelope import Actor

Version = tuple[int, int]


class Request(Protocol):
    """One request, its head read, its body not yet."""

    method: str
    path: str  # percent-decoded, without the version prefix
    parameters: Mapping[str, str]  # from the route's pattern
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]  # names in lower case
    version: Version  # of the API, from the path or the newest
    actor: Actor
    wants_upgrade: bool

    async def read(self, limit_bytes: int = 4 * 1024 * 1024) -> bytes:
        """The whole body. Raises InvalidParameter when it is larger, or ends before its declared length."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises InvalidParameter when it is cut off."""

    async def spool(self, path: Path) -> int:
        """Write the body to a new file (0600) and return its size in bytes."""

    async def wait_disconnect(self) -> None:
        """Return when the client is gone (cancel it when that is no longer of interest)."""


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b""
    content_type: str = "application/json"  # left out when there is no body
    sealed_for: str = ""  # owner of the key that the body is kept under, where it may hold a secret


class StreamResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An answer whose head goes out at once and whose chunks are each flushed; closed when the client leaves."""

    status: int = 200
    headers: dict[str, str] = {}
    content_type: str = "application/json"
    chunks: AsyncIterator[bytes]


class RawStream(Protocol):
    """A connection after the protocol was switched; its two directions end independently."""

    async def receive(self) -> bytes:
        """Some bytes; b"" when the client has closed its side."""

    async def send(self, data: bytes) -> None:
        """Write. Raises anyio.BrokenResourceError when the client is gone."""

    async def send_eof(self) -> None:
        """Close our side."""


class Hijack(msgspec.Struct, frozen=True, kw_only=True):
    """Switch to raw bytes: 101 UPGRADED when the client asked to upgrade, else 200; `run` owns the connection."""

    content_type: str
    run: Callable[[RawStream], Awaitable[None]]


Answer = Response | StreamResponse | Hijack
Endpoint = Callable[[Request], Awaitable[Answer]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the route table. Pattern segments: `literal`, `{name}` (no slash), `{name:path}` (may have slashes,
    at least one character; matched by the suffix that follows it)."""

    method: str
    pattern: str
    endpoint: Endpoint
    minimum_version: Version = (1, 24)
