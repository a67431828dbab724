"""What the network handler needs of network drivers, of the host's firewall and of port forwarding."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from events.messages.network import Endpoint, PublishedPort
from handlers.networks.names import HostNames, NameFileTexts


class BridgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a bridge network is to be; derived from the instance's name and the daemon's flags."""

    network_id: str
    bridge: str  # interface name
    subnet: str  # CIDR
    gateway: str  # the bridge's own address
    mtu: int = 1500
    masquerade: bool = True
    inter_container: bool = True


class NetworkDriver(Protocol):
    """Makes networks and endpoints of one kind. Creating what is there and removing what is absent succeed."""

    name: str

    async def ensure_network(self, settings: BridgeSettings) -> None:
        """Make or repair the network on the host."""

    async def connect(self, container_id: str, namespace_path: str, endpoint: Endpoint) -> None:
        """Put an endpoint into a sandbox: interface up, address, default route, loopback up."""

    async def disconnect(self, container_id: str, endpoint: Endpoint) -> None:
        """Cut it off: from now on nothing gets through and its address may be given to another; absent is fine.

        The kernel removes the interface with its namespace; `remove_link` does it at once, and waits for it.
        """

    async def list_links(self) -> frozenset[str]:
        """Host-side interface names with this instance's mark."""

    def link_name(self, endpoint: Endpoint) -> str:
        """Host-side interface name of an endpoint."""

    async def remove_link(self, name: str) -> None:
        """Remove a host-side interface with this instance's mark."""

    def choosing(self) -> AbstractAsyncContextManager[None]:
        """While entered no other engine on this host chooses a subnet (as far as they wait for one another)."""

    async def occupied(self, bridge: str = "") -> tuple[str, ...]:
        """Subnets (CIDR) that the host has an address in or a route to; those of `bridge` itself don't count."""


class PortPublisher(Protocol):
    """Makes container ports reachable on host addresses, also while the daemon is down."""

    async def publish(self, container_id: str, address: str, ports: Sequence[PublishedPort]) -> None:
        """All or nothing. Raises Conflict with Docker's wording when something else has a port."""

    async def withdraw(self, container_id: str) -> None:
        """Undo `publish`."""

    async def published(self) -> dict[str, tuple[PublishedPort, ...]]:
        """What is published now, by container id."""

    async def carries_ipv6(self) -> bool:
        """Whether a port can be published on the host's IPv6 addresses too."""

    async def keep(self) -> None:
        """Restore what was published whenever it is lost; runs until it is cancelled."""


class Namespaces(Protocol):
    """Network namespaces of containers, pinned under exec-root."""

    def path(self, container_id: str) -> str:
        """Where a container's namespace is pinned, whether it is there or not."""

    async def exists(self, container_id: str) -> bool:
        """Whether it is there."""

    async def create(self, container_id: str) -> str:
        """Make one with its loopback up, return its path; there already is fine."""

    async def remove(self, container_id: str) -> None:
        """Unpin it; absent is fine."""

    async def list(self) -> frozenset[str]:
        """Container ids that have one, or what is left of one."""


class NameFilePaths(msgspec.Struct, frozen=True, kw_only=True):
    """Absolute paths of the files that a container gets mounted."""

    hostname: str
    hosts: str
    resolv_conf: str


class NameFiles(Protocol):
    """The hostname, hosts and resolv.conf of every container, below data-root. Raises SystemFailure."""

    def paths(self, container_id: str) -> NameFilePaths:
        """Where a container's files are, whether they are there or not."""

    async def host(self) -> HostNames:
        """What the host itself uses."""

    async def write(self, container_id: str, texts: NameFileTexts) -> None:
        """Make or replace them (0644, root)."""

    async def change_hosts(self, container_id: str, change: Callable[[str], str]) -> None:
        """Rewrite the hosts file in place: a running container sees it. A very long one is left as it is."""

    async def remove(self, container_id: str) -> None:
        """Remove them; absent is fine."""
