"""What a sandbox gets: its endpoints, addresses, ports and claims. Pure: reads the state, touches nothing."""

from collections.abc import Callable, Iterable

import msgspec

from events.messages.network import ADDRESS_WISH, Endpoint, EndpointRequest, OpenSandbox, PortRequest, PublishedPort
from events.projections.networks import Network, Networks, Sandboxes, SandboxState
from events.projections.state import State
from handlers.endpoint_options import interface_name
from handlers.networks.addresses import (
    checked_hardware_address,
    fixed_address,
    free_address,
    hardware_address,
    is_free,
    prefix_length,
)
from handlers.networks.errors import (
    AddressesExhausted,
    AlreadyConnected,
    AmbiguousNetwork,
    ConnectivityFailed,
    FixedAddressRefused,
    NoSuchNetwork,
    NotRunning,
    PortAllocated,
    PortsExhausted,
    endpoint_text,
)
from handlers.networks.port_choice import TakenPorts, choose_ports

BRIDGE = "bridge"
HOST = "host"
NONE = "none"
PREDEFINED_DRIVERS = {BRIDGE: "bridge", HOST: "host", NONE: "null"}
_SHARED = "container:"
_SHARING_DEPTH = 16


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision heeds beside the state: where the last one stopped, and what turned out to be taken."""

    address_after: dict[str, str] = {}  # by network id
    port_after: int = 0
    taken_claims: frozenset[str] = frozenset()
    taken_ports: tuple[PublishedPort, ...] = ()
    ipv6: bool = True


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox that can be made."""

    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[PublishedPort, ...] = ()

    @property
    def claims(self) -> tuple[str, ...]:
        """What must be nobody else's."""
        return claims_of(self.endpoints, self.ports)


def claims_of(endpoints: Iterable[Endpoint], ports: Iterable[PublishedPort]) -> tuple[str, ...]:
    """The claims of a sandbox with these endpoints and ports."""
    return (
        *(address_claim(e.network_id, e.address) for e in endpoints if e.address),
        *(port_claim(port) for port in ports),
    )


def address_claim(network_id: str, address: str) -> str:
    """`address/<network id>/<ip>`."""
    return f"address/{network_id}/{address}"


def port_claim(port: PublishedPort) -> str:
    """`port/<address>:<port>/<protocol>`, an IPv6 address in brackets."""
    return f"port/{endpoint_text(port.host_address, port.host_port)}/{port.protocol}"


def sandbox_stream(container_id: str) -> str:
    """The stream of a container's sandbox."""
    return f"sandbox/{container_id}"


def plan_sandbox(command: OpenSandbox, state: State, circumstances: Circumstances, new_id: Callable[[], str]) -> Plan:
    """What the container gets. Raises the errors of handlers/networks/errors.py."""
    existing = state.sandboxes.get(command.container_id)
    if existing is not None:
        raise AlreadyConnected(command.container_name, existing.mode)
    if shared_with(command.mode):
        namespace_owner(state.sandboxes, command.mode)
        return Plan()
    if command.mode in (HOST, NONE):
        return Plan(endpoints=(_bare_endpoint(find_network(state.networks, command.mode), new_id()),))
    requests = command.endpoints or (EndpointRequest(network=command.mode),)
    endpoints = tuple(
        _endpoint(request, f"eth{index}", state, circumstances, new_id()) for index, request in enumerate(requests)
    )
    ports = plan_ports(command.container_name, endpoints, command.ports, state.sandboxes, circumstances)
    return Plan(endpoints=endpoints, ports=ports)


def plan_ports(
    container_name: str,
    endpoints: tuple[Endpoint, ...],
    requests: tuple[PortRequest, ...],
    others: Iterable[SandboxState],
    circumstances: Circumstances,
) -> tuple[PublishedPort, ...]:
    """Host ports that no other sandbox has. Raises ConnectivityFailed."""
    taken = TakenPorts(port for sandbox in others for port in sandbox.ports)
    for port in circumstances.taken_ports:
        taken.add(port)
    try:
        return choose_ports(requests, taken, after=circumstances.port_after, ipv6=circumstances.ipv6)
    except (PortAllocated, PortsExhausted) as error:
        raise ConnectivityFailed(container_name, endpoints[0].endpoint_id, error) from error


def find_network(networks: Networks, name: str) -> Network:
    """By id, name or prefix of an id. Raises NoSuchNetwork, AmbiguousNetwork."""
    found = networks.find(name)
    if not found:
        raise NoSuchNetwork(name)
    if len(found) > 1:
        raise AmbiguousNetwork(name)
    return found[0]


def shared_with(mode: str) -> str:
    """The container id in `container:<id>`, or ""."""
    return mode.removeprefix(_SHARED) if mode.startswith(_SHARED) else ""


def namespace_owner(sandboxes: Sandboxes, mode: str) -> SandboxState:
    """Whose namespace a `container:<id>` joins, through containers that share one themselves. Raises NotRunning."""
    for _ in range(_SHARING_DEPTH):
        owner = sandboxes.get(shared_with(mode))
        if owner is None or owner.status != "connected":
            break
        if not shared_with(owner.mode):
            return owner
        mode = owner.mode
    raise NotRunning(shared_with(mode))


def _bare_endpoint(network: Network, endpoint_id: str) -> Endpoint:
    return Endpoint(
        endpoint_id=endpoint_id,
        network_id=network.id,
        network_name=network.name,
        interface="",
        address="",
        prefix_length=0,
        gateway="",
        mac_address="",
    )


def _endpoint(
    request: EndpointRequest, interface: str, state: State, circumstances: Circumstances, endpoint_id: str
) -> Endpoint:
    network = find_network(state.networks, request.network)
    if not network.subnets:
        return _bare_endpoint(network, endpoint_id)
    subnet = network.subnets[0]
    address = _address(request, network, state, circumstances)
    requested = request.mac_address
    return Endpoint(
        endpoint_id=endpoint_id,
        network_id=network.id,
        network_name=network.name,
        interface=interface_name(request.driver_options, interface),
        address=address,
        prefix_length=prefix_length(subnet),
        gateway=subnet.gateway,
        mac_address=checked_hardware_address(requested) if requested else hardware_address(address),
    )


def _address(request: EndpointRequest, network: Network, state: State, circumstances: Circumstances) -> str:
    used = {endpoint.address for _, endpoint in state.sandboxes.on_network(network.id)}

    def is_taken(address: str) -> bool:
        return address in used or address_claim(network.id, address) in circumstances.taken_claims

    subnet = network.subnets[0]
    if request.address:
        if network.name in PREDEFINED_DRIVERS:
            raise FixedAddressRefused
        return fixed_address(subnet, request.address, is_taken)
    wish = request.driver_options.get(ADDRESS_WISH, "")
    if wish and is_free(subnet, wish, is_taken):
        return wish
    address = free_address(subnet, is_taken, circumstances.address_after.get(network.id, ""))
    if address is None:
        raise AddressesExhausted(network.name, network.id)
    return address
