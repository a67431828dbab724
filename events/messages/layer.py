"""Everything that can be asked of layers and everything that can happen to them.

Read-only layers are events of their own. A container's read-write layer is covered by the container's intents.
"""

from typing import ClassVar

import msgspec

from events.base import Command, Event

READING = "reading/"  # begins the holders that don't outlive the engine's run


class AppliedLayer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of ApplyLayer."""

    chain_id: str
    diff_id: str
    size_bytes: int


class ApplyLayer(Command[AppliedLayer], frozen=True, kw_only=True):
    """Unpack a layer tar (plain, gzip or zstd) that lies in a file; an existing layer is only held.

    A file that its writer has locked (flock) is still growing: it is read as it arrives, up to `length`.
    `holder` (an image id) keeps the layer until ReleaseLayers; `expected_diff_id` "" accepts any digest.
    """

    TYPE: ClassVar[str] = "layer.apply"
    path: str
    offset: int = 0
    length: int = -1  # bytes; -1: to the end of the file
    parent: str = ""  # chain id; "": the bottom
    expected_diff_id: str = ""
    holder: str


class HeldLayers(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of HoldLayers: how large those are that are kept, which end before the first that isn't there."""

    sizes_bytes: tuple[int, ...] = ()


class HoldLayers(Command[HeldLayers], frozen=True, kw_only=True):
    """Keep layers that are there for one more holder, until ReleaseLayers; nothing is made. Each is named once."""

    TYPE: ClassVar[str] = "layer.hold"
    chain_ids: tuple[str, ...]
    holder: str


class ReleaseLayers(Command[None], frozen=True, kw_only=True):
    """Drop a holder's claim on its layers; layers that nobody holds are removed, children first."""

    TYPE: ClassVar[str] = "layer.release"
    holder: str


class CreateContainerLayer(Command[None], frozen=True, kw_only=True):
    """Make a container's read-write layer upon `parent` (chain id, "" for none).

    `options` are the container's storage options: `size` bounds what it can write.
    """

    TYPE: ClassVar[str] = "layer.create_container_layer"
    container_id: str
    parent: str
    options: dict[str, str] = {}


class MountedLayer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of MountContainerLayer."""

    path: str


class MountContainerLayer(Command[MountedLayer], frozen=True, kw_only=True):
    """Mount a container's file system and tell where; mounted already is fine."""

    TYPE: ClassVar[str] = "layer.mount"
    container_id: str


class UnmountContainerLayer(Command[None], frozen=True, kw_only=True):
    """Unmount it; not mounted is fine."""

    TYPE: ClassVar[str] = "layer.unmount"
    container_id: str


class RemoveContainerLayer(Command[None], frozen=True, kw_only=True):
    """Remove a container's read-write layer and all that is in it; absent is fine."""

    TYPE: ClassVar[str] = "layer.remove_container_layer"
    container_id: str


class ViewMount(msgspec.Struct, frozen=True, kw_only=True):
    """What a container has mounted somewhere in its file system, for whoever looks into it."""

    source: str  # absolute path on the host
    destination: str
    writable: bool = True
    subpath: str = ""  # inside the source, which it can't lead out of
    recursive: bool = True
    optional: bool = False  # left out when nothing is at `source`


class ExtractIntoContainer(Command[None], frozen=True, kw_only=True):
    """Put a tar (plain or compressed) that lies in a file into a directory of a container, running or not.

    The container's own intent covers it. `mounts`: parents before children.
    """

    TYPE: ClassVar[str] = "layer.extract_into_container"
    container_id: str
    mounts: tuple[ViewMount, ...] = ()
    writable: bool = True  # the container's own file system
    path: str
    directory: str
    no_overwrite_dir_non_dir: bool = False
    owner: str = ""  # of the container's users, to own everything; "": as archived


class CopyIntoLayer(Command[None], frozen=True, kw_only=True):
    """Put a tar that lies in a file into a read-write layer: into a directory, or its only file under another name.

    The name is `destination`, unless that is a directory or is to be one. Missing directories are made. What the
    layer belongs to has an intent that covers it; `parent` (chain id, "" for none) is what it stands on where that is
    no container, else None.
    """

    TYPE: ClassVar[str] = "layer.copy_into"
    container_id: str
    parent: str | None = None
    path: str
    destination: str  # absolute
    is_directory: bool
    owner: str = ""  # of the users that the layer knows, to own everything; "": as archived


class CollectedFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of CollectFiles: where the path leads."""

    path: str


class CollectFiles(Command[CollectedFiles], frozen=True, kw_only=True):
    """Write what is at a path of a read-write layer, and in it, as a tar into a new file; names are whole paths."""

    TYPE: ClassVar[str] = "layer.collect"
    container_id: str
    parent: str | None = None  # as in CopyIntoLayer
    path: str
    target: str


class ArchivedChanges(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of ArchiveChanges."""

    diff_id: str
    size_bytes: int  # of the tar


class ArchiveChanges(Command[ArchivedChanges], frozen=True, kw_only=True):
    """Write what a container's layer has other than its image as a layer tar, into a new file."""

    TYPE: ClassVar[str] = "layer.archive_changes"
    container_id: str
    parent: str | None = None  # as in CopyIntoLayer
    path: str


class LayerApplyRequested(Event, frozen=True, kw_only=True):
    """Intent: a directory will be filled. `cache_id` names it on disk."""

    TYPE: ClassVar[str] = "layer.apply_requested"
    chain_id: str
    diff_id: str
    parent: str
    cache_id: str
    driver: str
    holder: str


class LayerApplied(Event, frozen=True, kw_only=True):
    """The layer is complete, verified and on disk."""

    TYPE: ClassVar[str] = "layer.applied"
    SCHEMA: ClassVar[int] = 2
    chain_id: str
    size_bytes: int
    disk_bytes: int = 0  # 0: nobody counted


class LayerApplyFailed(Event, frozen=True, kw_only=True):
    """Nothing of the layer is left."""

    TYPE: ClassVar[str] = "layer.apply_failed"
    chain_id: str
    error: str


class LayerHeld(Event, frozen=True, kw_only=True):
    """Another holder needs it."""

    TYPE: ClassVar[str] = "layer.held"
    chain_id: str
    holder: str


class LayerReleased(Event, frozen=True, kw_only=True):
    """A holder needs it no more."""

    TYPE: ClassVar[str] = "layer.released"
    chain_id: str
    holder: str


class LayerRemoveRequested(Event, frozen=True, kw_only=True):
    """Intent: nobody holds it, its directory goes."""

    TYPE: ClassVar[str] = "layer.remove_requested"
    chain_id: str


class LayerRemoved(Event, frozen=True, kw_only=True):
    """Its directory is gone."""

    TYPE: ClassVar[str] = "layer.removed"
    chain_id: str
