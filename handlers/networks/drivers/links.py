"""Bridges, veth pairs, addresses and routes as rtnetlink messages; blocking, one open socket per call site.

Sources: man 7 rtnetlink; linux/rtnetlink.h, if_link.h, if_addr.h, if_bridge.h, veth.h.
"""

import errno
import ipaddress
import socket
import struct
import sys
import time

import msgspec

from handlers.kernel import netlink as n
from handlers.kernel.netlink import Message, Netlink, NetlinkError

_NEW_LINK, _DELETE_LINK, _GET_LINK, _SET_LINK = 16, 17, 18, 19
_NEW_ADDRESS, _DELETE_ADDRESS, _GET_ADDRESS = 20, 21, 22
_NEW_ROUTE, _GET_ROUTE = 24, 26

_LINK_ADDRESS, _LINK_NAME, _LINK_MTU, _LINK_MASTER, _LINK_PORT, _LINK_INFO, _LINK_NAMESPACE = 1, 3, 4, 10, 12, 18, 28
_INFO_KIND, _INFO_DATA, _INFO_PORT_KIND, _INFO_PORT_DATA = 1, 2, 4, 5
_VETH_PEER = 1
_PORT_STATE, _PORT_HAIRPIN, _PORT_LEARNING, _PORT_FLUSH, _PORT_ISOLATED = 1, 4, 8, 24, 33
_PORT_FORWARDING = 3
_PORT_FLOODS = (9, 27, 30)  # unknown unicast, multicast, broadcast
_ADDRESS_ADDRESS, _ADDRESS_LOCAL = 1, 2
_ROUTE_DESTINATION, _ROUTE_INTERFACE, _ROUTE_GATEWAY = 1, 4, 5

_TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _UNICAST = 254, 3, 0, 1
_UP = 1

PORT_LIMIT_S = 5.0
_PORT_PAUSE_S = 0.0003
_ABSENT = (errno.ENODEV, errno.ENOENT)

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """An interface as the kernel tells it."""

    index: int
    name: str
    master: int = 0
    mtu: int = 0


def find(netlink: Netlink, name: str) -> Link | None:
    """An interface by name."""
    try:
        return _link(netlink.query(Message(type=_GET_LINK, body=_LINK.pack(0, 0, 0, 0, 0) + n.text(_LINK_NAME, name))))
    except NetlinkError as error:
        if error.errno in _ABSENT:
            return None
        raise


def all_links(netlink: Netlink) -> list[Link]:
    """Every interface of the namespace."""
    return [_link(body) for body in netlink.dump(Message(type=_GET_LINK, body=_LINK.pack(0, 0, 0, 0, 0)))]


def add_bridge(netlink: Netlink, name: str, hardware_address: str) -> None:
    """Make a bridge; there already is fine. With an address set it doesn't change when its ports come and go."""
    body = (
        _LINK.pack(0, 0, 0, 0, 0)
        + n.text(_LINK_NAME, name)
        + n.attribute(_LINK_ADDRESS, _packed(hardware_address))
        + n.nested(_LINK_INFO, n.text(_INFO_KIND, "bridge"))
    )
    netlink.request(Message(type=_NEW_LINK, flags=n.FLAG_CREATE | n.FLAG_EXCLUSIVE, body=body), ignore=(errno.EEXIST,))


def raise_link(netlink: Netlink, index: int, mtu: int) -> None:
    """Set its MTU and bring it up."""
    netlink.request(Message(type=_NEW_LINK, body=_LINK.pack(0, 0, index, _UP, _UP) + n.number(_LINK_MTU, mtu)))


