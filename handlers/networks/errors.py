"""What can go wrong with networks, in Docker's words, which clients and their tests look for."""

from events.errors import Conflict, Forbidden, InvalidParameter, NotFound, SystemFailure, Unavailable
from events.messages.network import PublishedPort


def endpoint_text(address: str, port: int) -> str:
    """`0.0.0.0:80` or `[::]:80`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class NoSuchNetwork(NotFound):
    """No network has that name or id."""

    def __init__(self, network: str) -> None:
        super().__init__(f"network {network} not found")


class AmbiguousNetwork(InvalidParameter):
    """Several networks' ids start so."""

    def __init__(self, network: str) -> None:
        super().__init__(f"network {network} is ambiguous (more than one matches)")


class NetworkNotReady(Unavailable):
    """The host doesn't have the network (yet)."""

    def __init__(self, network: str, reason: str) -> None:
        super().__init__(f"network {network} could not be made on this host: {reason}")


class FixedAddressRefused(InvalidParameter):
    """The default bridge gives no addresses on request."""

    def __init__(self) -> None:
        super().__init__("user specified IP address is supported on user defined networks only")


class InvalidAddress(InvalidParameter):
    """Not an address, or not one of the network's."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"invalid IP address {address}: {reason}")


class InvalidHardwareAddress(InvalidParameter):
    """Not a MAC address that an interface can have."""

    def __init__(self, address: str) -> None:
        super().__init__(f"invalid MAC address: {address}")


class AddressInUse(Forbidden):
    """Somebody else on the network has the address."""

    def __init__(self) -> None:
        super().__init__("Address already in use")


class AddressesExhausted(Forbidden):
    """Every address of the network is taken."""

    def __init__(self, network: str, network_id: str) -> None:
        super().__init__(f"no available IPv4 addresses on this network's address pools: {network} ({network_id})")


class SubnetsExhausted(Unavailable):
    """Every default subnet overlaps something on this host."""

    def __init__(self) -> None:
        super().__init__("could not find an available, non-overlapping IPv4 address pool among the defaults")


class PortAllocated(Conflict):
    """Another container of ours has the port."""

    def __init__(self, address: str, port: int) -> None:
        self.address, self.port = address, port
        super().__init__(f"Bind for {endpoint_text(address, port)} failed: port is already allocated")


class PortsExhausted(Conflict):
    """Every port of the range is taken."""

    def __init__(self, address: str, first: int, last: int) -> None:
        self.address, self.first, self.last = address, first, last
        super().__init__(f"Bind for {address or '0.0.0.0'}:{first}-{last} failed: all ports are allocated")


class PortInUse(Conflict):
    """A process that isn't ours has the port, or the host hasn't the address."""

    def __init__(self, port: PublishedPort, container_address: str, reason: str) -> None:
        self.port = port
        host = endpoint_text(port.host_address, port.host_port)
        super().__init__(
            f"failed to bind host port for {host}:{container_address}:{port.container_port}/{port.protocol}: {reason}"
        )


class ConnectivityFailed(SystemFailure):
    """Ports couldn't be published; dockerd answers 500 to it, whatever the cause."""

    def __init__(self, endpoint_name: str, endpoint_id: str, cause: Exception) -> None:
        super().__init__(
            f"driver failed programming external connectivity on endpoint {endpoint_name} ({endpoint_id}): {cause}"
        )


class NotRunning(Conflict):
    """The container whose namespace is to be shared has none."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"cannot join network of a non running container: {container_id}")


class TakenDown(Conflict):
    """Somebody ended a sandbox while it was made."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"network of container {container_id} was taken down while it was made")


class AlreadyConnected(Conflict):
    """The container has a sandbox already."""

    def __init__(self, name: str, network: str) -> None:
        super().__init__(f"endpoint with name {name} already exists in network {network}")
