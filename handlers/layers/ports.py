"""What the layer handler needs of a graph driver."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol, Self

import msgspec

from events.messages.layer import ArchivedChanges, ViewMount

BLOCK_BYTES: Final = 512  # that stat counts in (st_blocks), whatever the file system's are
NO_OPTIONS: Final[Mapping[str, str]] = MappingProxyType({})
Below = Callable[[], Awaitable[None]]  # returns when the layers below are complete, raises when they won't be


async def complete() -> None:
    """They are."""


class Unpacked(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of a layer tar."""

    diff_id: str  # sha256 of the uncompressed tar
    size_bytes: int  # sum of the regular files' sizes
    disk_bytes: int  # blocks that all of it takes on disk, as du counts them


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """Where a read-write layer is on disk, for processes that look at it in a mount namespace of their own.

    Without `links` the layer is a whole tree at `own`. With them it is overlayfs's: mounted at `mounted` or not, made
    of `own` upon `links`, which are relative to `base`, top first.
    """

    own: str
    below: tuple[str, ...] = ()  # absolute directories of the layers below, top first; of a whole tree one at most
    mounted: str = ""
    work: str = ""
    base: str = ""
    links: tuple[str, ...] = ()
    own_link: str = ""
    options: str = ""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a read-only layer's tar can be had again from: its files, and the rest (`drivers/skeletons.py`)."""

    directory: str
    skeleton: str


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A container's file system: its layer, and what is mounted in it."""

    container_id: str
    lineage: tuple[str, ...]  # cache ids of its image's layers, top first
    mounts: tuple[ViewMount, ...] = ()  # parents before children
    writable: bool = True  # the layer itself, for the container


class PathStat(msgspec.Struct, frozen=True, kw_only=True):
    """A file in a container, as lstat(2) tells it."""

    name: str
    size: int
    mode: int  # of stat(2)
    modified_ns: int
    link_target: str = ""  # absolute, as far as it leads


class Change(msgspec.Struct, frozen=True):
    """A path that is other than in the image."""

    path: str
    kind: int  # 0 modified, 1 added, 2 deleted


class Extraction(msgspec.Struct, frozen=True, kw_only=True):
    """A tar to be put into a container."""

    archive: str  # path of the file
    directory: str  # in the container
    no_overwrite_dir_non_dir: bool = False
    owner: str = ""  # user of the container (`name`, `uid` or either with `:group`) to own everything; "": as archived


class Copying(msgspec.Struct, frozen=True, kw_only=True):
    """A tar to be put into a layer by COPY or ADD: into a directory, or its only file as `destination`."""

    archive: str  # path of the file
    destination: str  # absolute, in the layer; where it leads counts
    is_directory: bool  # whether it is to be a directory even if nothing is there
    owner: str = ""  # as in `Extraction`


class Chunks(Protocol):
    """Bytes as they come; ended by the last of them, or closed before."""

    def __aiter__(self) -> Self:
        """Itself."""

    async def __anext__(self) -> bytes:
        """At least one byte. Raises StopAsyncIteration after the last, SystemFailure where they break off."""

    async def aclose(self) -> None:
        """End what makes them."""


class ContainerFiles(Protocol):
    """Files of containers, running or not, looked at by a process that has no way out of the container's root.

    Raises NotFound for a path that isn't there, InvalidParameter for one that makes no sense, SystemFailure for what
    the host refuses.
    """

    async def stat(self, subject: Subject, path: str) -> PathStat:
        """What is at a path; a symbolic link itself, unless the path ends with a slash."""

    async def archive(self, subject: Subject, path: str) -> tuple[PathStat, Chunks]:
        """A tar of a file or a directory, named after the path's last component."""

    async def extract(self, subject: Subject, extraction: Extraction) -> None:
        """Put the entries of a tar (plain or compressed) into a directory. Raises Forbidden where it is read-only.

        Nobody may mount or remove the container's layer meanwhile.
        """

    async def export(self, subject: Subject) -> Chunks:
        """A tar of the layer's whole tree; what is mounted in it is left out."""

    async def archive_changes(self, subject: Subject, path: str) -> ArchivedChanges:
        """The same as a layer tar in a new file, for another layer to be made of."""

    async def copy(self, subject: Subject, copying: Copying) -> None:
        """Put files into the layer; missing directories are made. Nobody may mount or remove it meanwhile."""

    async def collect(self, subject: Subject, path: str, target: str) -> str:
        """Write what is at a path, and in it, as a tar of whole paths into a new file; where the path leads."""

    async def changes(self, subject: Subject) -> tuple[Change, ...]:
        """What is other than in the image, by path; what the engine itself puts into a container is left out."""


