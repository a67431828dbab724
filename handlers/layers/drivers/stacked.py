"""What drivers with a union file system share: each layer keeps its own entries only, and a mount shows the stack.

<root>/<cache id>/diff     the layer's own entries, deletions as marks
<root>/<cache id>/skeleton the rest of the layer's tar (`skeletons.py`); read-only layers only
<root>/<cache id>/work     the union file system's scratch space  } read-write layers only
<root>/<cache id>/merged   where the stack is mounted             }
<root>/<cache id>/view     a read-only layer's stack, once somebody has compared with it (`ShownStacks`)
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import anyio
import msgspec
from anyio.to_thread import run_sync
from typing_extensions import override

from events.errors import SystemFailure
from handlers.kernel import mounts
from handlers.kernel.calls import attempt
from handlers.kernel.spreading import spread_subdirectories
from handlers.kernel.threads import run_long
from handlers.kernel.trees import delete_tree, delete_trees
from handlers.layers.drivers.depth import check_depth
from handlers.layers.drivers.lineage import Lineage
from handlers.layers.drivers.trees import adorn_directory
from handlers.layers.drivers.unpacking import Marks, unpack
from handlers.layers.ports import BLOCK_BYTES, NO_OPTIONS, Below, Origin, Tree, Unpacked, complete
from handlers.together import Shared
from handlers.turns import Turns

UNDO_LIMIT_S = 120.0
_MOUNTING_LIMIT_S = 120.0


class Stacked(ABC):
    """Everything but the mount itself; blocking hooks for what else a union file system needs."""

    name: str
    is_orderless = True
    marks: ClassVar[Marks]
    own_names: frozenset[str] = frozenset()  # entries of the root that are no layers

    def __init__(self, root: Path) -> None:
        self._root = root
        self._is_bound = False
        self._flushing = Shared(self._flush)

    async def prepare(self) -> None:
        """See `GraphDriver.prepare`. A driver that can't be used leaves no mount behind."""
        try:
            await run_sync(self._prepare)
        except SystemFailure:
            if self._is_bound:
                mounts.unmount(str(self._root))
            raise

    async def unpack(
        self, cache_id: str, lineage: Sequence[str], path: str, offset: int, length: int, below: Below = complete
    ) -> Unpacked:
        """See `GraphDriver.unpack`."""
        check_depth(lineage)
        try:
            await run_sync(self._make, cache_id)
            unpacked = await unpack(
                path,
                offset,
                length,
                directory=self._diff(cache_id),
                lineage=tuple(self._diff(lower) for lower in lineage),
                skeleton=self._skeleton(cache_id),
                marks=self.marks,
                syncs=False,
                below=below,
            )
            return msgspec.structs.replace(unpacked, disk_bytes=unpacked.disk_bytes + self._around_bytes(cache_id))
        except BaseException:
            with anyio.move_on_after(UNDO_LIMIT_S, shield=True):
                await self.remove(cache_id)
            raise

    async def flush(self) -> None:
        """See `GraphDriver.flush`. Once for all who ask at the same time."""
        await self._flushing.run()

    async def create(self, cache_id: str, lineage: Sequence[str], options: Mapping[str, str] = NO_OPTIONS) -> None:
        """See `GraphDriver.create`. The root directory takes its owner and mode from the layer below."""
        check_depth(lineage)
        size_bytes = self._size(options)
        await run_sync(self._create, cache_id, tuple(lineage), size_bytes)

    async def mount(self, cache_id: str, lineage: Sequence[str]) -> str:
        """See `GraphDriver.mount`."""
        return await run_sync(self._mount, cache_id, tuple(lineage))

    async def unmount(self, cache_id: str) -> None:
        """See `GraphDriver.unmount`. Lazy: what still uses the tree keeps it until it ends."""
        await run_sync(mounts.unmount, str(self._merged(cache_id)))

    async def remove(self, *cache_ids: str) -> None:
        """See `GraphDriver.remove`."""
        await run_long(self._remove, cache_ids)

    @abstractmethod
    async def tree(self, cache_id: str, lineage: Sequence[str]) -> Tree:
        """See `GraphDriver.tree`."""

    async def origin(self, cache_id: str) -> Origin:
        """See `GraphDriver.origin`."""
        return Origin(directory=str(self._diff(cache_id)), skeleton=str(self._skeleton(cache_id)))

    async def list(self) -> frozenset[str]:
        """See `GraphDriver.list`."""
        with attempt(f"list {self._root}"):
            return frozenset(await run_sync(os.listdir, self._root)) - self.own_names

    @abstractmethod
    def describe(self) -> tuple[tuple[str, str], ...]:
        """See `GraphDriver.describe`."""

    @abstractmethod
    def _prepare(self) -> None:
        """Begin with `_make_root`, then see that the union file system works."""

    @abstractmethod
    def _size(self, options: Mapping[str, str]) -> int:
        """Bytes that a read-write layer may take, 0 for any. Raises BadStorageOption."""

    @abstractmethod
    def _stack(self, cache_id: str, lineage: tuple[str, ...]) -> None:
        """Mount `diff` upon the lineage's at `merged`, where nothing is mounted."""

    async def _flush(self) -> None:
        await run_long(mounts.sync_filesystem, str(self._root))

    def _make_root(self) -> None:
        with attempt(f"make {self._root}"):
            self._root.mkdir(parents=True, exist_ok=True, mode=0o710)
            self._root = self._root.resolve()
            spread_subdirectories(self._root)
        self._is_bound = mounts.make_private(str(self._root))

    def _make(self, cache_id: str) -> None:
        with attempt(f"make layer {cache_id}"):
            (self._root / cache_id).mkdir(mode=0o710)
            self._diff(cache_id).mkdir(mode=0o755)
            self._diff(cache_id).chmod(0o755)

    def _around_bytes(self, cache_id: str) -> int:
        """What the directory around a layer's own takes on disk."""
        with attempt(f"look at layer {cache_id}"):
            return (self._root / cache_id).lstat().st_blocks * BLOCK_BYTES

    def _create(self, cache_id: str, lineage: tuple[str, ...], size_bytes: int) -> None:
        """Make a read-write layer. A driver whose `_size` may give a number bounds it, too."""
        self._make(cache_id)
        with attempt(f"make layer {cache_id}"):
            for name in ("work", "merged"):
                (self._root / cache_id / name).mkdir(mode=0o700)
            inherited = Lineage([str(self._diff(lower)) for lower in lineage[:1]])
            try:
                adorn_directory(self._diff(cache_id), inherited.directory(""))
            finally:
                inherited.close()

    def _mount(self, cache_id: str, lineage: tuple[str, ...]) -> str:
        merged = str(self._merged(cache_id))
        if not mounts.is_mounted(merged):
            self._stack(cache_id, lineage)
        return merged

    def _detach(self, cache_id: str) -> None:
        """Have nothing mounted in it, and nothing lead to it."""
        mounts.unmount(str(self._merged(cache_id)))

    def _remove(self, cache_ids: Sequence[str]) -> None:
        for cache_id in cache_ids:
            self._detach(cache_id)
        with attempt(f"remove layer {', '.join(cache_ids)}"):
            if any(self._skeleton(cache_id).exists() for cache_id in cache_ids):  # of an image, and maybe large
                delete_trees([self._root / cache_id for cache_id in cache_ids])
            else:
                for cache_id in cache_ids:
                    delete_tree(self._root / cache_id)

    def _diff(self, cache_id: str) -> Path:
        return self._root / cache_id / "diff"

    def _skeleton(self, cache_id: str) -> Path:
        return self._root / cache_id / "skeleton"

    def _merged(self, cache_id: str) -> Path:
        return self._root / cache_id / "merged"


