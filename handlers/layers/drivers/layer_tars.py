"""The tars that layers came as, one process for each; without it no image could be saved or pushed.

What that process writes comes through a pipe, which it opens by the engine's own descriptor (/proc/PID/fd/N): the
server that forks it has only its standard streams.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self

import anyio
import msgspec
from anyio.to_thread import run_sync

from events.envelope import Failure
from events.errors import KINDS, SystemFailure
from handlers.kernel.calls import attempt
from handlers.layers.drivers.forks import Ended, Forks, warm
from handlers.layers.drivers.pipe_blocks import BLOCK_BYTES, read_block
from handlers.layers.drivers.skeletons import tar_size
from handlers.layers.ports import Chunks, Origin

_END_LIMIT_S = 60.0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A tar to be put together."""

    directory: str
    skeleton: str
    diff_id: str
    output: str  # a pipe
    parent_pid: int = 0  # the server's, which it fills in


class TarNotKept(SystemFailure):
    """A layer that an older release has unpacked."""

    def __init__(self, cache_id: str) -> None:
        self.cache_id = cache_id
        super().__init__(
            "the image's layers were unpacked before their archives were kept: remove it and load or pull it again"
        )


class TarBroken(SystemFailure):
    """The process that reads a layer has ended before its time."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"the process that reads the layer ended with {code}")


class Origins(Protocol):
    """What is needed of a graph driver here."""

    async def origin(self, cache_id: str) -> Origin:
        """See `GraphDriver.origin`."""


class KeptTars:
    """See `LayerTars`. Stands on `keep_warm`."""

    def __init__(self, graph: Origins) -> None:
        self._graph = graph

    async def tar_size(self, cache_id: str) -> int:
        """See `LayerTars.tar_size`."""
        origin = await self._graph.origin(cache_id)
        try:
            return await run_sync(tar_size, Path(origin.skeleton))
        except FileNotFoundError as error:
            raise TarNotKept(cache_id) from error

    async def tar(self, cache_id: str, diff_id: str) -> Chunks:
        """See `LayerTars.tar`."""
        forks = warm()
        if forks is None:
            raise SystemFailure("the programs for layers aren't kept loaded")
        origin = await self._graph.origin(cache_id)
        return _Tar.begin(forks, origin, diff_id)


class _Tar:
    """One tar by blocks; over with the last of them, or by `aclose`."""

    def __init__(self, output: int, sink: int) -> None:
        self._output, self._sink = output, sink
        self._scope, self._ended = anyio.CancelScope(), anyio.Event()
        self._result: Ended | None = None

    @classmethod
    def begin(cls, forks: Forks, origin: Origin, diff_id: str) -> Self:
        """Have the tar put together, which waits whenever the pipe is full."""
        with attempt("make a pipe"):
            output, sink = os.pipe2(os.O_CLOEXEC)
        with suppress(OSError):  # more than the limit for users is root's alone, and only speed
            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, BLOCK_BYTES)
        os.set_blocking(output, False)
        tar = cls(output, sink)
        request = Request(
            directory=origin.directory,
            skeleton=origin.skeleton,
            diff_id=diff_id,
            output=f"/proc/{os.getpid()}/fd/{sink}",
        )
        forks.tasks.start_soon(tar._run, forks, msgspec.Raw(msgspec.json.encode(request)))
        return tar

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Raises StopAsyncIteration after the last block, SystemFailure where it isn't the end."""
        block = await read_block(self._output)
        if block:
            return block
        await self._ended.wait()
        failure = _failure(self._result)
        await self.aclose()
        raise failure or StopAsyncIteration

    async def aclose(self) -> None:
        """End what makes it."""
        if self._output < 0:
            return
        self._scope.cancel("nobody reads it any more")
        with anyio.move_on_after(_END_LIMIT_S, shield=True):
            await self._ended.wait()
        os.close(self._output)
        self._output = -1

    async def _run(self, forks: Forks, request: msgspec.Raw) -> None:
        """Our own writing end stays open until the other one has been opened and used: the reader's end is the end."""
        try:
            with self._scope:
                self._result = await forks.run("repack", request)
        finally:
            os.close(self._sink)
            self._ended.set()


def _failure(ended: Ended | None) -> SystemFailure | None:
    """What kept a tar from its end."""
    if ended is None or ended.code != 0:
        return TarBroken(ended.code if ended else -1)
    answer = msgspec.json.decode(ended.output, type=dict[str, str])
    if not answer:
        return None
    failure = msgspec.convert(answer, Failure)
    error = KINDS[failure.kind](failure.message)
    return error if isinstance(error, SystemFailure) else SystemFailure(failure.message)
