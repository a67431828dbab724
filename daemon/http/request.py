"""A request as endpoints see it; without it they would see the protocol."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs

import anyio
import h11
from anyio import to_thread
from anyio.streams.memory import MemoryObjectSendStream

from daemon.http.errors import BodyTooLarge
from daemon.http.messages import Version
from daemon.http.router import Found
from daemon.http.wire import Wire
from events.envelope import Actor
from events.errors import SystemFailure
from handlers.together import beside

OnSpooled = Callable[[int, int, int], None]  # descriptor, offset, size; in a thread, which it may block

_WRITE_BYTES = 1024 * 1024  # gathered before a write, which costs a hop to a thread


class HttpRequest:
    """One request; see `daemon.http.messages.Request`."""

    __slots__ = (
        "_on_spooled",
        "_wait_gone",
        "_wire",
        "actor",
        "headers",
        "method",
        "parameters",
        "path",
        "query",
        "version",
        "wants_upgrade",
    )

    def __init__(
        self,
        *,
        method: str,
        headers: Mapping[str, str],
        found: Found,
        query_text: str,
        actor: Actor,
        wants_upgrade: bool,
        wire: Wire,
        wait_gone: Callable[[], Awaitable[None]],
        on_spooled: OnSpooled,
    ) -> None:
        self.method: str = method
        self.path: str = found.path
        self.parameters: Mapping[str, str] = found.parameters
        self.query: Mapping[str, list[str]] = parse_query(query_text)
        self.headers: Mapping[str, str] = headers
        self.version: Version = found.version
        self.actor: Actor = actor
        self.wants_upgrade: bool = wants_upgrade
        self._wire = wire
        self._wait_gone = wait_gone
        self._on_spooled = on_spooled

    async def read(self, limit_bytes: int = 4 * 1024 * 1024) -> bytes:
        """The whole body. Raises BodyTooLarge, BodyCutOff, BodyStalled."""
        if int(self.headers.get("content-length", "0")) > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        body = bytearray()
        async for piece in self.chunks():
            body += piece
            if len(body) > limit_bytes:
                raise BodyTooLarge(limit_bytes)
        return bytes(body)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises BodyCutOff, BodyStalled."""
        while (piece := await self._wire.next_piece()) is not None:
            yield piece

    async def spool(self, path: Path) -> int:
        """Write the body to a new file and return its size in bytes; no file is left when that fails.

        Raises BodyCutOff, BodyStalled, SystemFailure.
        """
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SystemFailure(str(error)) from error
        try:
            return await self._copy_to(descriptor)
        except OSError as error:
            _discard(path)
            raise SystemFailure(f"cannot write {path}: {error.strerror}") from error
        except BaseException:
            _discard(path)
            raise
        finally:
            os.close(descriptor)

    async def wait_disconnect(self) -> None:
        """Return when the client is gone (cancel it when that is no longer of interest)."""
        await self._wait_gone()

    async def _copy_to(self, descriptor: int) -> int:
        """What has come is written while more comes; a few blocks are in memory."""
        target, source = anyio.create_memory_object_stream[bytes](1)

        async def write() -> None:
            offset = 0
            with source:
                async for block in source:
                    await to_thread.run_sync(self._write, descriptor, block, offset)
                    offset += len(block)

        return await beside(write, partial(self._gather, target))

    def _write(self, descriptor: int, block: bytes, offset: int) -> None:
        _write_all(descriptor, block)
        self._on_spooled(descriptor, offset, len(block))

    async def _gather(self, target: MemoryObjectSendStream[bytes]) -> int:
        size_bytes = 0
        gathered = bytearray()
        with target, suppress(anyio.BrokenResourceError):  # who writes has failed, which is told
            async for piece in self.chunks():
                size_bytes += len(piece)
                gathered += piece
                if len(gathered) >= _WRITE_BYTES:
                    await target.send(bytes(gathered))
                    gathered.clear()
            await target.send(bytes(gathered))
        return size_bytes


def parse_headers(head: h11.Request) -> dict[str, str]:
    """Names in lower case, repeated ones joined by commas."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def parse_query(text: str) -> dict[str, list[str]]:
    """Every value of every key, in the order sent."""
    return parse_qs(text, keep_blank_values=True, errors="replace") if text else {}


def _discard(path: Path) -> None:
    path.unlink(missing_ok=True)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
