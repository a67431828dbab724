"""Everything that can be asked of volumes and everything that can happen to them."""

from typing import ClassVar

import msgspec

from events.base import Command, Event
from events.sealed import Sealed


class CreatedVolume(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of CreateVolume; `created` is False when it was there already."""

    name: str
    created: bool


class CreateVolume(Command[CreatedVolume], frozen=True, kw_only=True):
    """Make a volume; name "" makes an anonymous one. Same name and driver again is fine."""

    TYPE: ClassVar[str] = "volume.create"
    name: str = ""
    anonymous: bool = False  # anonymous although the one who asks has chosen the name
    driver: str = "local"
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class RemoveVolume(Command[None], frozen=True, kw_only=True):
    """Remove a volume that no container uses; `force` makes an unknown one fine."""

    TYPE: ClassVar[str] = "volume.remove"
    name: str
    force: bool = False


class AcquireVolume(Command[None], frozen=True, kw_only=True):
    """Record that a container refers to a volume: it can't be removed until ReleaseVolume."""

    TYPE: ClassVar[str] = "volume.acquire"
    name: str
    container_id: str


class ReleaseVolume(Command[None], frozen=True, kw_only=True):
    """The container refers to it no more; unknown volume or container is fine.

    `remove` also removes the volume when it is anonymous and nobody else refers to it.
    """

    TYPE: ClassVar[str] = "volume.release"
    name: str
    container_id: str
    remove: bool = False


class PopulateVolume(Command[None], frozen=True, kw_only=True):
    """Copy what the image has at `source` (inside `rootfs`) into the volume, if the volume is empty."""

    TYPE: ClassVar[str] = "volume.populate"
    name: str
    rootfs: str
    source: str


class MountedVolume(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of MountVolume: where the volume's content is on the host."""

    path: str


class MountVolume(Command[MountedVolume], frozen=True, kw_only=True):
    """Make a volume's content available for a container's start; mounts are counted per container."""

    TYPE: ClassVar[str] = "volume.mount"
    name: str
    container_id: str
    destination: str
    writable: bool = True
    propagation: str = ""


class UnmountVolume(Command[None], frozen=True, kw_only=True):
    """The container stopped; not mounted is fine."""

    TYPE: ClassVar[str] = "volume.unmount"
    name: str
    container_id: str


class VolumeCreateRequested(Event, frozen=True, kw_only=True):
    """Intent; takes the claim `volume/<name>`. `options` seals a JSON object of strings."""

    TYPE: ClassVar[str] = "volume.create_requested"
    name: str
    driver: str
    options: Sealed | None = None
    labels: dict[str, str] = {}
    anonymous: bool = False


class VolumeCreated(Event, frozen=True, kw_only=True):
    """It is there."""

    TYPE: ClassVar[str] = "volume.created"
    name: str
    mountpoint: str


class VolumeCreateFailed(Event, frozen=True, kw_only=True):
    """Nothing of it is left; releases the claim."""

    TYPE: ClassVar[str] = "volume.create_failed"
    name: str
    error: str


class VolumeAcquired(Event, frozen=True, kw_only=True):
    """A container refers to it."""

    TYPE: ClassVar[str] = "volume.acquired"
    name: str
    container_id: str


class VolumeReleased(Event, frozen=True, kw_only=True):
    """A container that referred to it is gone."""

    TYPE: ClassVar[str] = "volume.released"
    name: str
    container_id: str


class VolumePopulateRequested(Event, frozen=True, kw_only=True):
    """Intent: image content is about to be copied into it."""

    TYPE: ClassVar[str] = "volume.populate_requested"
    name: str


class VolumePopulated(Event, frozen=True, kw_only=True):
    """The copy is complete."""

    TYPE: ClassVar[str] = "volume.populated"
    name: str


class VolumePopulateFailed(Event, frozen=True, kw_only=True):
    """Nothing of the copy is left in it."""

    TYPE: ClassVar[str] = "volume.populate_failed"
    name: str
    error: str


class VolumeMounted(Event, frozen=True, kw_only=True):
    """A running container has it."""

    TYPE: ClassVar[str] = "volume.mounted"
    name: str
    container_id: str
    destination: str
    writable: bool
    propagation: str


class VolumeUnmounted(Event, frozen=True, kw_only=True):
    """A container that had it stopped."""

    TYPE: ClassVar[str] = "volume.unmounted"
    name: str
    container_id: str


class VolumeRemoveRequested(Event, frozen=True, kw_only=True):
    """Intent: it and what is in it go."""

    TYPE: ClassVar[str] = "volume.remove_requested"
    name: str


class VolumeRemoved(Event, frozen=True, kw_only=True):
    """Gone; releases the claim."""

    TYPE: ClassVar[str] = "volume.removed"
    name: str
