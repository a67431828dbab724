"""What is known of networks and of every container's sandbox; the network handler, `inspect` and `ps` read this."""

from collections.abc import Iterator

import msgspec

from events.base import Event
from events.envelope import Recorded
from events.messages import network as m
from events.projections.tables import Projection


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A network as the log tells it."""

    id: str
    name: str
    driver: str
    subnets: tuple[m.Subnet, ...]
    options: dict[str, str]
    labels: dict[str, str]
    created_at_ns: int
    status: str = "creating"  # creating, ready
    version: int = 0


class SandboxState(msgspec.Struct, frozen=True, kw_only=True):
    """A container's sandbox as the log tells it; exists from its request to its end."""

    container_id: str
    mode: str
    endpoints: tuple[m.Endpoint, ...]
    ports: tuple[m.PublishedPort, ...]
    status: str = "connecting"  # connecting, connected
    version: int = 0


class Networks(Projection):
    """All networks, by id and name."""

    _by_id: dict[str, Network]

    def __iter__(self) -> Iterator[Network]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, network_id: str) -> Network | None:
        """By full id."""
        return self._by_id.get(network_id)

    def find(self, name: str) -> tuple[Network, ...]:
        """By full id, else by name, else all whose id starts so."""
        if name in self._by_id:
            return (self._by_id[name],)
        named = tuple(network for network in self._by_id.values() if network.name == name)
        return named or tuple(n for key, n in self._by_id.items() if name and key.startswith(name))

    def apply(self, recorded: Recorded) -> None:
        """Take in one event of a `network/` stream."""
        event = recorded.event
        network_id = recorded.stream.partition("/")[2]
        before = self._by_id.get(network_id)
        replace = msgspec.structs.replace
        if isinstance(event, m.NetworkCreateRequested):
            after = Network(
                id=network_id,
                name=event.name,
                driver=event.driver,
                subnets=event.subnets,
                options=event.options,
                labels=event.labels,
                created_at_ns=recorded.clock_ns,
            )
        elif before is None:
            return
        elif isinstance(event, m.NetworkCreated):
            after = replace(before, status="ready")
        elif isinstance(event, m.NetworkReconfigured):
            after = replace(before, subnets=event.subnets, options=event.options)
        else:
            after = before
        self._by_id[network_id] = replace(after, version=recorded.version)


class Sandboxes(Projection):
    """The sandboxes there are, by container id."""

    _by_container: dict[str, SandboxState]

    def __iter__(self) -> Iterator[SandboxState]:
        return iter(self._by_container.values())

    def __len__(self) -> int:
        return len(self._by_container)

    def get(self, container_id: str) -> SandboxState | None:
        """By the container's full id."""
        return self._by_container.get(container_id)

    def on_network(self, network_id: str) -> Iterator[tuple[SandboxState, m.Endpoint]]:
        """Every endpoint on a network."""
        for sandbox in self._by_container.values():
            for endpoint in sandbox.endpoints:
                if endpoint.network_id == network_id:
                    yield sandbox, endpoint

    def apply(self, recorded: Recorded) -> None:
        """Take in one event of a `sandbox/` stream."""
        event: Event = recorded.event
        container_id = recorded.stream.partition("/")[2]
        before = self._by_container.get(container_id)
        match event:
            case m.SandboxRequested():
                self._by_container[container_id] = SandboxState(
                    container_id=container_id,
                    mode=event.mode,
                    endpoints=event.endpoints,
                    ports=event.ports,
                    version=recorded.version,
                )
            case m.SandboxConnected() if before is not None:
                self._by_container[container_id] = msgspec.structs.replace(
                    before, status="connected", version=recorded.version
                )
            case m.SandboxConnectFailed() | m.SandboxDisconnected():
                self._by_container.pop(container_id, None)
            case _:
                pass
