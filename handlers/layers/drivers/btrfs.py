"""The graph driver `btrfs`: every layer is a subvolume, made as a snapshot of the one below it.

    <root>/subvolumes/<cache id>    the layer's whole tree

Nothing is mounted; blocks are shared until they change.
"""

import errno
from collections.abc import Mapping
from pathlib import Path

from anyio.to_thread import run_sync
from typing_extensions import override

from events.errors import SystemFailure
from handlers.kernel import btrfs
from handlers.kernel.calls import KernelRefused, attempt
from handlers.kernel.mounts import mount_holding, mounts
from handlers.kernel.trees import delete_tree
from handlers.layers.drivers.quota import BadStorageOption, requested_size
from handlers.layers.drivers.whole import WholeTrees

_NO_SUCH_GROUP = (errno.ENOENT, errno.ENOTCONN, errno.EINVAL, errno.EBUSY)


class BtrfsUnusable(SystemFailure):
    """The directory isn't on a btrfs."""

    def __init__(self, root: Path, filesystem: str) -> None:
        super().__init__(f"btrfs can't be used: {root} lies on {filesystem}, not on a btrfs file system")


class Btrfs(WholeTrees):
    """Keeps subvolumes below `<root>`. A container's size can't be less than `minimum_bytes`."""

    name = "btrfs"

    def __init__(self, root: Path, minimum_bytes: int = 0) -> None:
        super().__init__(root)
        self._minimum_bytes = minimum_bytes

    @override
    def describe(self) -> tuple[tuple[str, str], ...]:
        return (("Backing Filesystem", "btrfs"),)

    @override
    def _prepare(self) -> None:
        self._make_root()
        filesystem = mount_holding(str(self._root), mounts()).filesystem
        if filesystem != "btrfs":
            raise BtrfsUnusable(self._root, filesystem)
        with attempt(f"make {self._root}"):
            self._subvolumes.mkdir(exist_ok=True, mode=0o700)

    @override
    def _size(self, options: Mapping[str, str]) -> int:
        size_bytes = requested_size(options)
        if options and size_bytes < self._minimum_bytes:
            raise BadStorageOption(f"Storage size cannot be less than {self._minimum_bytes} bytes")
        return size_bytes

    @override
    async def _begin(self, cache_id: str, below: str, size_bytes: int) -> None:
        await run_sync(self._make, cache_id, below, size_bytes)

    @override
    def _show(self, cache_id: str) -> Path:
        with attempt(f"mount layer {cache_id}"):
            self._path(cache_id).stat()
        return self._path(cache_id)

    @override
    def _hide(self, cache_id: str) -> None:
        """Nothing is ever mounted."""

    @override
    def _delete(self, cache_id: str) -> None:
        path = self._path(cache_id)
        if not path.exists():
            return
        group = btrfs.subvolume_id(path)
        try:
            btrfs.destroy_subvolume(path)
        except KernelRefused as refusal:
            if refusal.errno != errno.ENOTEMPTY:
                raise
            delete_tree(path)  # a container has made subvolumes in it; empty ones go by rmdir(2)
        self._forget(group)

    @override
    def _names(self) -> frozenset[str]:
        with attempt(f"list {self._root}"):
            return frozenset(path.name for path in self._subvolumes.iterdir())

    @property
    def _subvolumes(self) -> Path:
        return self._root / "subvolumes"

    def _path(self, cache_id: str) -> Path:
        return self._subvolumes / cache_id

    def _make(self, cache_id: str, below: str, size_bytes: int) -> None:
        path = self._path(cache_id)
        if below:
            btrfs.snapshot(self._path(below), path)
        else:
            btrfs.create_subvolume(path)
            with attempt(f"make layer {cache_id}"):
                path.chmod(0o755)
        if size_bytes:
            btrfs.enable_quotas(self._root)
            btrfs.limit_subvolume(path, size_bytes)

    def _forget(self, group: int) -> None:
        """Without quotas there is none, and newer kernels drop a deleted subvolume's group themselves."""
        try:
            btrfs.forget_quota_group(self._root, group)
        except KernelRefused as refusal:
            if refusal.errno not in _NO_SUCH_GROUP:
                raise
