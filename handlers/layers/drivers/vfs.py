"""The graph driver `vfs`: every layer is a whole copy; for hosts where overlayfs can't be used.

    <root>/<cache id>              the layer's tree
    <root>/.skeletons/<cache id>   the rest of its tar (`skeletons.py`); read-only layers only

Slow and large (less so where the file system shares blocks), and right everywhere.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from handlers.kernel.calls import attempt
from handlers.kernel.copying import copy_directory
from handlers.kernel.threads import run_long
from handlers.kernel.trees import delete_tree
from handlers.layers.drivers.unpacking import unpack
from handlers.layers.ports import Origin, Tree, Unpacked

_SKELETONS = ".skeletons"
_UNDO_LIMIT_S = 120.0


class Vfs:
    """Keeps copies below `<root>`; call `prepare` before anything else."""

    name = "vfs"

    def __init__(self, root: Path) -> None:
        self._root = root

    async def prepare(self) -> None:
        """Make the directory."""
        await run_sync(self._prepare)

    async def unpack(self, cache_id: str, lineage: Sequence[str], path: str, offset: int, length: int) -> Unpacked:
        """See `GraphDriver.unpack`."""
        try:
            await self.create(cache_id, lineage)
            return await unpack(
                path, offset, length, directory=self._root / cache_id, skeleton=self._skeleton(cache_id), marks=False
            )
        except BaseException:
            with anyio.move_on_after(_UNDO_LIMIT_S, shield=True):
                await self.remove(cache_id)
            raise

    async def create(self, cache_id: str, lineage: Sequence[str]) -> None:
        """See `GraphDriver.create`."""
        await run_sync(self._make, cache_id)
        if lineage:
            await self._copy(lineage[0], cache_id)

    async def mount(self, cache_id: str, lineage: Sequence[str]) -> str:
        """See `GraphDriver.mount`. There is nothing to do: the copy is the tree."""
        with attempt(f"mount layer {cache_id}"):
            await run_sync(os.stat, self._root / cache_id)
        return str(self._root / cache_id)

    async def unmount(self, cache_id: str) -> None:
        """See `GraphDriver.unmount`. Nothing is ever mounted."""

    async def remove(self, cache_id: str) -> None:
        """See `GraphDriver.remove`."""
        await run_long(self._remove, cache_id)

    def tree(self, cache_id: str, lineage: Sequence[str]) -> Tree:
        """See `GraphDriver.tree`."""
        return Tree(own=str(self._root / cache_id), below=tuple(str(self._root / lower) for lower in lineage[:1]))

    def origin(self, cache_id: str) -> Origin:
        """See `GraphDriver.origin`."""
        return Origin(directory=str(self._root / cache_id), skeleton=str(self._skeleton(cache_id)))

    async def list(self) -> frozenset[str]:
        """See `GraphDriver.list`."""
        with attempt(f"list {self._root}"):
            return frozenset(await run_sync(os.listdir, self._root)) - {_SKELETONS}

    def describe(self) -> tuple[tuple[str, str], ...]:
        """See `GraphDriver.describe`."""
        return ()

    def _prepare(self) -> None:
        with attempt(f"make {self._root}"):
            self._root.mkdir(parents=True, exist_ok=True, mode=0o710)
            (self._root / _SKELETONS).mkdir(exist_ok=True, mode=0o700)
            self._root = self._root.resolve()

    async def _copy(self, lower: str, cache_id: str) -> None:
        with ExitStack() as opened:
            descriptors = []
            for layer in (lower, cache_id):
                with attempt(f"open layer {layer}"):
                    descriptors.append(os.open(self._root / layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                opened.callback(os.close, descriptors[-1])
            await copy_directory(*descriptors)

    def _remove(self, cache_id: str) -> None:
        """The tree last: what is on disk is told by it."""
        with attempt(f"remove layer {cache_id}"):
            self._skeleton(cache_id).unlink(missing_ok=True)
        delete_tree(self._root / cache_id)

    def _skeleton(self, cache_id: str) -> Path:
        return self._root / _SKELETONS / cache_id

    def _make(self, cache_id: str) -> None:
        with attempt(f"make layer {cache_id}"):
            (self._root / cache_id).mkdir(mode=0o755)
            (self._root / cache_id).chmod(0o755)
