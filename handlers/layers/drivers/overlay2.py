"""The graph driver `overlay2`: layers as directories, stacked by the kernel's overlayfs; the default.

    <root>/<cache id>/{diff,work,merged}    see `stacked.py`
    <root>/l/<short name>                   link to ../<cache id>/diff; 127 of them fit into one page of options
    <root>/l/empty                          the lower directory of a container without an image

The short name is derived from the cache id, so nothing has to be read to mount.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from handlers.kernel import mounts
from handlers.kernel.calls import attempt
from handlers.layers.drivers import overlay_check
from handlers.layers.drivers.project_quota import ProjectQuota
from handlers.layers.drivers.quota import BadStorageOption, requested_size
from handlers.layers.drivers.stacked import Stacked
from handlers.layers.drivers.unpacking import Marks
from handlers.layers.ports import BLOCK_BYTES, Tree

_LINKS = "l"


class Overlay2(Stacked):
    """Stacks layers by overlayfs below `<root>`. `default_size_bytes` bounds containers that don't say (0: nothing)."""

    name = "overlay2"
    marks: ClassVar[Marks] = "overlay"
    own_names = frozenset((_LINKS,))

    def __init__(self, root: Path, default_size_bytes: int = 0) -> None:
        super().__init__(root)
        self._default_size_bytes = default_size_bytes
        self._options = ""
        self._filesystem = ""
        self._quota: ProjectQuota | None = None

    @override
    def describe(self) -> tuple[tuple[str, str], ...]:
        return (
            ("Backing Filesystem", self._filesystem),
            ("Supports d_type", "true"),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", "false"),
        )

    @override
    async def tree(self, cache_id: str, lineage: Sequence[str]) -> Tree:
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

    @override
    def _prepare(self) -> None:
        self._make_root()
        with attempt(f"make {self._root}"):
            (self._root / _LINKS).mkdir(exist_ok=True, mode=0o700)
            (self._root / _LINKS / overlay_check.EMPTY).mkdir(exist_ok=True)
        self._options = overlay_check.safe_options()
        overlay_check.check(self._root, self._options)
        self._filesystem = overlay_check.backing_filesystem(self._root)
        self._quota = ProjectQuota.of(self._root)
        self._size({"size": str(self._default_size_bytes)} if self._default_size_bytes else {})

    @override
    def _size(self, options: Mapping[str, str]) -> int:
        size_bytes = requested_size(options) or self._default_size_bytes
        if size_bytes and self._quota is None:
            raise BadStorageOption("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
        return size_bytes

    @override
    def _create(self, cache_id: str, lineage: tuple[str, ...], size_bytes: int) -> None:
        super()._create(cache_id, lineage, size_bytes)
        if size_bytes and self._quota is not None:
            self._quota.limit(self._root / cache_id, size_bytes)

    @override
    def _make(self, cache_id: str) -> None:
        super()._make(cache_id)
        with attempt(f"make layer {cache_id}"):
            self._link(cache_id).symlink_to(f"../{cache_id}/diff")

    @override
    def _around_bytes(self, cache_id: str) -> int:
        with attempt(f"look at layer {cache_id}"):
            return super()._around_bytes(cache_id) + self._link(cache_id).lstat().st_blocks * BLOCK_BYTES

    @override
    def _stack(self, cache_id: str, lineage: tuple[str, ...]) -> None:
        options = (
            f"lowerdir={':'.join(_link_names(lineage))},upperdir={cache_id}/diff,workdir={cache_id}/work{self._options}"
        )
        mounts.in_directory(
            str(self._root),
            lambda: mounts.mount("overlay", f"{cache_id}/merged", filesystem="overlay", options=options),
        )

    @override
    def _detach(self, cache_id: str) -> None:
        with attempt(f"remove layer {cache_id}"), suppress(FileNotFoundError):
            self._link(cache_id).unlink()
        super()._detach(cache_id)

    def _link(self, cache_id: str) -> Path:
        return self._root / _LINKS / short_name(cache_id)


def short_name(cache_id: str) -> str:
    """16 hexadecimal digits for a cache id of any length."""
    return hashlib.sha256(cache_id.encode()).hexdigest()[:16]


def _link_names(lineage: Sequence[str]) -> tuple[str, ...]:
    """Lower directories relative to the root, top first; never none, which overlayfs doesn't take."""
    return tuple(f"{_LINKS}/{short_name(lower)}" for lower in lineage) or (f"{_LINKS}/{overlay_check.EMPTY}",)
