"""The graph driver `vfs`: every layer is a whole copy; for hosts where nothing better can be used.

    <root>/<cache id>    the layer's tree

Slow and large (less so where the file system shares blocks), and right everywhere.
"""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from anyio.to_thread import run_sync
from typing_extensions import override

from handlers.kernel.calls import attempt
from handlers.kernel.copying import copy_directory
from handlers.kernel.trees import delete_tree
from handlers.layers.drivers.quota import refuse
from handlers.layers.drivers.whole import SKELETONS, WholeTrees


class Vfs(WholeTrees):
    """Keeps copies below `<root>`."""

    name = "vfs"

    @override
    def describe(self) -> tuple[tuple[str, str], ...]:
        return ()

    @override
    def _prepare(self) -> None:
        self._make_root()

    @override
    def _size(self, options: Mapping[str, str]) -> int:
        refuse(options, "Filesystem does not support, or has not enabled quotas")  # dockerd's words
        return 0

    @override
    async def _begin(self, cache_id: str, below: str, size_bytes: int) -> None:
        await run_sync(self._make, cache_id)
        if below:
            await self._copy(below, cache_id)

    @override
    def _show(self, cache_id: str) -> Path:
        with attempt(f"mount layer {cache_id}"):
            (self._root / cache_id).stat()
        return self._root / cache_id

    @override
    def _hide(self, cache_id: str) -> None:
        """Nothing is ever mounted."""

    @override
    def _delete(self, cache_id: str) -> None:
        delete_tree(self._root / cache_id)

    @override
    def _names(self) -> frozenset[str]:
        with attempt(f"list {self._root}"):
            return frozenset(path.name for path in self._root.iterdir()) - {SKELETONS}

    async def _copy(self, lower: str, cache_id: str) -> None:
        with ExitStack() as opened:
            descriptors = []
            for layer in (lower, cache_id):
                with attempt(f"open layer {layer}"):
                    descriptors.append(os.open(self._root / layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                opened.callback(os.close, descriptors[-1])
            await copy_directory(*descriptors)

    def _make(self, cache_id: str) -> None:
        with attempt(f"make layer {cache_id}"):
            (self._root / cache_id).mkdir(mode=0o755)
            (self._root / cache_id).chmod(0o755)
