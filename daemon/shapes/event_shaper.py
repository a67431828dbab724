"""From the log's events to Docker's; remembers what it takes to name objects that are gone by now."""

from collections.abc import Callable, Iterable, Iterator

from daemon.shapes.events import Message, Told
from daemon.shapes.told_containers import ContainerTeller
from daemon.shapes.told_objects import ImageTeller, NetworkTeller, VolumeTeller
from events.envelope import Recorded
from events.messages.system import EngineReloaded
from events.projections.state import State
from events.sealed import Keyring

_SINCE_1_46 = ("image", "create")


class EventShaper:
    """A fold over the log, in order, that gives zero or more Docker messages for every event.

    Begin with an empty shaper and the log's first event, or in its middle with one that `know`s the state there.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._containers = ContainerTeller(keyring)
        self._images = ImageTeller()
        self._networks = NetworkTeller()
        self._volumes = VolumeTeller()
        self._tellers: dict[str, Callable[[Recorded], Iterable[Told]]] = {
            "container": self._containers.tell,
            "exec": self._containers.tell_exec,
            "image": self._images.tell,
            "network": self._networks.tell,
            "sandbox": self._networks.tell_sandbox,
            "system": _tell_system,
            "volume": self._volumes.tell,
        }

    def know(self, state: State) -> None:
        """Take over what there is at `state.sequence`; the next event is the one after it."""
        for container in state.containers:
            self._containers.know(container)
        for process in state.execs:
            self._containers.know_exec(process)
        for image in state.images:
            self._images.know(image)
        for network in state.networks:
            self._networks.know(network)
        for sandbox in state.sandboxes:
            self._networks.know_sandbox(sandbox)
        for volume in state.volumes:
            self._volumes.know(volume)

    def shape(self, recorded: Recorded) -> list[Message]:
        """The messages for the next event of the log."""
        tell = self._tellers.get(recorded.stream.partition("/")[0])
        return [_message(told, recorded) for told in tell(recorded)] if tell else []


def _message(told: Told, recorded: Recorded) -> Message:
    return Message(
        kind=told.kind,
        action=told.action,
        id=told.id,
        attributes=told.attributes,
        time_ns=recorded.clock_ns,
        minimum_version=(1, 46) if (told.kind, told.action) == _SINCE_1_46 else (1, 24),
    )


def _tell_system(recorded: Recorded) -> Iterator[Told]:
    if isinstance(recorded.event, EngineReloaded):
        yield Told("daemon", "reload", recorded.stream.partition("/")[2], dict.fromkeys(recorded.event.changed, ""))
