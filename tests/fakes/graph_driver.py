"""A graph driver with layers in memory; an independent second reading of the layer format for the real ones."""

import hashlib
import os
import posixpath
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import msgspec
from typing_extensions import override

from events.errors import InvalidParameter, SystemFailure
from handlers.compression import CutShort, blocks
from handlers.kernel.trees import delete_tree
from handlers.layers.drivers.quota import refuse
from handlers.layers.ports import NO_OPTIONS, Below, Origin, Unpacked, complete
from handlers.layers.ports import Tree as DiskTree


class Node(msgspec.Struct, kw_only=True):
    """What is at a path; hard links share one node."""

    entry: tarfile.TarInfo
    data: bytes = b""


Tree = dict[str, Node]


class FakeGraphDriver:
    """Keeps each layer's whole tree as a table from path to node; a mount writes it out below `root`."""

    name = "fake"
    is_orderless = True

    def __init__(self, root: Path) -> None:
        self._root = root
        self._layers: dict[str, Tree] = {}

    async def prepare(self) -> None:
        """Make the directory."""
        self._root.mkdir(parents=True, exist_ok=True)

    async def unpack(
        self, cache_id: str, lineage: Sequence[str], path: str, offset: int, length: int, below: Below = complete
    ) -> Unpacked:
        """See `GraphDriver.unpack`."""
        await below()
        plain = self._root / f"plain-{cache_id}"
        try:
            content = _content(Path(path), offset, length)
            plain.write_bytes(content)
            tree, size = _read(plain, dict(self._below(lineage)))
        finally:
            plain.unlink(missing_ok=True)
        self._layers[cache_id] = tree
        return Unpacked(diff_id=f"sha256:{hashlib.sha256(content).hexdigest()}", size_bytes=size, disk_bytes=size)

    async def flush(self) -> None:
        """See `GraphDriver.flush`. There is no disk."""

    async def create(self, cache_id: str, lineage: Sequence[str], options: Mapping[str, str] = NO_OPTIONS) -> None:
        """See `GraphDriver.create`."""
        refuse(options, "--storage-opt is not supported")
        if cache_id in self._layers:
            raise SystemFailure(f"layer {cache_id} exists")
        self._layers[cache_id] = dict(self._below(lineage))

    async def mount(self, cache_id: str, lineage: Sequence[str]) -> str:
        """See `GraphDriver.mount`. What is written there stays until `remove`."""
        target = self._root / cache_id
        if cache_id not in self._layers:
            raise SystemFailure(f"layer {cache_id} is absent")
        if not target.exists():
            target.mkdir()
            _write_out(self._layers[cache_id], target)
        return str(target)

    async def unmount(self, cache_id: str) -> None:
        """See `GraphDriver.unmount`. Nothing is ever mounted."""

    async def remove(self, *cache_ids: str) -> None:
        """See `GraphDriver.remove`."""
        for cache_id in cache_ids:
            self._layers.pop(cache_id, None)
            delete_tree(self._root / cache_id)

    async def tree(self, cache_id: str, lineage: Sequence[str]) -> DiskTree:
        """See `GraphDriver.tree`. There once it was mounted; the layers below are nowhere."""
        return DiskTree(own=str(self._root / cache_id))

    async def origin(self, cache_id: str) -> Origin:
        """See `GraphDriver.origin`. Tars aren't kept."""
        return Origin(directory=str(self._root / cache_id), skeleton=str(self._root / f"{cache_id}.skeleton"))

    async def list(self) -> frozenset[str]:
        """See `GraphDriver.list`."""
        return frozenset(self._layers)

    def describe(self) -> tuple[tuple[str, str], ...]:
        """See `GraphDriver.describe`."""
        return ()

    def _below(self, lineage: Sequence[str]) -> Tree:
        for lower in lineage[:1]:
            if lower not in self._layers:
                raise SystemFailure(f"layer {lower} is absent")
            return self._layers[lower]
        return {}


