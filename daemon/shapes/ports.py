"""Ports of a container, as `80/tcp` in texts and as numbers; lists, inspect and filters read the same texts."""

from collections.abc import Iterator

import msgspec

from daemon.shapes.go_values import JsonObject
from events.messages.network import PublishedPort
from events.projections.containers import Container
from events.projections.networks import SandboxState

Port = tuple[int, str]  # number, protocol


class PortRange(msgspec.Struct, frozen=True):
    """Ports of one protocol, both ends included."""

    first: int
    last: int
    protocol: str

    def __contains__(self, port: Port) -> bool:
        return port[1] == self.protocol and self.first <= port[0] <= self.last

    def __iter__(self) -> Iterator[Port]:
        return ((number, self.protocol) for number in range(self.first, self.last + 1))


def parse_range(text: str) -> PortRange:
    """`80`, `80/udp` or `8000-8010/tcp`. Raises ValueError."""
    numbers, _, protocol = text.partition("/")
    first, _, last = numbers.partition("-")
    return PortRange(int(first), int(last or first), (protocol or "tcp").lower())


def exposed(container: Container) -> frozenset[Port]:
    """Every port that the image, the container or a binding names."""
    texts = (*container.config.exposed_ports, *container.host.port_bindings)
    return frozenset(port for text in texts for port in parse_range(text))


def port_map(container: Container, sandbox: SandboxState | None) -> JsonObject:
    """`NetworkSettings.Ports`: null for a port that is exposed and not published; empty without a network."""
    if not _has_ports(sandbox):
        return {}
    ports: dict[str, list[JsonObject] | None] = {
        f"{number}/{kind}": None for number, kind in sorted(exposed(container))
    }
    for published in sandbox.ports if sandbox else ():
        key = f"{published.container_port}/{published.protocol}"
        binding: JsonObject = {"HostIp": published.host_address, "HostPort": str(published.host_port)}
        ports[key] = [*(ports.get(key) or ()), binding]
    return {**ports}


def port_list(container: Container, sandbox: SandboxState | None) -> list[JsonObject]:
    """`Ports` of a list entry: what is published first, then what is only exposed."""
    if sandbox is None or not _has_ports(sandbox):
        return []
    published = {(port.container_port, port.protocol) for port in sandbox.ports}
    rest = sorted(exposed(container) - published)
    return [_published(port) for port in sandbox.ports] + [{"PrivatePort": n, "Type": kind} for n, kind in rest]


def _published(port: PublishedPort) -> JsonObject:
    return {
        "IP": port.host_address,
        "PrivatePort": port.container_port,
        "PublicPort": port.host_port,
        "Type": port.protocol,
    }


def _has_ports(sandbox: SandboxState | None) -> bool:
    """Only a network of the container's own maps ports."""
    return sandbox is not None and sandbox.mode not in ("host", "none") and not sandbox.mode.startswith("container:")
