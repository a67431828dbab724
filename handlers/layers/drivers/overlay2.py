"""The graph driver `overlay2`: layers as directories, stacked by the kernel's overlayfs; the default.

    <root>/<cache id>/diff     the layer's own entries
    <root>/<cache id>/skeleton the rest of the layer's tar (`skeletons.py`); read-only layers only
    <root>/<cache id>/work     overlayfs's scratch space      } read-write layers only
    <root>/<cache id>/merged   where the stack is mounted     }
    <root>/l/<short name>      link to ../<cache id>/diff; short, so that 127 of them fit into one page of options

The short name is derived from the cache id, so nothing has to be read to mount.
"""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from events.errors import SystemFailure
from handlers.kernel import mounts
from handlers.kernel.calls import attempt
from handlers.kernel.threads import run_long
from handlers.kernel.trees import delete_tree
from handlers.layers.drivers import overlay_check
from handlers.layers.drivers.lineage import Lineage
from handlers.layers.drivers.trees import adorn_directory
from handlers.layers.drivers.unpacking import unpack
from handlers.layers.ports import Origin, Tree, Unpacked

MAXIMUM_DEPTH = 127
_LINKS = "l"
_SKELETON = "skeleton"
_UNDO_LIMIT_S = 120.0


class TooDeep(SystemFailure):
    """More layers than Docker allows in a stack."""

    def __init__(self) -> None:
        super().__init__("max depth exceeded")


class Overlay2:
    """Stacks layers by overlayfs below `<root>`; call `prepare` before anything else."""

    name = "overlay2"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._options = ""
        self._filesystem = ""

    async def prepare(self) -> None:
        """Make the directories and try overlayfs out. Raises SystemFailure that says what is missing."""
        await run_sync(self._prepare)

    async def unpack(self, cache_id: str, lineage: Sequence[str], path: str, offset: int, length: int) -> Unpacked:
        """See `GraphDriver.unpack`."""
        _check_depth(lineage)
        try:
            await run_sync(self._make, cache_id)
            return await unpack(
                path,
                offset,
                length,
                directory=self._diff(cache_id),
                skeleton=self._root / cache_id / _SKELETON,
                lineage=tuple(self._diff(lower) for lower in lineage),
                marks=True,
            )
        except BaseException:
            with anyio.move_on_after(_UNDO_LIMIT_S, shield=True):
                await self.remove(cache_id)
            raise

    async def create(self, cache_id: str, lineage: Sequence[str]) -> None:
        """See `GraphDriver.create`. The root directory takes its owner and mode from the layer below."""
        _check_depth(lineage)
        await run_sync(self._create, cache_id, tuple(lineage))

    async def mount(self, cache_id: str, lineage: Sequence[str]) -> str:
        """See `GraphDriver.mount`."""
        return await run_sync(self._mount, cache_id, tuple(lineage))

    async def unmount(self, cache_id: str) -> None:
        """See `GraphDriver.unmount`. Lazy: what still uses the tree keeps it until it ends."""
        await run_sync(mounts.unmount, str(self._merged(cache_id)))

    async def remove(self, cache_id: str) -> None:
        """See `GraphDriver.remove`."""
        await run_long(self._remove, cache_id)

    def tree(self, cache_id: str, lineage: Sequence[str]) -> Tree:
        """See `GraphDriver.tree`."""
        return Tree(
            own=str(self._diff(cache_id)),
            below=tuple(str(self._diff(lower)) for lower in lineage),
            mounted=str(self._merged(cache_id)),
            work=str(self._root / cache_id / "work"),
            base=str(self._root),
            links=_link_names(lineage),
            own_link=f"{_LINKS}/{short_name(cache_id)}",
            options=self._options,
        )

    def origin(self, cache_id: str) -> Origin:
        """See `GraphDriver.origin`."""
        return Origin(directory=str(self._diff(cache_id)), skeleton=str(self._root / cache_id / _SKELETON))

    async def list(self) -> frozenset[str]:
        """See `GraphDriver.list`."""
        with attempt(f"list {self._root}"):
            return frozenset(await run_sync(os.listdir, self._root)) - {_LINKS}

    def describe(self) -> tuple[tuple[str, str], ...]:
        """See `GraphDriver.describe`."""
        return (
            ("Backing Filesystem", self._filesystem),
            ("Supports d_type", "true"),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", "false"),
        )

    def _prepare(self) -> None:
        with attempt(f"make {self._root}"):
            self._root.mkdir(parents=True, exist_ok=True, mode=0o710)
            (self._root / _LINKS).mkdir(exist_ok=True, mode=0o700)
            (self._root / _LINKS / overlay_check.EMPTY).mkdir(exist_ok=True)
            self._root = self._root.resolve()
        mounts.make_private(str(self._root))
        self._options = overlay_check.safe_options()
        overlay_check.check(self._root, self._options)
        self._filesystem = overlay_check.backing_filesystem(self._root)

    def _make(self, cache_id: str) -> None:
        with attempt(f"make layer {cache_id}"):
            (self._root / cache_id).mkdir(mode=0o710)
            self._diff(cache_id).mkdir(mode=0o755)
            self._diff(cache_id).chmod(0o755)
            self._link(cache_id).symlink_to(f"../{cache_id}/diff")

    def _create(self, cache_id: str, lineage: tuple[str, ...]) -> None:
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
        merged = self._merged(cache_id)
        if mounts.is_mounted(str(merged)):
            return str(merged)
        names = _link_names(lineage)
        options = f"lowerdir={':'.join(names)},upperdir={cache_id}/diff,workdir={cache_id}/work{self._options}"
        mounts.in_directory(
            str(self._root),
            lambda: mounts.mount("overlay", f"{cache_id}/merged", filesystem="overlay", options=options),
        )
        return str(merged)

    def _remove(self, cache_id: str) -> None:
        mounts.unmount(str(self._merged(cache_id)))
        with attempt(f"remove layer {cache_id}"):
            with suppress(FileNotFoundError):
                self._link(cache_id).unlink()
            delete_tree(self._root / cache_id)

    def _diff(self, cache_id: str) -> Path:
        return self._root / cache_id / "diff"

    def _merged(self, cache_id: str) -> Path:
        return self._root / cache_id / "merged"

    def _link(self, cache_id: str) -> Path:
        return self._root / _LINKS / short_name(cache_id)


def short_name(cache_id: str) -> str:
    """16 hexadecimal digits for a cache id of any length."""
    return hashlib.sha256(cache_id.encode()).hexdigest()[:16]


def _link_names(lineage: Sequence[str]) -> tuple[str, ...]:
    """Lower directories relative to the root, top first; never none, which overlayfs doesn't take."""
    return tuple(f"{_LINKS}/{short_name(lower)}" for lower in lineage) or (f"{_LINKS}/{overlay_check.EMPTY}",)


def _check_depth(lineage: Sequence[str]) -> None:
    if len(lineage) > MAXIMUM_DEPTH:
        raise TooDeep
