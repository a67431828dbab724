"""Chooses host ports; pure. Without it a wildcard and a specific address could both be promised the same port."""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from events.errors import InvalidParameter, Unsupported
from events.messages.network import PortRequest, PublishedPort
from handlers.networks.errors import PortAllocated, PortsExhausted

FIRST_EPHEMERAL = 32768
LAST_EPHEMERAL = 60999
LAST_PORT = 65535
WILDCARDS = ("0.0.0.0", "::")  # names, not something that is bound here
PROTOCOLS = ("tcp", "udp", "sctp")
_FORWARDED = ("tcp", "udp")  # IPv6 goes through the forwarder, which doesn't speak sctp


class TakenPorts:
    """Which host ports are promised; an address conflicts with itself and with its family's wildcard."""

    def __init__(self, ports: Iterable[PublishedPort] = ()) -> None:
        self._addresses: dict[tuple[str, int], set[str]] = defaultdict(set)
        for port in ports:
            self.add(port)

    def add(self, port: PublishedPort) -> None:
        """Take in one more."""
        self._addresses[port.protocol, port.host_port].add(port.host_address)

    def conflict(self, address: str, port: int, protocol: str) -> bool:
        """Whether somebody has it."""
        holders = self._addresses.get((protocol, port))
        if not holders:
            return False
        wildcard = WILDCARDS[":" in address]
        if address == wildcard:
            return any((":" in holder) == (":" in address) for holder in holders)
        return address in holders or wildcard in holders


def choose_ports(
    requests: Sequence[PortRequest], taken: TakenPorts, *, after: int = 0, ipv6: bool = True
) -> tuple[PublishedPort, ...]:
    """What each request gets, in order; `taken` grows by it. Fixed ports come first, so that no free choice takes them.

    An empty host address means all, IPv4 and (if `ipv6`) IPv6, under one number. `after` is the last ephemeral port
    given. Raises PortAllocated, PortsExhausted, InvalidParameter.
    """
    chosen: dict[int, tuple[PublishedPort, ...]] = {}
    for index in sorted(range(len(requests)), key=lambda i: _freedom(requests[i])):
        request = requests[index]
        chosen[index] = _choose(request, _addresses(request, ipv6=ipv6), taken, after)
        for port in chosen[index]:
            taken.add(port)
    return tuple(port for index in range(len(requests)) for port in chosen[index])


def is_flexible(requests: Iterable[PortRequest], port: PublishedPort) -> bool:
    """Whether another host port would do for what `port` was given to."""
    return any(
        _freedom(request) > 0
        and (request.container_port, request.protocol) == (port.container_port, port.protocol)
        and _within(request, port.host_port)
        for request in requests
    )


def _within(request: PortRequest, port: int) -> bool:
    return request.host_port == 0 or request.host_port <= port <= request.host_port_end


def _freedom(request: PortRequest) -> int:
    if request.host_port == 0:
        return LAST_PORT
    return max(request.host_port_end - request.host_port, 0)


def _choose(request: PortRequest, addresses: Sequence[str], taken: TakenPorts, after: int) -> tuple[PublishedPort, ...]:
    for candidate in _candidates(request, after):
        if not any(taken.conflict(address, candidate, request.protocol) for address in addresses):
            return tuple(
                PublishedPort(
                    container_port=request.container_port,
                    protocol=request.protocol,
                    host_address=address,
                    host_port=candidate,
                )
                for address in addresses
            )
    if request.host_port and _freedom(request) == 0:
        raise PortAllocated(addresses[0], request.host_port)
    raise PortsExhausted(addresses[0], request.host_port or FIRST_EPHEMERAL, request.host_port_end or LAST_EPHEMERAL)


def _candidates(request: PortRequest, after: int) -> Iterator[int]:
    if request.host_port:
        return iter(range(request.host_port, max(request.host_port, request.host_port_end) + 1))
    start = after + 1 if FIRST_EPHEMERAL <= after < LAST_EPHEMERAL else FIRST_EPHEMERAL
    return chain(range(start, LAST_EPHEMERAL + 1), range(FIRST_EPHEMERAL, start))


def _addresses(request: PortRequest, *, ipv6: bool) -> tuple[str, ...]:
    _check(request)
    if not request.host_address:
        return WILDCARDS if ipv6 and request.protocol in _FORWARDED else WILDCARDS[:1]
    try:
        address = str(ipaddress.ip_address(request.host_address.strip("[]")))
    except ValueError as error:
        raise InvalidParameter(f"invalid IP address: {request.host_address}") from error
    if ":" in address and not (ipv6 and request.protocol in _FORWARDED):
        raise Unsupported(f"{request.protocol} ports can't be published on IPv6 address {address} of this host")
    return (address,)


def _check(request: PortRequest) -> None:
    if request.protocol not in PROTOCOLS:
        raise InvalidParameter(f"invalid proto: {request.protocol}")
    if not 1 <= request.container_port <= LAST_PORT:
        raise InvalidParameter(f"invalid container port: {request.container_port}")
    if not (0 <= request.host_port <= LAST_PORT and 0 <= request.host_port_end <= LAST_PORT):
        raise InvalidParameter(f"invalid host port: {request.host_port}")
