"""The tars that layers came as, put together by processes; without it no image could be saved or pushed.

A large one has a process of its own, which waits for who reads; small ones come several at once and whole.

What that process writes comes through a pipe, which it opens by the engine's own descriptor (/proc/PID/fd/N): the
server that forks it has only its standard streams.
"""

import fcntl
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import accumulate
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
SMALL_BYTES = 1024 * 1024
TOGETHER_BYTES = 4 * 1024 * 1024  # of small ones that are in memory at once


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A tar to be put together."""

    directory: str
    skeleton: str
    diff_id: str


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Tars to be put together, one behind the other."""

    layers: tuple[Part, ...]
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
        return await self.behind_each_other({cache_id: diff_id})

    def several(self, layers: Mapping[str, str]) -> "SeveralTars":
        """See `LayerTars.several`."""
        return SeveralTars(self, layers)

    async def sizes(self, cache_ids: Iterable[str]) -> dict[str, int]:
        """Of those tars that are kept."""
        skeletons = {cache_id: Path((await self._graph.origin(cache_id)).skeleton) for cache_id in cache_ids}
        return await run_sync(_sizes, skeletons)

    async def behind_each_other(self, layers: Mapping[str, str]) -> Chunks:
        """The tars of layers (cache ids and diff ids) as one stream; breaks off where one isn't what it should be."""
        forks = warm()
        if forks is None:
            raise SystemFailure("the programs for layers aren't kept loaded")
        parts = []
        for cache_id, diff_id in layers.items():
            origin = await self._graph.origin(cache_id)
            parts.append(Part(directory=origin.directory, skeleton=origin.skeleton, diff_id=diff_id))
        return _Tars.begin(forks, tuple(parts))


def _sizes(skeletons: Mapping[str, Path]) -> dict[str, int]:
    found: dict[str, int] = {}
    for cache_id, skeleton in skeletons.items():
        with suppress(FileNotFoundError):
            found[cache_id] = tar_size(skeleton)
    return found


class SeveralTars:
    """See `LayerTars.several`."""

    def __init__(self, tars: KeptTars, layers: Mapping[str, str]) -> None:
        self._tars = tars
        self._coming = dict(layers)  # those that weren't asked for yet
        self._sizes: dict[str, int] | None = None
        self._whole: dict[str, bytes] = {}
        self._fetching = anyio.Lock()

    async def tar_size(self, cache_id: str) -> int:
        """See `LayerTars.tar_size`."""
        sizes = await self._known_sizes()
        return sizes[cache_id] if cache_id in sizes else await self._tars.tar_size(cache_id)

    async def tar(self, cache_id: str, diff_id: str) -> Chunks:
        """See `LayerTars.tar`."""
        async with self._fetching:
            sizes = await self._known_sizes()
            if cache_id not in self._whole and sizes.get(cache_id, SMALL_BYTES + 1) <= SMALL_BYTES:
                await self._fetch({cache_id: diff_id}, sizes)
            self._coming.pop(cache_id, None)
        if cache_id in self._whole:
            return _Whole(self._whole.pop(cache_id))
        return await self._tars.tar(cache_id, diff_id)

    def several(self, layers: Mapping[str, str]) -> "SeveralTars":
        """See `LayerTars.several`."""
        return SeveralTars(self._tars, layers)

    async def _known_sizes(self) -> dict[str, int]:
        if self._sizes is None:
            self._sizes = await self._tars.sizes(self._coming)
        return self._sizes

    async def _fetch(self, wanted: dict[str, str], sizes: Mapping[str, int]) -> None:
        """What is wanted, and of what will be as much as fits."""
        left = TOGETHER_BYTES - sum(map(len, self._whole.values())) - sum(sizes[cache_id] for cache_id in wanted)
        for cache_id, diff_id in self._coming.items():
            size = sizes.get(cache_id, TOGETHER_BYTES)
            if cache_id not in wanted and cache_id not in self._whole and size <= min(SMALL_BYTES, left):
                wanted[cache_id] = diff_id
                left -= size
        if len(wanted) > 1:
            content = b"".join([block async for block in await self._tars.behind_each_other(wanted)])
            ends = accumulate(sizes[cache_id] for cache_id in wanted)
            self._whole |= {
                cache_id: content[end - sizes[cache_id] : end] for cache_id, end in zip(wanted, ends, strict=True)
            }


class _Whole:
    """A tar that is in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """All of it."""
        if not self._content:
            raise StopAsyncIteration
        content, self._content = self._content, b""
        return content

    async def aclose(self) -> None:
        """Forget it."""
        self._content = b""


class _Tars:
    """Tars by blocks; over with the last of them, or by `aclose`."""

    def __init__(self, output: int, sink: int) -> None:
        self._output, self._sink = output, sink
        self._scope, self._ended = anyio.CancelScope(), anyio.Event()
        self._result: Ended | None = None

    @classmethod
    def begin(cls, forks: Forks, parts: tuple[Part, ...]) -> Self:
        """Have them put together, which waits whenever the pipe is full."""
        with attempt("make a pipe"):
            output, sink = os.pipe2(os.O_CLOEXEC)
        with suppress(OSError):  # more than the limit for users is root's alone, and only speed
            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, BLOCK_BYTES)
        os.set_blocking(output, False)
        tar = cls(output, sink)
        request = Request(layers=parts, output=f"/proc/{os.getpid()}/fd/{sink}")
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
