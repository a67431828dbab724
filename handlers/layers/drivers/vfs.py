"""The graph driver `vfs`: every layer is a whole copy; for hosts where overlayfs can't be used.

    <root>/<cache id>    the layer's tree

Slow and large (less so where the file system shares blocks), and right everywhere.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from handlers.kernel.calls import attempt
from handlers.kernel.threads import run_long
from handlers.kernel.trees import delete_tree
from handlers.layers.drivers.trees import copy_tree
from handlers.layers.drivers.unpacking import unpack
from handlers.layers.ports import Unpacked

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
            return await unpack(path, offset, length, directory=self._root / cache_id, marks=False)
        except BaseException:
            with anyio.move_on_after(_UNDO_LIMIT_S, shield=True):
                await self.remove(cache_id)
            raise

    async def create(self, cache_id: str, lineage: Sequence[str]) -> None:
        """See `GraphDriver.create`."""
        await run_sync(self._make, cache_id)
        if lineage:
            await copy_tree(self._root / lineage[0], self._root / cache_id)

    async def mount(self, cache_id: str, lineage: Sequence[str]) -> str:
        """See `GraphDriver.mount`. There is nothing to do: the copy is the tree."""
        with attempt(f"mount layer {cache_id}"):
            await run_sync(os.stat, self._root / cache_id)
        return str(self._root / cache_id)

    async def unmount(self, cache_id: str) -> None:
        """See `GraphDriver.unmount`. Nothing is ever mounted."""

    async def remove(self, cache_id: str) -> None:
        """See `GraphDriver.remove`."""
        await run_long(delete_tree, self._root / cache_id)

    async def list(self) -> frozenset[str]:
        """See `GraphDriver.list`."""
        with attempt(f"list {self._root}"):
            return frozenset(await run_sync(os.listdir, self._root))

    async def mounted(self) -> frozenset[str]:
        """See `GraphDriver.mounted`."""
        return frozenset()

    def describe(self) -> tuple[tuple[str, str], ...]:
        """See `GraphDriver.describe`."""
        return ()

    def _prepare(self) -> None:
        with attempt(f"make {self._root}"):
            self._root.mkdir(parents=True, exist_ok=True, mode=0o710)
            self._root = self._root.resolve()

    def _make(self, cache_id: str) -> None:
        with attempt(f"make layer {cache_id}"):
            (self._root / cache_id).mkdir(mode=0o755)
            (self._root / cache_id).chmod(0o755)
