"""The network handler's drivers in memory; they keep the real ones' contracts and can be told to fail."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

import anyio
import anyio.lowlevel
import msgspec

from events.errors import InvalidParameter, SystemFailure
from events.messages.network import Endpoint, PublishedPort
from handlers.networks.errors import PortInUse
from handlers.networks.names import HostNames, NameFileTexts
from handlers.networks.port_choice import TakenPorts
from handlers.networks.ports import BridgeSettings, NameFilePaths

PREFIX = "fake-"


class FakeNetworkDriver:
    """Networks and links as names; `fail` holds methods that refuse, with how often."""

    name = "bridge"

    def __init__(self, occupied: Sequence[str] = ()) -> None:
        self.networks: dict[str, BridgeSettings] = {}
        self.links: dict[str, str] = {}  # name -> container id
        self.fail: dict[str, int] = {}
        self._occupied = tuple(occupied)

    def _refuse(self, method: str) -> None:
        if self.fail.get(method, 0):
            self.fail[method] -= 1
            raise SystemFailure(f"{method} refused")

    async def ensure_network(self, settings: BridgeSettings) -> None:
        self._refuse("ensure_network")
        self.networks[settings.network_id] = settings

    async def connect(self, container_id: str, namespace_path: str, endpoint: Endpoint) -> None:
        await anyio.lowlevel.checkpoint()
        self._refuse("connect")
        if endpoint.network_id not in self.networks:
            raise SystemFailure(f"network {endpoint.network_name} isn't there")
        self.links[self.link_name(endpoint)] = container_id

    async def disconnect(self, container_id: str, endpoint: Endpoint) -> None:
        self._refuse("disconnect")
        self.links.pop(self.link_name(endpoint), None)

    async def list_links(self) -> frozenset[str]:
        return frozenset(self.links)

    def link_name(self, endpoint: Endpoint) -> str:
        return PREFIX + endpoint.endpoint_id[:8]

    async def remove_link(self, name: str) -> None:
        if not name.startswith(PREFIX):
            raise InvalidParameter(f"interface {name} isn't this engine's")
        self.links.pop(name, None)

    def choosing(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def occupied(self, bridge: str = "") -> tuple[str, ...]:
        own = {settings.subnet for settings in self.networks.values() if settings.bridge != bridge}
        return (*self._occupied, *sorted(own))


class FakePortPublisher:
    """Ports as entries; `foreign` are those that processes which aren't ours have."""

    def __init__(self, *, ipv6: bool = True) -> None:
        self.entries: dict[str, tuple[str, tuple[PublishedPort, ...]]] = {}
        self.foreign = TakenPorts()
        self.fail_withdraw = 0
        self._ipv6 = ipv6

    async def publish(self, container_id: str, address: str, ports: Sequence[PublishedPort]) -> None:
        await anyio.lowlevel.checkpoint()
        taken = TakenPorts(
            port for other, (_, others) in self.entries.items() if other != container_id for port in others
        )
        for port in ports:
            for holders in (taken, self.foreign):
                if holders.conflict(port.host_address, port.host_port, port.protocol):
                    self.entries.pop(container_id, None)
                    raise PortInUse(port, address, "address already in use")
        self.entries[container_id] = (address, tuple(ports))

    async def withdraw(self, container_id: str) -> None:
        if self.fail_withdraw:
            self.fail_withdraw -= 1
            raise SystemFailure("withdraw refused")
        self.entries.pop(container_id, None)

    async def published(self) -> dict[str, tuple[PublishedPort, ...]]:
        return {container_id: ports for container_id, (_, ports) in self.entries.items()}

    async def carries_ipv6(self) -> bool:
        return self._ipv6

    async def keep(self) -> None:
        await anyio.sleep_forever()


class FakeNamespaces:
    """Namespaces as names."""

    def __init__(self) -> None:
        self.made: set[str] = set()

    def path(self, container_id: str) -> str:
        return f"/fake/netns/{container_id}"

    async def exists(self, container_id: str) -> bool:
        return container_id in self.made

    async def create(self, container_id: str) -> str:
        self.made.add(container_id)
        return self.path(container_id)

    async def remove(self, container_id: str) -> None:
        self.made.discard(container_id)

    async def list(self) -> frozenset[str]:
        return frozenset(self.made)


class FakeNameFiles:
    """Name files as structs."""

    def __init__(self, host: HostNames | None = None) -> None:
        self.written: dict[str, NameFileTexts] = {}
        self._host = host or HostNames(hosts="127.0.0.1\tlocalhost\n", resolv_conf="nameserver 192.0.2.53\n")

    def paths(self, container_id: str) -> NameFilePaths:
        base = f"/fake/containers/{container_id}"
        return NameFilePaths(hostname=f"{base}/hostname", hosts=f"{base}/hosts", resolv_conf=f"{base}/resolv.conf")

    async def host(self) -> HostNames:
        return self._host

    async def change_hosts(self, container_id: str, change: Callable[[str], str]) -> None:
        texts = self.written[container_id]
        self.written[container_id] = msgspec.structs.replace(texts, hosts=change(texts.hosts))

    async def write(self, container_id: str, texts: NameFileTexts) -> None:
        self.written[container_id] = texts

    async def remove(self, container_id: str) -> None:
        self.written.pop(container_id, None)
