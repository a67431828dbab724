"""A client's connection joined to a process: output one way, stdin and detach keys the other."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

import anyio

from daemon.api.detach import DetachFilter
from daemon.http.messages import RawStream
from events.errors import EngineError
from handlers.exec.ports import Session

LOGGER = logging.getLogger(__name__)
_CLOSE_S: Final = 5.0
_STDIN_GONE = (EngineError, anyio.BrokenResourceError, anyio.ClosedResourceError)


class Input(Protocol):
    """Where a client's bytes go; who provides it closes the session."""

    async def open(self) -> Session | None:
        """The process's stdin, once it runs; None when it will not. Called for every use, opens once."""

    async def detach(self) -> None:
        """The client has typed the detach keys."""


class Joint:
    """Both directions at once, until the output has ended, the client is gone, or it has detached."""

    def __init__(
        self,
        stream: RawStream,
        wait_gone: Callable[[], Awaitable[None]],
        *,
        source: Input | None = None,
        keys: bytes = b"",
        eof_ends: bool = False,
    ) -> None:
        """`source` None drops what the client sends, `keys` b"" lets all of it through.

        `eof_ends`: the end of the client's input closes the process's stdin; otherwise it ends the connection.
        """
        self._stream = stream
        self._wait_gone = wait_gone
        self._source = source
        self._filter = DetachFilter(keys) if keys else None
        self._eof_ends = eof_ends

    async def run(self, output: Callable[[], Awaitable[None]]) -> None:
        """Carry on until `output` returns; it sends with `send_all`."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._until_gone, group.cancel_scope)
                group.start_soon(self._receive, group.cancel_scope)
                await output()
                group.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(_CLOSE_S, shield=True):
                await self._stream.send_eof()

    async def send_all(self, chunks: AsyncIterator[bytes]) -> None:
        """Pass chunks on as they come; a client that left and output that breaks off end it."""
        try:
            async with _closing(chunks):
                async for chunk in chunks:
                    await self._stream.send(chunk)
        except anyio.BrokenResourceError:
            LOGGER.debug("an attached client left")
        except EngineError as error:
            LOGGER.warning("the output of an attached process broke off: %s", error)

    async def _until_gone(self, scope: anyio.CancelScope) -> None:
        await self._wait_gone()
        scope.cancel()

    async def _receive(self, scope: anyio.CancelScope) -> None:
        """Until the end of the client's input; without a reader it is read and dropped, so that its end shows."""
        source = self._source
        while data := await self._stream.receive():
            if source is not None and not await self._pass_on(source, data):
                source = None
            if self._filter is not None and self._filter.detached:
                scope.cancel()
                return
        if source is not None and not await self._end_input(source):
            scope.cancel()

    async def _pass_on(self, source: Input, data: bytes) -> bool:
        """Whether there is still somebody to read."""
        passed = self._filter.feed(data) if self._filter else data
        is_read = await _write(source, passed) if passed else True
        if self._filter is not None and self._filter.detached:
            await _detach(source)
        return is_read

    async def _end_input(self, source: Input) -> bool:
        """Whether the connection goes on without input."""
        held = self._filter.rest() if self._filter else b""
        if held:
            await _write(source, held)
        if self._eof_ends:
            await _close(source)
        return self._eof_ends


@asynccontextmanager
async def _closing(chunks: AsyncIterator[bytes]) -> AsyncIterator[None]:
    """Let a generator clean up where it was used, also under cancellation."""
    try:
        yield
    finally:
        if isinstance(chunks, AsyncGenerator):
            with anyio.move_on_after(_CLOSE_S, shield=True):
                await chunks.aclose()


async def _write(source: Input, data: bytes) -> bool:
    """Whether somebody took it."""
    try:
        session = await source.open()
        if session is not None:
            await session.send(data)
    except _STDIN_GONE as error:
        LOGGER.debug("nobody reads an attached client's input: %s", error)
        return False
    return session is not None


async def _close(source: Input) -> None:
    try:
        session = await source.open()
        if session is not None:
            await session.send_eof()
    except _STDIN_GONE as error:
        LOGGER.debug("stdin had ended before its end came: %s", error)


async def _detach(source: Input) -> None:
    try:
        await source.detach()
    except EngineError as error:
        LOGGER.warning("a detach could not be recorded: %s", error)