class ShownStacks(Stacked):
    """For file systems that a process of ours which looks into a container shouldn't have to mount by itself.

    One by one: who looks into a container does so while others look, or start it; twice at once would mount twice.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._turns = Turns(_MOUNTING_LIMIT_S)

    @override
    async def mount(self, cache_id: str, lineage: Sequence[str]) -> str:
        """See `GraphDriver.mount`."""
        async with self._turns.of(cache_id):
            return await super().mount(cache_id, lineage)

    @override
    async def tree(self, cache_id: str, lineage: Sequence[str]) -> Tree:
        """See `GraphDriver.tree`. Both the layer's stack and the one below it, as whole trees."""
        own = await self.mount(cache_id, lineage)
        return Tree(own=own, below=(await self._viewed(tuple(lineage)),) if lineage else ())

    async def _viewed(self, lineage: tuple[str, ...]) -> str:
        async with self._turns.of(lineage[0]):
            return await run_sync(self._view, lineage)

    @abstractmethod
    def _stack_for_reading(self, lineage: tuple[str, ...]) -> None:
        """Mount the stack of read-only layers at the `view` of the topmost, where nothing is mounted."""

    def _view(self, lineage: tuple[str, ...]) -> str:
        view = self._root / lineage[0] / "view"
        with attempt(f"look at layer {lineage[0]}"):
            view.mkdir(exist_ok=True, mode=0o700)
        if not mounts.is_mounted(str(view)):
            self._stack_for_reading(lineage)
        return str(view)

    @override
    def _detach(self, cache_id: str) -> None:
        mounts.unmount(str(self._root / cache_id / "view"))
        super()._detach(cache_id)
