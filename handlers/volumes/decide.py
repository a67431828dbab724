"""What may happen to a volume, decided on the state alone: no clock, no disk, no waiting."""

from collections.abc import Mapping

from events.base import Event
from events.log import Append
from events.messages import volume as m
from events.projections.volumes import Volume, Volumes
from events.sealed import Sealed
from handlers.volumes.errors import NameConflict, NoSuchVolume, VolumeInUse

ANONYMOUS_LABEL = "com.docker.volume.anonymous"


def stream(name: str) -> str:
    """The volume's stream in the log; also its claim and the owner of its key."""
    return f"volume/{name}"


def existing(volumes: Volumes, name: str, driver: str) -> Volume | None:
    """The volume of that name, which a second creation answers with. Raises NameConflict.

    Other options than the first time are no conflict, as in Docker: the first creation stands.
    """
    volume = volumes.get(name)
    if volume is not None and volume.driver != driver:
        raise NameConflict(name, volume.driver)
    return volume


def create(name: str, driver: str, labels: Mapping[str, str], options: Sealed | None, *, anonymous: bool) -> Append:
    """The intent to make a volume."""
    marks = {ANONYMOUS_LABEL: ""} if anonymous else {}
    intent = m.VolumeCreateRequested(
        name=name, driver=driver, options=options, labels={**labels, **marks}, anonymous=anonymous
    )
    return Append(stream=stream(name), events=(intent,), take=(stream(name),))


def created(name: str, mountpoint: str) -> Append:
    """The outcome of a creation that worked."""
    return Append(stream=stream(name), events=(m.VolumeCreated(name=name, mountpoint=mountpoint),))


def create_failed(name: str, error: str) -> Append:
    """The outcome of a creation that didn't, with nothing left."""
    failed = m.VolumeCreateFailed(name=name, error=error)
    return Append(stream=stream(name), events=(failed,), release=(stream(name),))


def remove(volumes: Volumes, name: str) -> Append | None:
    """The intent to remove a volume; None when it stands already. Raises NoSuchVolume, VolumeInUse."""
    volume = known(volumes, name)
    if volume.users:
        raise VolumeInUse(name, volume.users)
    if volume.status == "removing":
        return None
    return _on(volume, m.VolumeRemoveRequested(name=name))


def removed(name: str) -> Append:
    """The outcome of a removal."""
    return Append(stream=stream(name), events=(m.VolumeRemoved(name=name),), release=(stream(name),))


def acquire(volumes: Volumes, name: str, container_id: str) -> Append | None:
    """A container refers to the volume; None when it does already. Raises NoSuchVolume."""
    volume = ready(volumes, name)
    if container_id in volume.users:
        return None
    return _on(volume, m.VolumeAcquired(name=name, container_id=container_id))


def release(volumes: Volumes, name: str, container_id: str, *, remove: bool) -> Append | None:
    """A container refers to it no more; with `remove` an anonymous volume without users is to go, in the same breath.

    None when there is nothing to record.
    """
    volume = volumes.get(name)
    if volume is None:
        return None
    events: list[Event] = []
    if container_id in volume.users:
        events.append(m.VolumeReleased(name=name, container_id=container_id))
    if remove and goes_with(volume, container_id):
        events.append(m.VolumeRemoveRequested(name=name))
    return _on(volume, *events) if events else None


def goes_with(volume: Volume, container_id: str) -> bool:
    """Whether nobody but the container would miss it."""
    return volume.anonymous and volume.status == "ready" and not volume.users - {container_id}


def mount(volumes: Volumes, command: m.MountVolume) -> Append | None:
    """A container is about to have it; None when it has it already. Raises NoSuchVolume."""
    volume = ready(volumes, command.name)
    if command.container_id in volume.mounted_by:
        return None
    return _on(
        volume,
        m.VolumeMounted(
            name=command.name,
            container_id=command.container_id,
            destination=command.destination,
            writable=command.writable,
            propagation=command.propagation,
        ),
    )


def unmount(volumes: Volumes, name: str, container_id: str) -> Append | None:
    """A container has it no more; None when it hadn't."""
    volume = volumes.get(name)
    if volume is None or container_id not in volume.mounted_by:
        return None
    return _on(volume, m.VolumeUnmounted(name=name, container_id=container_id))


def known(volumes: Volumes, name: str) -> Volume:
    """The volume, whatever its status. Raises NoSuchVolume."""
    volume = volumes.get(name)
    if volume is None:
        raise NoSuchVolume(name)
    return volume


def ready(volumes: Volumes, name: str) -> Volume:
    """The volume, if it can be used. Raises NoSuchVolume."""
    volume = known(volumes, name)
    if volume.status != "ready":
        raise NoSuchVolume(name)
    return volume


def _on(volume: Volume, *events: Event) -> Append:
    """Events that hold only for the volume as it was seen."""
    return Append(stream=stream(volume.name), events=events, expected=volume.version)
