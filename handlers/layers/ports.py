"""What the layer handler needs of a graph driver."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Unpacked(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of a layer tar."""

    diff_id: str  # sha256 of the uncompressed tar
    size_bytes: int  # sum of the regular files' sizes


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

    async def list(self) -> frozenset[str]:
        """Cache ids of everything that is on disk, complete or not."""

    def describe(self) -> tuple[tuple[str, str], ...]:
        """Rows for `docker info` (DriverStatus)."""
