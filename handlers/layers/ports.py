"""What the layer handler needs of a graph driver."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from events.messages.layer import ViewMount


class Unpacked(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of a layer tar."""

    diff_id: str  # sha256 of the uncompressed tar
    size_bytes: int  # sum of the regular files' sizes


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


class ContainerFiles(Protocol):
    """Files of containers, running or not, looked at by a process that has no way out of the container's root.

    Raises NotFound for a path that isn't there, InvalidParameter for one that makes no sense, SystemFailure for what
    the host refuses.
    """

    async def stat(self, subject: Subject, path: str) -> PathStat:
        """What is at a path; a symbolic link itself, unless the path ends with a slash."""

    async def archive(self, subject: Subject, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        """A tar of a file or a directory, named after the path's last component."""

    async def extract(self, subject: Subject, extraction: Extraction) -> None:
        """Put the entries of a tar (plain or compressed) into a directory. Raises Forbidden where it is read-only.

        Nobody may mount or remove the container's layer meanwhile.
        """

    async def export(self, subject: Subject) -> AsyncIterator[bytes]:
        """A tar of the layer's whole tree; what is mounted in it is left out."""

    async def changes(self, subject: Subject) -> tuple[Change, ...]:
        """What is other than in the image, by path; what the engine itself puts into a container is left out."""


class GraphDriver(Protocol):
    """Keeps layers as directories and stacks them.

    A layer is named by a `cache_id` (random hex, safe as a file name) and made upon `lineage`: its ancestors' cache
    ids, top first. Everything lives below the driver's own directory. Methods raise SystemFailure for what the host
    refuses and InvalidParameter for a bad archive; taking down what is absent succeeds. Every method may be
    interrupted by SIGKILL at any point: `remove` clears what is left of a layer, whatever its state.
    """

    name: str

    async def unpack(self, cache_id: str, lineage: Sequence[str], path: str, offset: int, length: int) -> Unpacked:
        """Fill a new layer from a tar (plain, gzip, zstd) at `offset` of a file, `length` bytes (-1: the rest).

        OCI whiteouts and opaque markers are turned into the driver's own; no entry leads outside the layer.
        The layer is on disk (fsync) when this returns; on failure nothing of it is left.
        """

    async def create(self, cache_id: str, lineage: Sequence[str]) -> None:
        """Make an empty read-write layer."""

    async def mount(self, cache_id: str, lineage: Sequence[str]) -> str:
        """Mount a read-write layer and return the absolute path of its merged tree; mounted already is fine."""

    async def unmount(self, cache_id: str) -> None:
        """Undo `mount`."""

    async def remove(self, cache_id: str) -> None:
        """Unmount and delete a layer with all that is in it."""

    def tree(self, cache_id: str, lineage: Sequence[str]) -> Tree:
        """Where a read-write layer is, whether it is there or not."""

    async def list(self) -> frozenset[str]:
        """Cache ids of everything that is on disk, complete or not."""

    def describe(self) -> tuple[tuple[str, str], ...]:
        """Rows for `docker info` (DriverStatus)."""
