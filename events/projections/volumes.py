"""What is known of every volume; `volume ls`, `inspect` and decisions about volumes read this."""

from collections.abc import Iterator

import msgspec

from events.base import Event
from events.envelope import Recorded
from events.messages import volume as m
from events.projections.tables import Projection
from events.sealed import Sealed


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as the log tells it."""

    name: str
    driver: str
    options: Sealed | None
    labels: dict[str, str]
    anonymous: bool
    created_at_ns: int
    mountpoint: str = ""
    users: frozenset[str] = frozenset()  # container ids
    mounted_by: frozenset[str] = frozenset()  # container ids, running
    populating: bool = False
    status: str = "creating"  # creating, ready, removing
    version: int = 0


def fold(volume: Volume, event: Event) -> Volume | None:
    """The state after an event; None when it is gone."""
    replace = msgspec.structs.replace
    match event:
        case m.VolumeCreated(mountpoint=mountpoint):
            return replace(volume, mountpoint=mountpoint, status="ready")
        case m.VolumeCreateFailed() | m.VolumeRemoved():
            return None
        case m.VolumeAcquired(container_id=container_id):
            return replace(volume, users=volume.users | {container_id})
        case m.VolumeReleased(container_id=container_id):
            return replace(volume, users=volume.users - {container_id})
        case m.VolumePopulateRequested():
            return replace(volume, populating=True)
        case m.VolumePopulated() | m.VolumePopulateFailed():
            return replace(volume, populating=False)
        case m.VolumeMounted(container_id=container_id):
            return replace(volume, mounted_by=volume.mounted_by | {container_id})
        case m.VolumeUnmounted(container_id=container_id):
            return replace(volume, mounted_by=volume.mounted_by - {container_id})
        case m.VolumeRemoveRequested():
            return replace(volume, status="removing")
        case _:
            return volume


class Volumes(Projection):
    """All volumes, by name."""

    _by_name: dict[str, Volume]

    def __iter__(self) -> Iterator[Volume]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> Volume | None:
        """By name."""
        return self._by_name.get(name)

    def apply(self, recorded: Recorded) -> None:
        """Take in one event of a `volume/` stream."""
        event = recorded.event
        name = recorded.stream.partition("/")[2]
        before = self._by_name.get(name)
        if isinstance(event, m.VolumeCreateRequested):
            after: Volume | None = Volume(
                name=name,
                driver=event.driver,
                options=event.options,
                labels=event.labels,
                anonymous=event.anonymous,
                created_at_ns=recorded.clock_ns,
            )
        elif before is None:
            return
        else:
            after = fold(before, event)
        if after is None:
            del self._by_name[name]
            return
        self._by_name[name] = msgspec.structs.replace(after, version=recorded.version)
