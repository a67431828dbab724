"""What a container has mounted in its file system, as somebody sees it who looks in from outside. Pure.

Its memory file systems are left out: they are nowhere but in its own mount namespace. So does Docker.
"""

from collections.abc import Iterator

from events.messages.container import MountPoint
from events.messages.layer import ViewMount
from events.projections.containers import Container
from events.projections.state import State
from handlers.containers.errors import VolumeAway


def view_mounts(state: State, c: Container) -> tuple[ViewMount, ...]:
    """Its binds and volumes, parents before children. Raises VolumeAway."""
    return tuple(mount for point in c.mounts for mount in _view(state, c, point))


def _view(state: State, c: Container, point: MountPoint) -> Iterator[ViewMount]:
    match point.type:
        case "bind":
            yield ViewMount(
                source=point.source,
                destination=point.destination,
                writable=point.writable,
                recursive=not point.non_recursive,
                optional=True,
            )
        case "volume":
            yield ViewMount(
                source=_mountpoint(state, c, point),
                destination=point.destination,
                writable=point.writable,
                subpath=point.subpath,
            )
        case _:  # "tmpfs"
            return


def _mountpoint(state: State, c: Container, point: MountPoint) -> str:
    volume = state.volumes.get(point.name)
    if volume is None or (volume.options is not None and not volume.mounted_by):
        raise VolumeAway(point.name, c.name)
    return volume.mountpoint
