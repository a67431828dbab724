"""The graph driver `zfs`: every layer is a dataset, made as a clone of the one below it.

    <dataset>/shiplog-<mark>/<cache id>             the layer's whole tree
    <dataset>/shiplog-<mark>/<parent>@<cache id>    the snapshot that it was cloned from
    <root>/graph/<cache id>                         where it is mounted

<dataset> holds the root, or is named by `zfs.fsname`; <mark> is derived from the root, so that engines and people can
share a dataset. Works by the command zfs(8), of the kernel module or of zfs-fuse.
"""

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from anyio.to_thread import run_sync
from typing_extensions import override

from events.errors import SystemFailure
from handlers.kernel import mounts
from handlers.kernel.calls import attempt
from handlers.kernel.programs import ProgramFailed, find_program, run_program
from handlers.layers.drivers.quota import requested_size
from handlers.layers.drivers.whole import WholeTrees

_FILESYSTEMS = ("zfs", "fuse.zfs")
_ATTEMPTS, _PAUSE_S = 100, 0.1
_ABSENT = "does not exist"


class ZfsUnusable(SystemFailure):
    """The host lacks what the driver needs."""

    def __init__(self, why: str) -> None:
        super().__init__(f"zfs can't be used: {why}")


class Zfs(WholeTrees):
    """Keeps datasets below `dataset`, by default the one that holds `<root>`."""

    name = "zfs"

    def __init__(self, root: Path, dataset: str = "") -> None:
        super().__init__(root)
        self._parent = dataset
        self._program = ""
        self._compression = ""

    @override
    def describe(self) -> tuple[tuple[str, str], ...]:
        pool = self._parent.partition("/")[0]
        return (("Zpool", pool), ("Parent Dataset", self._parent), ("Compression", self._compression))

    @override
    def _prepare(self) -> None:
        self._program = find_program("zfs")
        if not self._program:
            raise ZfsUnusable("the program zfs is missing (Debian packages zfsutils-linux, or zfs-fuse)")
        self._make_root()
        if not self._parent:
            self._parent = self._holding_dataset()
        try:
            self._compression = self._zfs("get", "-H", "-o", "value", "compression", self._parent).strip()
        except ProgramFailed as error:
            raise ZfsUnusable(error.why) from error
        if not self._exists(self._base):
            self._zfs("create", "-o", "canmount=off", "-o", "mountpoint=none", self._base)
        with attempt(f"make {self._root}"):
            self._graph.mkdir(exist_ok=True, mode=0o700)

    @override
    def _size(self, options: Mapping[str, str]) -> int:
        return requested_size(options)

    @override
    async def _begin(self, cache_id: str, below: str, size_bytes: int) -> None:
        await run_sync(self._make, cache_id, below, size_bytes)

    @override
    def _show(self, cache_id: str) -> Path:
        place = self._graph / cache_id
        if not mounts.is_mounted(str(place)):
            self._insist("mount", self._dataset(cache_id))
        return place

    @override
    def _hide(self, cache_id: str) -> None:
        mounts.unmount(str(self._graph / cache_id))

    @override
    def _delete(self, cache_id: str) -> None:
        self._hide(cache_id)
        for snapshot in self._origins(cache_id):
            self._destroy(self._dataset(cache_id))
            self._destroy(snapshot)
        self._destroy(self._dataset(cache_id))
        with attempt(f"remove layer {cache_id}"), suppress(FileNotFoundError):
            (self._graph / cache_id).rmdir()

    @override
    def _names(self) -> frozenset[str]:
        layers = (name.removeprefix(f"{self._base}/") for name in self._everything() if name != self._base)
        return frozenset(name.rpartition("@")[2] for name in layers)

    @property
    def _base(self) -> str:
        return f"{self._parent}/shiplog-{hashlib.sha256(str(self._root).encode()).hexdigest()[:12]}"

    @property
    def _graph(self) -> Path:
        return self._root / "graph"

    def _dataset(self, cache_id: str) -> str:
        return f"{self._base}/{cache_id}"

    def _holding_dataset(self) -> str:
        point = mounts.mount_holding(str(self._root), mounts.mounts())
        if point.filesystem not in _FILESYSTEMS:
            raise ZfsUnusable(
                f"{self._root} lies on {point.filesystem}, not on a zfs dataset: name one by --storage-opt zfs.fsname="
            )
        return point.source

    def _make(self, cache_id: str, below: str, size_bytes: int) -> None:
        dataset = self._dataset(cache_id)
        settings = ("-o", f"mountpoint={self._graph / cache_id}", "-o", "canmount=noauto")
        if below:
            self._zfs("snapshot", f"{self._dataset(below)}@{cache_id}")
            self._zfs("clone", *settings, f"{self._dataset(below)}@{cache_id}", dataset)
        else:
            self._zfs("create", *settings, dataset)
            with attempt(f"make layer {cache_id}"):
                self._show(cache_id).chmod(0o755)
        if size_bytes:
            self._zfs("set", f"quota={size_bytes}", dataset)

    def _exists(self, name: str) -> bool:
        try:
            self._zfs("list", "-H", "-o", "name", name)
        except ProgramFailed as error:
            if _ABSENT in error.why:
                return False
            raise
        return True

    def _origins(self, cache_id: str) -> list[str]:
        """The snapshot that a layer was made from, or that its beginning or end has left behind."""
        try:
            found = self._zfs("get", "-H", "-o", "value", "origin", self._dataset(cache_id)).split()
        except ProgramFailed as error:
            if _ABSENT not in error.why:
                raise
            found = self._everything()
        return [name for name in found if name.endswith(f"@{cache_id}")]

    def _everything(self) -> list[str]:
        return self._zfs("list", "-H", "-o", "name", "-t", "filesystem,snapshot", "-r", self._base).split()

    def _destroy(self, name: str) -> None:
        """Absent is fine."""
        try:
            self._insist("destroy", "-r", name)
        except ProgramFailed as error:
            if _ABSENT not in error.why and "could not find any snapshots" not in error.why:
                raise

    def _insist(self, *arguments: str) -> None:
        """What was unmounted a moment ago may be busy for another."""
        for _ in range(_ATTEMPTS):
            try:
                self._zfs(*arguments)
            except ProgramFailed as error:
                if "busy" not in error.why:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return
        self._zfs(*arguments)

    def _zfs(self, *arguments: str) -> str:
        return run_program((self._program, *arguments))
