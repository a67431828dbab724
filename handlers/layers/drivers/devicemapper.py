"""The graph driver `devicemapper`: every layer is an ext4 on a thin device, made as a snapshot of the one below it.

<root>/data, metadata        the pool's sparse files, unless `dm.thinpooldev` names a pool
<root>/layers/<cache id>     the number and size of the layer's device
<root>/layers/base           those of the empty file system that bottom layers begin as
<root>/mnt/<cache id>        where it is mounted; the tree is in `rootfs` below, beside lost+found
"""

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from anyio.to_thread import run_sync
from typing_extensions import override

from handlers.kernel import mounts
from handlers.kernel.calls import attempt
from handlers.kernel.programs import run_program
from handlers.layers.drivers.quota import BadStorageOption, requested_size
from handlers.layers.drivers.thin_pool import ThinPool
from handlers.layers.drivers.whole import WholeTrees

_GIB = 1024**3
_BASE_BYTES, _DATA_BYTES, _METADATA_BYTES = 10 * _GIB, 100 * _GIB, 2 * _GIB  # dockerd's
_BASE, _UNFINISHED = "base", ".new"


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A thin device of a layer."""

    number: int  # 24 bits
    size_bytes: int
    is_complete: bool = False


class DeviceMapper(WholeTrees):
    """Keeps thin devices in `pool`, by default one of the engine's own. Sizes of 0 bytes are dockerd's defaults."""

    name = "devicemapper"

    def __init__(
        self, root: Path, *, pool: str = "", base_bytes: int = 0, data_bytes: int = 0, metadata_bytes: int = 0
    ) -> None:
        super().__init__(root)
        self._pool_name = pool
        self._pool = ThinPool(root, pool)
        self._base_bytes = base_bytes or _BASE_BYTES
        self._data_bytes, self._metadata_bytes = data_bytes or _DATA_BYTES, metadata_bytes or _METADATA_BYTES
        self._one_at_a_time = threading.Lock()  # numbers are given out, and origins stay as they are

    @override
    def describe(self) -> tuple[tuple[str, str], ...]:
        return (*self._pool.usage(), ("Base Device Size", str(self._base_bytes)), ("Backing Filesystem", "ext4"))

    @override
    def _prepare(self) -> None:
        self._make_root()
        self._pool = ThinPool(self._root, self._pool_name)
        with attempt(f"make {self._root}"):
            for directory in (self._layers, self._root / "mnt"):
                directory.mkdir(exist_ok=True, mode=0o700)
            for path in self._layers.glob(f"*{_UNFINISHED}"):
                path.unlink()
        mounts.make_private(str(self._root))
        self._pool.open(self._data_bytes, self._metadata_bytes)
        self._make_base()

    @override
    def _size(self, options: Mapping[str, str]) -> int:
        size_bytes = requested_size(options)
        if options and size_bytes < self._base_bytes:
            raise BadStorageOption(f"Container size cannot be smaller than {self._base_bytes}")
        return size_bytes

    @override
    async def _begin(self, cache_id: str, below: str, size_bytes: int) -> None:
        await run_sync(self._make, cache_id, below, size_bytes)

    @override
    def _show(self, cache_id: str) -> Path:
        place = self._root / "mnt" / cache_id
        if not mounts.is_mounted(str(place)):
            device = self._read(cache_id)
            node = self._pool.activate(cache_id, device.number, device.size_bytes)
            with attempt(f"mount layer {cache_id}"):
                place.mkdir(exist_ok=True, mode=0o700)
            mounts.mount(str(node), str(place), filesystem="ext4")
        with attempt(f"mount layer {cache_id}"):
            (place / "rootfs").mkdir(exist_ok=True)
        return place / "rootfs"

    @override
    def _hide(self, cache_id: str) -> None:
        mounts.unmount(str(self._root / "mnt" / cache_id))
        self._pool.deactivate(cache_id)

    @override
    def _delete(self, cache_id: str) -> None:
        self._hide(cache_id)
        with attempt(f"remove layer {cache_id}"):
            device = self._find(cache_id)
            if device is not None:
                self._pool.delete(device.number)
            with suppress(FileNotFoundError):
                (self._root / "mnt" / cache_id).rmdir()
            with self._one_at_a_time:  # who gives a number out reads those of all others
                (self._layers / cache_id).unlink(missing_ok=True)

    @override
    def _names(self) -> frozenset[str]:
        with attempt(f"list {self._layers}"):
            return frozenset(path.name for path in self._layers.iterdir() if path.suffix != _UNFINISHED) - {_BASE}

    @property
    def _layers(self) -> Path:
        return self._root / "layers"

    def _make_base(self) -> None:
        """An empty file system, once; one that a crash has cut off is made again."""
        found = self._find(_BASE)
        if found is not None and found.is_complete:
            self._base_bytes = found.size_bytes
            return
        if found is not None:
            self._hide(_BASE)
            self._pool.delete(found.number)
        base = self._note(_BASE, self._base_bytes)
        self._pool.create(base.number)
        node = self._pool.activate(_BASE, base.number, base.size_bytes)
        run_program(("mkfs.ext4", "-q", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", str(node)))
        self._show(_BASE).chmod(0o755)
        self._hide(_BASE)
        self._write(_BASE, msgspec.structs.replace(base, is_complete=True))

    def _make(self, cache_id: str, below: str, size_bytes: int) -> None:
        with attempt(f"make layer {cache_id}"), self._one_at_a_time:
            origin = self._read(below or _BASE)
            device = self._note(cache_id, max(size_bytes, origin.size_bytes))
            self._pool.snapshot(device.number, origin.number)
        if device.size_bytes > origin.size_bytes:
            self._show(cache_id)
            run_program(("resize2fs", str(self._pool.activate(cache_id, device.number, device.size_bytes))))
            self._hide(cache_id)

    def _note(self, cache_id: str, size_bytes: int) -> Device:
        """Give a number out, on disk before the device is: a crash leaves no device that nobody knows."""
        numbers = (self._read(name).number for name in (_BASE, *self._names()) if (self._layers / name).exists())
        device = Device(number=1 + max(numbers, default=-1), size_bytes=size_bytes)
        self._write(cache_id, device)
        return device

    def _read(self, cache_id: str) -> Device:
        with attempt(f"find layer {cache_id}"):
            return msgspec.json.decode((self._layers / cache_id).read_bytes(), type=Device)

    def _find(self, cache_id: str) -> Device | None:
        return self._read(cache_id) if (self._layers / cache_id).exists() else None

    def _write(self, cache_id: str, device: Device) -> None:
        temporary = self._layers / f"{cache_id}{_UNFINISHED}"
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(device))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._layers / cache_id)
        descriptor = os.open(self._layers, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
