"""Which object a query is about; what isn't complete yet doesn't exist for clients."""

from events.container_lookup import NoSuchContainer, find_container
from events.errors import InvalidParameter, NotFound
from events.projections.containers import Container
from events.projections.execs import Exec
from events.projections.networks import Network
from events.projections.state import State
from events.projections.volumes import Volume


class NoSuchExec(NotFound):
    """No exec has this id."""

    def __init__(self, exec_id: str) -> None:
        super().__init__(f"No such exec instance: {exec_id}")


class NoSuchNetwork(NotFound):
    """No network has this id, name or prefix."""

    def __init__(self, name: str) -> None:
        super().__init__(f"network {name} not found")


class AmbiguousNetwork(InvalidParameter):
    """A prefix that several ids begin with."""

    def __init__(self, name: str) -> None:
        super().__init__(f"network {name} is ambiguous (found several)")


class NoSuchVolume(NotFound):
    """No volume has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"get {name}: no such volume")


def visible_container(state: State, name: str) -> Container:
    """By id, name or prefix, once it was created. Raises NoSuchContainer, AmbiguousContainer."""
    container = find_container(state.containers, name)
    if container.status == "creating":
        raise NoSuchContainer(name)
    return container


def find_exec(state: State, exec_id: str) -> Exec:
    """By full id. Raises NoSuchExec."""
    process = state.execs.get(exec_id)
    if process is None:
        raise NoSuchExec(exec_id)
    return process


def find_network(state: State, name: str) -> Network:
    """By id, name or prefix. Raises NoSuchNetwork, AmbiguousNetwork."""
    found = tuple(network for network in state.networks.find(name) if network.status == "ready")
    if not found:
        raise NoSuchNetwork(name)
    if len(found) > 1:
        raise AmbiguousNetwork(name)
    return found[0]


def find_volume(state: State, name: str) -> Volume:
    """By name. Raises NoSuchVolume."""
    volume = state.volumes.get(name)
    if volume is None or volume.status == "creating":
        raise NoSuchVolume(name)
    return volume
