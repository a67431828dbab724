"""Chooses subnets and addresses; pure, so that it can be shown never to give one twice."""

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain

from events.errors import InvalidParameter
from events.messages.network import Subnet
from handlers.networks.errors import (
    AddressInUse,
    InvalidAddress,
    InvalidHardwareAddress,
    SubnetsExhausted,
)
from handlers.networks.settings import AddressPool

_HARDWARE_ADDRESS = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")
_LARGEST_LINK_PREFIX = 31  # from here on a subnet has no network and broadcast address (RFC 3021)


def free_address(subnet: Subnet, is_taken: Callable[[str], bool], after: str = "") -> str | None:
    """The next free address behind `after`, round the subnet once; None when all are taken.

    Network address, broadcast address and gateway are never given.
    """
    for candidate in _circle(subnet, after):
        address = str(candidate)
        if address != subnet.gateway and not is_taken(address):
            return address
    return None


def fixed_address(subnet: Subnet, address: str, is_taken: Callable[[str], bool]) -> str:
    """An address that was asked for. Raises InvalidAddress, AddressInUse."""
    wanted = parse_address(address)
    network = ipaddress.IPv4Network(subnet.subnet)
    if wanted not in network:
        raise InvalidAddress(address, f"not in subnet {subnet.subnet}")
    first, last = _bounds(network)
    if not first <= int(wanted) <= last or str(wanted) == subnet.gateway or is_taken(str(wanted)):
        raise AddressInUse
    return str(wanted)


def is_free(subnet: Subnet, address: str, is_taken: Callable[[str], bool]) -> bool:
    """Whether a container could have an address that is wished for."""
    try:
        return fixed_address(subnet, address, is_taken) == address
    except (InvalidAddress, AddressInUse):
        return False


def parse_address(address: str) -> ipaddress.IPv4Address:
    """Raises InvalidAddress."""
    try:
        return ipaddress.IPv4Address(address)
    except ValueError as error:
        raise InvalidAddress(address, "not an IPv4 address") from error


def hardware_address(address: str) -> str:
    """The MAC address that belongs to an IPv4 address: 02:42 and its four bytes, as Docker long did.

    An address that comes back with another container keeps its MAC address, so no neighbour has to learn anew.
    """
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *ipaddress.IPv4Address(address).packed))


def checked_hardware_address(address: str) -> str:
    """A MAC address that was asked for, in lower case. Raises InvalidHardwareAddress."""
    if not _HARDWARE_ADDRESS.fullmatch(address) or int(address[:2], 16) & 1:
        raise InvalidHardwareAddress(address)
    return address.lower().replace("-", ":")


def subnet_of(own_address: str) -> Subnet:
    """The subnet of a bridge address such as `192.168.5.1/24` (`--bip`). Raises InvalidParameter."""
    try:
        interface = ipaddress.IPv4Interface(own_address)
    except ValueError as error:
        raise InvalidParameter(f"invalid bridge address {own_address}: {error}") from error
    first, last = _bounds(interface.network)
    if not first <= int(interface.ip) <= last or "/" not in own_address:
        raise InvalidParameter(f"invalid bridge address {own_address}: no host address with a prefix length")
    return Subnet(subnet=str(interface.network), gateway=str(interface.ip))


def free_subnet(pools: Iterable[AddressPool], occupied: Collection[str]) -> Subnet:
    """The first subnet of the pools that overlaps nothing occupied (CIDRs). Raises SubnetsExhausted."""
    taken = [ipaddress.IPv4Network(cidr, strict=False) for cidr in occupied]
    for pool in pools:
        for candidate in ipaddress.IPv4Network(pool.base).subnets(new_prefix=pool.size):
            if not any(candidate.overlaps(other) for other in taken):
                return Subnet(subnet=str(candidate), gateway=str(candidate[1]))
    raise SubnetsExhausted


def prefix_length(subnet: Subnet) -> int:
    """Bits of the subnet's prefix."""
    return ipaddress.IPv4Network(subnet.subnet).prefixlen


def _bounds(network: ipaddress.IPv4Network) -> tuple[int, int]:
    first, last = int(network.network_address), int(network.broadcast_address)
    return (first, last) if network.prefixlen >= _LARGEST_LINK_PREFIX else (first + 1, last - 1)


def _circle(subnet: Subnet, after: str) -> Iterator[ipaddress.IPv4Address]:
    network = ipaddress.IPv4Network(subnet.subnet)
    first, last = _bounds(network)
    if subnet.ip_range:
        part = ipaddress.IPv4Network(subnet.ip_range)
        first, last = max(first, int(part.network_address)), min(last, int(part.broadcast_address))
    start = int(ipaddress.IPv4Address(after)) + 1 if after else first
    if not first <= start <= last:
        start = first
    for number in chain(range(start, last + 1), range(first, start)):
        yield ipaddress.IPv4Address(number)
