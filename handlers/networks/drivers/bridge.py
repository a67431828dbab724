"""Networks that are a Linux bridge on the host, and endpoints that are veth pairs plugged into it.

Sources: https://docs.kernel.org/networking/bridge.html, https://docs.kernel.org/networking/ip-sysctl.html.
"""

import errno
import ipaddress
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from events.errors import InvalidParameter, SystemFailure
from events.messages.network import Endpoint
from handlers.instance import Instance
from handlers.kernel.namespaces import inside
from handlers.kernel.netlink import Netlink, NetlinkError
from handlers.networks.drivers import links
from handlers.networks.drivers.iptables import ForwardRules
from handlers.networks.drivers.nft import NftFirewall
from handlers.networks.ports import BridgeSettings

Result = TypeVar("Result")

_IDENTIFIER_DIGITS = 8
_HALVES = ("/0", "/1")  # ways to everywhere, as some tunnels set them beside the default route
_TURN_NAME = "\0shiplog-subnet-choice"
_TURN_ATTEMPTS = 200
_TURN_PAUSE_S = 0.05
_SYSCTL = Path("/proc/sys/net/ipv4")
_log = logging.getLogger(__name__)


class BridgeDriver:
    """`NetworkDriver` of handlers/networks/ports.py. `firewall` None: no rule is made (`--iptables=false`)."""

    name = "bridge"

    def __init__(self, instance: Instance, firewall: NftFirewall | None) -> None:
        self._prefix = instance.link_prefix
        self._firewall = firewall
        self._forward_rules = ForwardRules(instance.firewall_table)
        self._networks: dict[str, BridgeSettings] = {}

    async def ensure_network(self, settings: BridgeSettings) -> None:
        """Make or repair the bridge, its address, forwarding and firewall rules."""
        await self._in_thread(lambda: _ensure_bridge(settings))
        if self._firewall is not None:
            await self._firewall.ensure_network(settings)
            await self._forward_rules.ensure(settings.bridge)
        self._networks[settings.network_id] = settings

    async def connect(self, container_id: str, namespace_path: str, endpoint: Endpoint) -> None:
        """Put an endpoint into a sandbox: interface up, address, default route."""
        settings = self._networks.get(endpoint.network_id)
        if settings is None:
            raise SystemFailure(f"network {endpoint.network_name} isn't there on this host")
        await self._in_thread(lambda: _connect(settings, self.link_name(endpoint), namespace_path, endpoint))

    async def disconnect(self, container_id: str, endpoint: Endpoint) -> None:
        """Cut it off; the kernel removes the pair with the namespace."""
        await self._in_thread(lambda: _silence(self.link_name(endpoint)))

    async def list_links(self) -> frozenset[str]:
        """Host-side interface names with this instance's mark."""
        return await self._in_thread(lambda: _names_with(self._prefix))

    def link_name(self, endpoint: Endpoint) -> str:
        """Host-side interface name of an endpoint."""
        return self._prefix + endpoint.endpoint_id[:_IDENTIFIER_DIGITS]

    async def remove_link(self, name: str) -> None:
        """Remove a host-side interface; absent is fine. Raises InvalidParameter for one that isn't ours."""
        if not name.startswith(self._prefix):
            raise InvalidParameter(f"interface {name} isn't this engine's")
        await self._in_thread(lambda: _remove(name))

    @asynccontextmanager
    async def choosing(self) -> AsyncIterator[None]:
        """Wait for a turn among the engines of this network namespace, for a while; then go on without one."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as turn:
            if not await _take(turn, _TURN_NAME):
                _log.warning("another engine takes long to choose its subnet; not waiting any longer")
            yield

    async def occupied(self, bridge: str = "") -> tuple[str, ...]:
        """Subnets that the host has an address in or a route to; those of `bridge` itself don't count."""
        return await self._in_thread(lambda: _occupied(bridge))

    async def _in_thread(self, action: Callable[[], Result]) -> Result:
        try:
            return await anyio.to_thread.run_sync(action)
        except OSError as error:
            raise SystemFailure(f"bridge network: {error}") from error


async def _take(turn: socket.socket, name: str) -> bool:
    """Bind an abstract name, which only one socket in a network namespace can have, and which ends with it."""
    for _ in range(_TURN_ATTEMPTS):
        try:
            turn.bind(name)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SystemFailure(f"bridge network: {error}") from error
            await anyio.sleep(_TURN_PAUSE_S)
        else:
            return True
    return False


def _ensure_bridge(settings: BridgeSettings) -> None:
    prefix_length = ipaddress.IPv4Network(settings.subnet).prefixlen
    with Netlink() as netlink:
        links.add_bridge(netlink, settings.bridge, "02:42:" + secrets.token_bytes(4).hex(":"))
        index = _index(settings.bridge)
        if index is None:
            raise SystemFailure(f"bridge {settings.bridge} vanished")
        links.set_only_address(netlink, index, settings.gateway, prefix_length)
        links.raise_link(netlink, index, settings.mtu)
    _switch_on(_SYSCTL / "conf" / settings.bridge / "route_localnet")  # 127.0.0.1:PORT goes to containers
    if _switch_on(_SYSCTL / "ip_forward"):
        _log.warning("IPv4 forwarding was off on this host; it is on now, for all interfaces")


def _switch_on(path: Path) -> bool:
    """Write 1 where there isn't; whether that was needed."""
    if path.read_text().strip() == "1":
        return False
    path.write_text("1")
    return True


def _connect(settings: BridgeSettings, name: str, namespace_path: str, endpoint: Endpoint) -> None:
    with Netlink() as netlink:
        if _index(name) is None:
            _add_pair(netlink, settings, name, namespace_path, endpoint)
        index, inner = inside(namespace_path, lambda: (socket.if_nametoindex(endpoint.interface), Netlink()))
        with inner:
            links.configure(
                inner,
                index,
                address=endpoint.address,
                prefix_length=endpoint.prefix_length,
                gateway=endpoint.gateway,
            )
            links.await_port(netlink, name)
            links.announce(inner, endpoint.interface, endpoint.mac_address)


def _add_pair(netlink: Netlink, settings: BridgeSettings, name: str, namespace_path: str, endpoint: Endpoint) -> None:
    bridge = _index(settings.bridge)
    if bridge is None:
        raise SystemFailure(f"bridge {settings.bridge} isn't there any more")
    namespace = os.open(namespace_path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        links.add_veth(
            netlink,
            name,
            bridge=bridge,
            mtu=settings.mtu,
            isolated=not settings.inter_container,
            namespace=namespace,
            peer=endpoint.interface,
            peer_address=endpoint.mac_address,
        )
    except NetlinkError:
        links.remove(netlink, name)
        raise
    finally:
        os.close(namespace)


def _silence(name: str) -> None:
    with Netlink() as netlink:
        links.silence_port(netlink, name)


def _remove(name: str) -> None:
    with Netlink() as netlink:
        links.remove(netlink, name)


def _index(name: str) -> int | None:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def _names_with(prefix: str) -> frozenset[str]:
    return frozenset(name for _, name in socket.if_nameindex() if name.startswith(prefix))


def _occupied(bridge: str) -> tuple[str, ...]:
    own = _index(bridge)
    with Netlink() as netlink:
        found = (*links.addresses(netlink), *links.routes(netlink))
    return tuple(dict.fromkeys(cidr for owner, cidr in found if owner != own and not cidr.endswith(_HALVES)))