def add_veth(
    netlink: Netlink,
    name: str,
    *,
    bridge: Link,
    mtu: int,
    isolated: bool,
    namespace: int,
    peer: str,
    peer_address: str,
) -> None:
    """Make a pair: one end up as port of the bridge, the other, down, in the namespace of the open file `namespace`.

    Raises NetlinkError, EEXIST among others.
    """
    inside = (
        _LINK.pack(0, 0, 0, 0, 0)
        + n.text(_LINK_NAME, peer)
        + n.attribute(_LINK_ADDRESS, _packed(peer_address))
        + n.number(_LINK_MTU, mtu)
        + n.number(_LINK_NAMESPACE, namespace)
    )
    outside = (
        _LINK.pack(0, 0, 0, _UP, _UP)
        + n.text(_LINK_NAME, name)
        + n.number(_LINK_MTU, mtu)
        + n.number(_LINK_MASTER, bridge.index)
        + n.nested(_LINK_INFO, n.text(_INFO_KIND, "veth"), n.nested(_INFO_DATA, n.nested(_VETH_PEER, inside)))
    )
    # Hairpin: a container that reaches itself by a published port gets its own packet back from the bridge.
    options = (n.small(_PORT_HAIRPIN, 1), n.small(_PORT_ISOLATED, int(isolated)))
    netlink.request(
        Message(type=_NEW_LINK, flags=n.FLAG_CREATE | n.FLAG_EXCLUSIVE, body=outside), _port_message(name, *options)
    )


def await_port(netlink: Netlink, name: str) -> None:
    """Wait until the bridge passes on what comes from a port; it learns of the carrier a little after it is there.

    Without this a container's first packet may be lost, and TCP would try again only after a second.
    Raises TimeoutError.
    """
    deadline = time.monotonic() + PORT_LIMIT_S
    while _port_state(netlink, name) != _PORT_FORWARDING:
        if time.monotonic() > deadline:
            raise TimeoutError(errno.ETIMEDOUT, f"bridge port {name} isn't up")
        time.sleep(_PORT_PAUSE_S)


def announce(netlink: Netlink, interface: str, hardware_address: str) -> None:
    """Have the kernel tell all neighbours whose addresses these are: who knew them with another MAC learns this one.

    It does so whenever an interface's MAC is set (arp_notify), be it the same; a packet socket of our own would make
    the kernel wait 10 ms for other processors when it is closed.
    """
    body = _LINK.pack(0, 0, 0, 0, 0) + n.text(_LINK_NAME, interface)
    netlink.request(Message(type=_NEW_LINK, body=body + n.attribute(_LINK_ADDRESS, _packed(hardware_address))))


def silence_port(netlink: Netlink, name: str) -> None:
    """Disable a bridge port and forget what was learnt from it; absent is fine.

    Unlike taking the link down or out of the bridge this doesn't wait for other processors (0.1 instead of 20 ms).
    By the bridge's own message, since a link message makes the bridge look at the carrier and enable the port again;
    should the carrier change later, nothing is sent to the port all the same.
    """
    link = find(netlink, name)
    if link is None:
        return
    silent = (n.small(kind, 0) for kind in (_PORT_STATE, _PORT_LEARNING, *_PORT_FLOODS))
    options = n.nested(_LINK_PORT, *silent, n.attribute(_PORT_FLUSH, b""))
    message = Message(type=_SET_LINK, body=_LINK.pack(socket.AF_BRIDGE, 0, link.index, 0, 0) + options)
    netlink.request(message, ignore=(*_ABSENT, errno.EINVAL, errno.EOPNOTSUPP))  # no port any more


def remove(netlink: Netlink, name: str) -> None:
    """Remove an interface; absent is fine."""
    body = _LINK.pack(0, 0, 0, 0, 0) + n.text(_LINK_NAME, name)
    netlink.request(Message(type=_DELETE_LINK, body=body), ignore=_ABSENT)


def configure(netlink: Netlink, name: str, *, address: str, prefix_length: int, gateway: str) -> None:
    """Give an interface its address, bring it up and route everything over it. There already is fine."""
    link = find(netlink, name)
    if link is None:
        raise OSError(errno.ENODEV, f"no interface {name}")
    route = _ROUTE.pack(socket.AF_INET, 0, 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _UNICAST, 0)
    messages = [
        _address_message(_NEW_ADDRESS, link.index, address, prefix_length, n.FLAG_CREATE | n.FLAG_REPLACE),
        Message(type=_NEW_LINK, body=_LINK.pack(0, 0, link.index, _UP, _UP)),
    ]
    if gateway:
        body = route + n.attribute(_ROUTE_GATEWAY, socket.inet_aton(gateway))
        messages.append(Message(type=_NEW_ROUTE, flags=n.FLAG_CREATE | n.FLAG_REPLACE, body=body))
    netlink.request(*messages)


