"""What drivers share whose layers are whole trees: a layer begins as a copy or snapshot of the one below it, and what
the layer changes or deletes is carried out in it.

    <root>/.skeletons/<cache id>   the rest of a read-only layer's tar (`skeletons.py`)
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from handlers.kernel.calls import attempt
from handlers.kernel.spreading import spread_subdirectories
from handlers.kernel.threads import run_long
from handlers.layers.drivers.depth import check_depth
from handlers.layers.drivers.unpacking import unpack
from handlers.layers.ports import NO_OPTIONS, Below, Origin, Tree, Unpacked, complete
from handlers.turns import Turns

SKELETONS = ".skeletons"
_UNDO_LIMIT_S = 120.0
_SHOWING_LIMIT_S = 120.0


class WholeTrees(ABC):
    """Everything but how trees are made, shown and deleted; these hooks block but for `_begin`."""

    name: str
    is_orderless = False  # a file system may keep what others were copied from

    def __init__(self, root: Path) -> None:
        self._root = root
        self._turns = Turns(_SHOWING_LIMIT_S)

    async def prepare(self) -> None:
        """See `GraphDriver.prepare`."""
        await run_sync(self._prepare)

    async def unpack(
        self, cache_id: str, lineage: Sequence[str], path: str, offset: int, length: int, below: Below = complete
    ) -> Unpacked:
        """See `GraphDriver.unpack`."""
        check_depth(lineage)
        try:
            await below()
            await self._begin(cache_id, lineage[0] if lineage else "", 0)
            directory = await self._shown(cache_id)
            try:
                skeleton = self._skeleton(cache_id)
                return await unpack(path, offset, length, directory=directory, skeleton=skeleton, marks="none")
            finally:
                with anyio.move_on_after(_UNDO_LIMIT_S, shield=True):
                    await run_sync(self._hide, cache_id)
        except BaseException:
            with anyio.move_on_after(_UNDO_LIMIT_S, shield=True):
                await self.remove(cache_id)
            raise

    async def flush(self) -> None:  # noqa: B027 - nothing is left to be done
        """See `GraphDriver.flush`. The file system may be a layer's own: each is synced while it can be seen."""

    async def create(self, cache_id: str, lineage: Sequence[str], options: Mapping[str, str] = NO_OPTIONS) -> None:
        """See `GraphDriver.create`."""
        check_depth(lineage)
        await self._begin(cache_id, lineage[0] if lineage else "", self._size(options))

    async def mount(self, cache_id: str, lineage: Sequence[str]) -> str:
        """See `GraphDriver.mount`."""
        return str(await self._shown(cache_id))

    async def unmount(self, cache_id: str) -> None:
        """See `GraphDriver.unmount`."""
        async with self._turns.of(cache_id):
            await run_sync(self._hide, cache_id)

    async def remove(self, *cache_ids: str) -> None:
        """See `GraphDriver.remove`."""
        for cache_id in cache_ids:
            await run_long(self._remove, cache_id)

    async def tree(self, cache_id: str, lineage: Sequence[str]) -> Tree:
        """See `GraphDriver.tree`."""
        own = await self._shown(cache_id)
        return Tree(own=str(own), below=(str(await self._shown(lineage[0])),) if lineage else ())

    async def origin(self, cache_id: str) -> Origin:
        """See `GraphDriver.origin`."""
        return Origin(directory=str(await self._shown(cache_id)), skeleton=str(self._skeleton(cache_id)))

    async def list(self) -> frozenset[str]:
        """See `GraphDriver.list`."""
        return await run_sync(self._names)

    async def _shown(self, cache_id: str) -> Path:
        """Where the tree can be seen. One by one: who looks into a container does so while others look, or start it."""
        async with self._turns.of(cache_id):
            return await run_sync(self._show, cache_id)

    @abstractmethod
    def describe(self) -> tuple[tuple[str, str], ...]:
        """See `GraphDriver.describe`."""

    @abstractmethod
    def _prepare(self) -> None:
        """See `GraphDriver.prepare`."""

    @abstractmethod
    def _size(self, options: Mapping[str, str]) -> int:
        """Bytes that a read-write layer may take, 0 for any. Raises BadStorageOption."""

    @abstractmethod
    async def _begin(self, cache_id: str, below: str, size_bytes: int) -> None:
        """Make a tree equal to that of the layer `below`, empty for "", that can grow to `size_bytes` (0: freely)."""

    @abstractmethod
    def _show(self, cache_id: str) -> Path:
        """Where the tree can be seen, mounted if need be; shown already is fine."""

    @abstractmethod
    def _hide(self, cache_id: str) -> None:
        """Undo `_show`; absent or hidden is fine."""

    @abstractmethod
    def _delete(self, cache_id: str) -> None:
        """Take down a tree in whatever state; absent is fine."""

    @abstractmethod
    def _names(self) -> frozenset[str]:
        """Cache ids of everything that is on disk."""

    def _remove(self, cache_id: str) -> None:
        """The tree last: what is on disk is told by it."""
        with attempt(f"remove layer {cache_id}"):
            self._skeleton(cache_id).unlink(missing_ok=True)
        self._delete(cache_id)

    def _skeleton(self, cache_id: str) -> Path:
        return self._root / SKELETONS / cache_id

    def _make_root(self) -> None:
        with attempt(f"make {self._root}"):
            self._root.mkdir(parents=True, exist_ok=True, mode=0o710)
            (self._root / SKELETONS).mkdir(exist_ok=True, mode=0o700)
            self._root = self._root.resolve()
            spread_subdirectories(self._root)
