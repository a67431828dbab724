"""What Docker would tell of images, networks and volumes, event by event."""

from collections.abc import Iterable, Iterator

from daemon.shapes.events import Told
from daemon.shapes.networks import PREDEFINED
from events.base import Event
from events.envelope import Recorded
from events.messages import image as i
from events.messages import network as n
from events.messages import volume as v
from events.projections.images import Image, repository_of
from events.projections.networks import Network, SandboxState
from events.projections.volumes import Volume
from events.references import familiar

_CREATE_IS_TOLD = frozenset({"build", "commit"})  # load and import have an event of their own


class ImageTeller:
    """Follows `image/` streams."""

    def __init__(self) -> None:
        self._labels: dict[str, dict[str, str]] = {}
        self._imported: set[str] = set()

    def know(self, image: Image) -> None:
        """Begin in the middle of the log: an image that exists."""
        self._labels[image.id] = image.config.config.labels

    def tell(self, recorded: Recorded) -> Iterator[Told]:
        """Messages for an event. The name is the one that was given or taken, else the id."""
        image_id, event = recorded.stream.partition("/")[2], recorded.event
        if isinstance(event, i.ImageCreated):
            self._labels[image_id] = event.config.config.labels
            self._imported |= {image_id} if event.origin == "import" else set()
        if isinstance(event, i.ImagePulled | i.ImagePushed):
            labels = self._labels.get(image_id, {})
            action = "pull" if isinstance(event, i.ImagePulled) else "push"
            yield Told("image", action, familiar(event.name), labels | {"name": familiar(repository_of(event.name))})
        action, name = self._action(image_id, event)
        if action:
            yield Told("image", action, image_id, self._labels.get(image_id, {}) | {"name": name})
        if isinstance(event, i.ImageRemoved | i.ImageCreateFailed):
            self._labels.pop(image_id, None)
            self._imported.discard(image_id)

    def _action(self, image_id: str, event: Event) -> tuple[str, str]:
        """Action and name; "" tells nothing."""
        match event:
            case i.ImageCreated(origin=origin) if origin in _CREATE_IS_TOLD:
                return "create", image_id
            case i.ImageLoaded(name=name):
                return "load", name
            case i.ImageImported():
                return "import", image_id
            case i.ImageSaved():
                return "save", image_id
            case i.ImageTagged(reference=reference, asked=asked) if asked or image_id in self._imported:
                return "tag", familiar(reference)
            case i.ImageUntagged(reference=reference, moved=False):
                return "untag", familiar(reference)
            case i.ImageRemoved():
                return "delete", image_id
            case _:
                return "", ""


class NetworkTeller:
    """Follows `network/` and `sandbox/` streams."""

    def __init__(self) -> None:
        self._networks: dict[str, tuple[str, str]] = {}  # id -> name, driver
        self._endpoints: dict[str, tuple[n.Endpoint, ...]] = {}  # of a container

    def know(self, network: Network) -> None:
        """Begin in the middle of the log: a network that exists."""
        self._networks[network.id] = (network.name, network.driver)

    def know_sandbox(self, sandbox: SandboxState) -> None:
        """Begin in the middle of the log: a sandbox that exists."""
        self._endpoints[sandbox.container_id] = sandbox.endpoints

    def tell(self, recorded: Recorded) -> Iterator[Told]:
        """Messages for an event of a `network/` stream; the predefined ones are there without being told of."""
        network_id, event = recorded.stream.partition("/")[2], recorded.event
        if isinstance(event, n.NetworkCreateRequested):
            self._networks[network_id] = (event.name, event.driver)
        name, driver = self._networks.get(network_id, ("", ""))
        if isinstance(event, n.NetworkCreated) and name not in PREDEFINED:
            yield Told("network", "create", network_id, {"name": name, "type": driver})

    def tell_sandbox(self, recorded: Recorded) -> Iterator[Told]:
        """Messages for an event of a `sandbox/` stream: one for every network."""
        container_id, event = recorded.stream.partition("/")[2], recorded.event
        match event:
            case n.SandboxRequested(endpoints=endpoints):
                self._endpoints[container_id] = endpoints
            case n.SandboxConnected():
                yield from self._each("connect", container_id, self._endpoints.get(container_id, ()))
            case n.SandboxDisconnected():
                yield from self._each("disconnect", container_id, self._endpoints.pop(container_id, ()))
            case n.SandboxConnectFailed():
                self._endpoints.pop(container_id, None)
            case _:
                pass

    def _each(self, action: str, container_id: str, endpoints: Iterable[n.Endpoint]) -> Iterator[Told]:
        for endpoint in endpoints:
            name, driver = self._networks.get(endpoint.network_id, (endpoint.network_name, ""))
            attributes = {"container": container_id, "name": name, "type": driver}
            yield Told("network", action, endpoint.network_id, attributes)


class VolumeTeller:
    """Follows `volume/` streams."""

    def __init__(self) -> None:
        self._drivers: dict[str, str] = {}

    def know(self, volume: Volume) -> None:
        """Begin in the middle of the log: a volume that exists."""
        self._drivers[volume.name] = volume.driver

    def tell(self, recorded: Recorded) -> Iterator[Told]:
        """Messages for an event."""
        name, event = recorded.stream.partition("/")[2], recorded.event
        if isinstance(event, v.VolumeCreateRequested):
            self._drivers[name] = event.driver
        action, more = _volume_action(event)
        if action:
            yield Told("volume", action, name, {"driver": self._drivers.get(name, "")} | more)
        if isinstance(event, v.VolumeRemoved | v.VolumeCreateFailed):
            self._drivers.pop(name, None)


def _volume_action(event: Event) -> tuple[str, dict[str, str]]:
    """Action with its own attributes; "" tells nothing."""
    match event:
        case v.VolumeCreated():
            return "create", {}
        case v.VolumeMounted():
            return "mount", {
                "container": event.container_id,
                "destination": event.destination,
                "propagation": event.propagation,
                "read/write": "true" if event.writable else "false",
            }
        case v.VolumeUnmounted(container_id=container_id):
            return "unmount", {"container": container_id}
        case v.VolumeRemoved():
            return "destroy", {}
        case _:
            return "", {}