def set_only_address(netlink: Netlink, index: int, address: str, prefix_length: int) -> None:
    """Make this the only IPv4 address of an interface."""
    wanted = f"{address}/{prefix_length}"
    present = [cidr for owner, cidr in addresses(netlink) if owner == index]
    for cidr in present:
        if cidr != wanted:
            old, _, old_length = cidr.partition("/")
            netlink.request(
                _address_message(_DELETE_ADDRESS, index, old, int(old_length)), ignore=(errno.EADDRNOTAVAIL,)
            )
    if wanted not in present:
        flags = n.FLAG_CREATE | n.FLAG_REPLACE
        netlink.request(_address_message(_NEW_ADDRESS, index, address, prefix_length, flags))


def addresses(netlink: Netlink) -> list[tuple[int, str]]:
    """Interface index and address with prefix length, of every IPv4 address."""
    found = []
    for body in netlink.dump(Message(type=_GET_ADDRESS, body=_ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0))):
        _, prefix_length, _, _, index = _ADDRESS.unpack_from(body)
        local = n.attributes(body[_ADDRESS.size :]).get(_ADDRESS_LOCAL)
        if local is not None:
            found.append((index, f"{socket.inet_ntoa(local)}/{prefix_length}"))
    return found


def routes(netlink: Netlink) -> list[tuple[int, str]]:
    """Outgoing interface (0: none) and destination of every IPv4 route of the main table but the default one."""
    found = []
    request = _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    for body in netlink.dump(Message(type=_GET_ROUTE, body=request)):
        _, prefix_length, _, _, table, *_ = _ROUTE.unpack_from(body)
        values = n.attributes(body[_ROUTE.size :])
        destination = values.get(_ROUTE_DESTINATION)
        if table == _TABLE_MAIN and destination is not None:
            index = struct.unpack("=I", values[_ROUTE_INTERFACE])[0] if _ROUTE_INTERFACE in values else 0
            found.append((index, f"{socket.inet_ntoa(destination)}/{prefix_length}"))
    return found


def _port_state(netlink: Netlink, name: str) -> int:
    body = netlink.query(Message(type=_GET_LINK, body=_LINK.pack(0, 0, 0, 0, 0) + n.text(_LINK_NAME, name)))
    info = n.attributes(n.attributes(body[_LINK.size :]).get(_LINK_INFO, b""))
    return int.from_bytes(n.attributes(info.get(_INFO_PORT_DATA, b"")).get(_PORT_STATE, b""), sys.byteorder)


def _port_message(name: str, *options: bytes) -> Message:
    info = n.nested(_LINK_INFO, n.text(_INFO_PORT_KIND, "bridge"), n.nested(_INFO_PORT_DATA, *options))
    return Message(type=_NEW_LINK, body=_LINK.pack(0, 0, 0, 0, 0) + n.text(_LINK_NAME, name) + info)


def _address_message(kind: int, index: int, address: str, prefix_length: int, flags: int = 0) -> Message:
    packed = ipaddress.IPv4Address(address).packed
    body = _ADDRESS.pack(socket.AF_INET, prefix_length, 0, 0, index)
    body += n.attribute(_ADDRESS_LOCAL, packed) + n.attribute(_ADDRESS_ADDRESS, packed)
    return Message(type=kind, flags=flags, body=body)


def _link(body: bytes) -> Link:
    _, _, index, _, _ = _LINK.unpack_from(body)
    values = n.attributes(body[_LINK.size :])
    return Link(
        index=index,
        name=values[_LINK_NAME].rstrip(b"\0").decode(),
        master=int.from_bytes(values.get(_LINK_MASTER, b""), sys.byteorder),
        mtu=int.from_bytes(values.get(_LINK_MTU, b""), sys.byteorder),
    )


def _packed(hardware_address: str) -> bytes:
    return bytes.fromhex(hardware_address.replace(":", ""))
