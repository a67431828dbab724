"""The networks that every engine has (bridge, host, none): in the log, and the bridge on the host too."""

import ipaddress
import logging

import anyio

from events.errors import DeadlineExceeded, EngineError
from events.messages.network import NetworkCreated, NetworkCreateRequested, NetworkReconfigured, Subnet
from events.projections.networks import Network
from handlers.context import Context
from handlers.networks.addresses import free_subnet, subnet_of
from handlers.networks.decide import BRIDGE, PREDEFINED_DRIVERS
from handlers.networks.errors import NetworkNotReady, SubnetsExhausted
from handlers.networks.parts import Parts
from handlers.networks.ports import BridgeSettings

_ATTEMPTS = 5
_FIRST_PAUSE_S = 0.1
_ATTEMPT_LIMIT_S = 10.0
_log = logging.getLogger(__name__)


class PredefinedNetworks:
    """Makes them, keeps them as the daemon's flags say."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._settings, self._driver = parts.settings, parts.driver
        self._on_host: set[str] = set()
        self._making = anyio.Lock()

    async def ensure(self, context: Context) -> None:
        """Bring the log up to date, then the host. Raises EngineError when the host refuses the bridge."""
        async with self._driver.choosing():  # until the bridge is on the host, where others see its subnet
            for name in PREDEFINED_DRIVERS:
                if not context.state.networks.find(name):
                    await self._create(context, name)
            await self._reconfigure(context, self._named(context, BRIDGE))
            for name in PREDEFINED_DRIVERS:
                await self._make_with_retries(context, self._named(context, name))

    async def require(self, context: Context, network_id: str) -> None:
        """Make sure that the host has a network, before an endpoint is put on it. Raises NetworkNotReady."""
        network = context.state.networks.get(network_id)
        if network is None or network_id in self._on_host:
            return
        async with self._making:
            if network_id in self._on_host:
                return
            try:
                await self._make(context, network)
            except EngineError as error:
                raise NetworkNotReady(network.name, str(error)) from error

    def gateway(self, context: Context) -> str:
        """The default bridge's own address, "" while there is none."""
        found = context.state.networks.find(BRIDGE)
        return found[0].subnets[0].gateway if found and found[0].subnets else ""

    def _named(self, context: Context, name: str) -> Network:
        return context.state.networks.find(name)[0]

    async def _create(self, context: Context, name: str) -> None:
        network_id = context.ids.new()
        event = NetworkCreateRequested(
            network_id=network_id,
            name=name,
            driver=PREDEFINED_DRIVERS[name],
            subnets=(await self._choose_subnet(),) if name == BRIDGE else (),
            options=self._options() if name == BRIDGE else {},
        )
        await context.append(f"network/{network_id}", event, take=(f"network/{name}",))

    async def _reconfigure(self, context: Context, network: Network) -> None:
        subnets, options = await self._wanted_subnets(context, network), self._options()
        if (subnets, options) == (network.subnets, network.options):
            return
        event = NetworkReconfigured(network_id=network.id, subnets=subnets, options=options)
        await context.append(f"network/{network.id}", event)

    async def _wanted_subnets(self, context: Context, network: Network) -> tuple[Subnet, ...]:
        in_use = any(context.state.sandboxes.on_network(network.id))
        if self._settings.bip:
            wanted = (subnet_of(self._settings.bip),)
        elif in_use or not await self._overlaps(network):
            return network.subnets
        else:
            return await self._another_subnet(network)
        if wanted != network.subnets and in_use:
            _log.warning("network %s keeps subnet %s: containers are on it", network.name, network.subnets[0].subnet)
            return network.subnets
        return wanted

    async def _another_subnet(self, network: Network) -> tuple[Subnet, ...]:
        try:
            return (await self._choose_subnet(),)
        except SubnetsExhausted:
            _log.warning("network %s keeps subnet %s: no other is free", network.name, network.subnets[0].subnet)
            return network.subnets

    async def _overlaps(self, network: Network) -> bool:
        own = ipaddress.IPv4Network(network.subnets[0].subnet)
        occupied = await self._driver.occupied(self._parts.instance.bridge)
        return any(own.overlaps(ipaddress.IPv4Network(cidr, strict=False)) for cidr in occupied)

    async def _choose_subnet(self) -> Subnet:
        if self._settings.bip:
            return subnet_of(self._settings.bip)
        return free_subnet(self._settings.address_pools, await self._driver.occupied(self._parts.instance.bridge))

    async def _make_with_retries(self, context: Context, network: Network) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._make(context, network)
            except EngineError:
                if attempt == _ATTEMPTS:
                    raise
                await anyio.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
            else:
                return

    async def _make(self, context: Context, network: Network) -> None:
        if network.driver == self._driver.name:
            await self._make_on_host(network)
        if network.status == "creating":
            await context.append(f"network/{network.id}", NetworkCreated(network_id=network.id))
        self._on_host.add(network.id)

    async def _make_on_host(self, network: Network) -> None:
        try:
            with anyio.fail_after(_ATTEMPT_LIMIT_S):
                await self._driver.ensure_network(self._bridge_settings(network))
        except TimeoutError as error:
            raise DeadlineExceeded(f"network {network.name} took longer than {_ATTEMPT_LIMIT_S:.0f} s") from error

    def _bridge_settings(self, network: Network) -> BridgeSettings:
        return BridgeSettings(
            network_id=network.id,
            bridge=self._parts.instance.bridge,
            subnet=network.subnets[0].subnet,
            gateway=network.subnets[0].gateway,
            mtu=self._settings.mtu,
            masquerade=self._settings.ip_masquerade,
            inter_container=self._settings.inter_container,
        )

    def _options(self) -> dict[str, str]:
        """As dockerd shows them in `network inspect bridge`."""
        return {
            "com.docker.network.bridge.default_bridge": "true",
            "com.docker.network.bridge.enable_icc": _word(self._settings.inter_container),
            "com.docker.network.bridge.enable_ip_masquerade": _word(self._settings.ip_masquerade),
            "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
            "com.docker.network.bridge.name": self._parts.instance.bridge,
            "com.docker.network.driver.mtu": str(self._settings.mtu),
        }


def _word(value: bool) -> str:  # noqa: FBT001  # it is what the function is about
    return "true" if value else "false"