class LayerTars(Protocol):
    """The tars that read-only layers came as, byte for byte. Raises SystemFailure for a layer that was made before
    tars were kept."""

    async def tar_size(self, cache_id: str) -> int:
        """In bytes, uncompressed."""

    async def tar(self, cache_id: str, diff_id: str) -> Chunks:
        """The tar by blocks; breaks off at the end when it isn't what `diff_id` says."""

    def several(self, layers: Mapping[str, str]) -> "LayerTars":
        """For those who will ask for several layers, each once: cache ids and diff ids, in about that order.

        Small tars come several at once then, as many as memory of some megabytes holds.
        """


class GraphDriver(Protocol):
    """Keeps layers as directories and stacks them.

    A layer is named by a `cache_id` (random hex, safe as a file name) and made upon `lineage`: its ancestors' cache
    ids, top first. Everything lives below the driver's own directory. Methods raise SystemFailure for what the host
    refuses and InvalidParameter for a bad archive; taking down what is absent succeeds. Every method may be
    interrupted by SIGKILL at any point: `remove` clears what is left of a layer, whatever its state.
    """

    name: str
    is_orderless: bool  # whether a layer can be removed before those that stand on it

    async def prepare(self) -> None:
        """Before anything else: make what the driver keeps on disk. Raises SystemFailure that says what is missing."""

    async def unpack(
        self, cache_id: str, lineage: Sequence[str], path: str, offset: int, length: int, below: Below = complete
    ) -> Unpacked:
        """Fill a new layer from a tar (plain, gzip, zstd) at `offset` of a file, `length` bytes (-1: the rest).

        OCI whiteouts and opaque markers are turned into the driver's own; no entry leads outside the layer.
        The lineage may still be incomplete; it is looked at when `below` has returned, whose failure is this one's.
        On failure nothing of the layer is left. It is on disk when `flush` has returned.
        """

    async def flush(self) -> None:
        """All that was unpacked before is on disk (fsync) when this returns."""

    async def create(self, cache_id: str, lineage: Sequence[str], options: Mapping[str, str] = NO_OPTIONS) -> None:
        """Make an empty read-write layer.

        `options` are a container's storage options; the one there is, `size`, bounds what can be written (`10G`).
        Raises SystemFailure, in Docker's words, where the driver or its file system can't.
        """

    async def mount(self, cache_id: str, lineage: Sequence[str]) -> str:
        """Mount a read-write layer and return the absolute path of its merged tree; mounted already is fine."""

    async def unmount(self, cache_id: str) -> None:
        """Undo `mount`."""

    async def remove(self, *cache_ids: str) -> None:
        """Unmount and delete layers with all that is in them, one before those that it stands on.

        Layers that stand on them should be gone, or among them.
        """

    async def tree(self, cache_id: str, lineage: Sequence[str]) -> Tree:
        """Where a read-write layer is. What has to be mounted to be seen is, and stays until `unmount` or `remove`."""

    async def origin(self, cache_id: str) -> Origin:
        """Where what `unpack` has made is. What has to be mounted to be seen is, and stays until `remove`."""

    async def list(self) -> frozenset[str]:
        """Cache ids of everything that is on disk, complete or not."""

    def describe(self) -> tuple[tuple[str, str], ...]:
        """Rows for `docker info` (DriverStatus)."""