class PausingDriver(FakeGraphDriver):
    """Stops within `unpack` and `create`, once its layer is there, until it is told to go on."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reached, self.go_on = anyio.Event(), anyio.Event()

    @override
    async def unpack(
        self, cache_id: str, lineage: Sequence[str], path: str, offset: int, length: int, below: Below = complete
    ) -> Unpacked:
        unpacked = await super().unpack(cache_id, lineage, path, offset, length, below)
        await self._pause()
        return unpacked

    @override
    async def create(self, cache_id: str, lineage: Sequence[str], options: Mapping[str, str] = NO_OPTIONS) -> None:
        await super().create(cache_id, lineage, options)
        await self._pause()

    async def _pause(self) -> None:
        self.reached.set()
        await self.go_on.wait()


def _content(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        return b"".join(blocks(file, offset, length))


def _read(path: Path, tree: Tree) -> tuple[Tree, int]:
    own: set[str] = set()
    size = 0
    try:
        with tarfile.open(path, "r:") as tar:
            for entry in tar:
                size += _apply(tar, entry, tree, own)
    except tarfile.ReadError as error:
        raise CutShort if path.stat().st_size < 512 else InvalidParameter(str(error)) from error
    return tree, size


def _apply(tar: tarfile.TarFile, entry: tarfile.TarInfo, tree: Tree, own: set[str]) -> int:
    name = _clean(entry.name, entry.name)
    directory, base = posixpath.split(name)
    if base.startswith(".wh."):
        _whiteout(directory, base, tree, own, entry.name)
        return 0
    if any(part.startswith(".wh..wh.") for part in name.split("/")):
        return 0
    _parents(directory, tree, own)
    if name in tree and not (tree[name].entry.isdir() and entry.isdir()):
        _drop(name, tree)
    own.add(name)
    if entry.islnk():
        target = tree.get(_clean(entry.linkname, entry.name))
        if target is None or target.entry.isdir():
            raise InvalidParameter(f"{entry.name}: hard link to {entry.linkname}")
        tree[name] = target
        return 0
    if not entry.isfile():
        tree[name] = Node(entry=entry)
        return 0
    file = tar.extractfile(entry)
    data = file.read() if file else b""
    tree[name] = Node(entry=entry, data=data)
    return len(data)


def _whiteout(directory: str, base: str, tree: Tree, own: set[str], entry: str) -> None:
    if base == ".wh..wh..opq":
        prefix = f"{directory}/" if directory else ""
        for path in [path for path in tree if path.startswith(prefix) and path != directory and path not in own]:
            tree.pop(path, None)
    elif not base.startswith(".wh..wh."):
        hidden = base.removeprefix(".wh.")
        if hidden in ("", ".", ".."):
            raise InvalidParameter(f"{entry}: whiteout of no file")
        name = posixpath.join(directory, hidden)
        for path in [path for path in tree if (path == name or path.startswith(f"{name}/")) and path not in own]:
            del tree[path]


def _parents(directory: str, tree: Tree, own: set[str]) -> None:
    if not directory or directory in tree:
        return
    _parents(posixpath.dirname(directory), tree, own)
    made = tarfile.TarInfo(directory)
    made.type, made.mode = tarfile.DIRTYPE, 0o755
    tree[directory] = Node(entry=made)
    own.add(directory)


def _drop(name: str, tree: Tree) -> None:
    for path in [path for path in tree if path == name or path.startswith(f"{name}/")]:
        del tree[path]


def _clean(name: str, entry: str) -> str:
    path = posixpath.normpath(name)
    if path == ".." or path.startswith("../"):
        raise InvalidParameter(f"{entry}: {name} is outside of the layer")
    return "" if path == "." else path.lstrip("/")


def _write_out(tree: Tree, target: Path) -> None:
    """With the library's own extraction, which knows owners, devices and links; attributes and times are set after."""
    first: dict[int, Path] = {}
    for name, node in sorted(tree.items()):
        path = target / name if name else target
        if id(node) in first:
            path.hardlink_to(first[id(node)])
            continue
        first[id(node)] = path
        _make(path, node)
    for name, node in sorted(tree.items(), reverse=True):
        _adorn(target / name if name else target, node.entry)


def _make(path: Path, node: Node) -> None:
    entry = node.entry
    if entry.isdir():
        path.mkdir(exist_ok=True)
    elif entry.issym():
        path.symlink_to(entry.linkname)
    elif entry.isfifo():
        os.mkfifo(path)
    elif entry.isdev():
        kind = 0o020000 if entry.ischr() else 0o060000
        os.mknod(path, kind, os.makedev(entry.devmajor, entry.devminor))
    else:
        path.write_bytes(node.data)


def _adorn(path: Path, entry: tarfile.TarInfo) -> None:
    os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
    if not entry.issym():
        path.chmod(entry.mode)
    for key, value in entry.pax_headers.items():
        if key.startswith("SCHILY.xattr."):
            name = key.removeprefix("SCHILY.xattr.")
            os.setxattr(path, name, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)
    whole, _, fraction = entry.pax_headers.get("mtime", str(int(entry.mtime))).partition(".")
    time_ns = int(whole) * 10**9 + int((fraction + "0" * 9)[:9])
    os.utime(path, ns=(time_ns, time_ns), follow_symlinks=False)
