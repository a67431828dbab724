"""Bridges, veth pairs, addresses and routes as rtnetlink messages; blocking, one open socket per call site.

Sources: man 7 rtnetlink; linux/rtnetlink.h, if_link.h, if_addr.h, if_bridge.h, veth.h.
"""

import errno
import socket
import time
from typing import Any

from handlers.kernel.messages import (
    IFF_UP,
    NLA_F_NESTED,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTM_SETLINK,
    ifaddrmsg,
    ifinfmsg,
    nlmsg,
    rt_proto,
    rt_type,
    rtmsg,
)
from handlers.kernel.netlink import Netlink, NetlinkError, message

PORT_LIMIT_S = 5.0

_TABLE_MAIN = 254
_PORT_FORWARDING = 3
_PORT_PAUSE_S = 0.0003
_ABSENT = (errno.ENODEV, errno.ENOENT)
_NEW = NLM_F_CREATE | NLM_F_EXCL
_SET = NLM_F_CREATE | NLM_F_REPLACE
_RAISED = {"flags": IFF_UP, "change": IFF_UP}
_SILENT = tuple(
    (f"IFLA_BRPORT_{option}", 0)
    for option in ("STATE", "LEARNING", "UNICAST_FLOOD", "MCAST_FLOOD", "BCAST_FLOOD", "FLUSH")
)


def find(netlink: Netlink, name: str) -> int | None:
    """An interface's index. Unlike `socket.if_nametoindex`, 20 times as fast, it knows absence from other errors."""
    try:
        return int(netlink.query(_named(RTM_GETLINK, name))["index"])
    except NetlinkError as error:
        if error.errno in _ABSENT:
            return None
        raise


def add_bridge(netlink: Netlink, name: str, hardware_address: str) -> None:
    """Make a bridge; there already is fine. With an address set it doesn't change when its ports come and go."""
    info = _nest(("IFLA_INFO_KIND", "bridge"))
    attributes = (("IFLA_IFNAME", name), ("IFLA_ADDRESS", hardware_address), ("IFLA_LINKINFO", info))
    netlink.request(message(ifinfmsg, RTM_NEWLINK, _NEW, attributes), ignore=(errno.EEXIST,))


def raise_link(netlink: Netlink, index: int, mtu: int) -> None:
    """Set its MTU and bring it up."""
    netlink.request(message(ifinfmsg, RTM_NEWLINK, 0, (("IFLA_MTU", mtu),), index=index, **_RAISED))


def add_veth(
    netlink: Netlink,
    name: str,
    *,
    bridge: int,
    mtu: int,
    isolated: bool,
    namespace: int,
    peer: str,
    peer_address: str,
) -> None:
    """Make a pair: one end up as port of a bridge, the other, down, in the namespace of the open file `namespace`.

    `bridge` is its index. Raises NetlinkError, EEXIST among others.
    """
    inside = _nest(
        ("IFLA_IFNAME", peer), ("IFLA_ADDRESS", peer_address), ("IFLA_MTU", mtu), ("IFLA_NET_NS_FD", namespace)
    )
    outside = (
        ("IFLA_IFNAME", name),
        ("IFLA_MTU", mtu),
        ("IFLA_MASTER", bridge),
        ("IFLA_LINKINFO", _nest(("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", _nest(("VETH_INFO_PEER", inside))))),
    )
    # Hairpin: a container that reaches itself by a published port gets its own packet back from the bridge.
    options = _nest(("IFLA_BRPORT_MODE", 1), ("IFLA_BRPORT_ISOLATED", int(isolated)))
    port = _nest(("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", options))
    netlink.request(
        message(ifinfmsg, RTM_NEWLINK, _NEW, outside, **_RAISED), _named(RTM_NEWLINK, name, ("IFLA_LINKINFO", port))
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
    netlink.request(_named(RTM_NEWLINK, interface, ("IFLA_ADDRESS", hardware_address)))


def silence_port(netlink: Netlink, name: str) -> None:
    """Disable a bridge port and forget what was learnt from it; absent is fine.

    Unlike taking the link down or out of the bridge this doesn't wait for other processors (0.1 instead of 20 ms).
    By the bridge's own message, since a link message makes the bridge look at the carrier and enable the port again;
    should the carrier change later, nothing is sent to the port all the same.
    """
    index = find(netlink, name)
    if index is None:
        return
    options = ("IFLA_PROTINFO", _nest(*_SILENT), NLA_F_NESTED)
    silence = message(ifinfmsg, RTM_SETLINK, 0, (options,), family=socket.AF_BRIDGE, index=index)
    netlink.request(silence, ignore=(*_ABSENT, errno.EINVAL, errno.EOPNOTSUPP))  # no port any more


def remove(netlink: Netlink, name: str) -> None:
    """Remove an interface; absent is fine."""
    netlink.request(_named(RTM_DELLINK, name), ignore=_ABSENT)


def configure(netlink: Netlink, index: int, *, address: str, prefix_length: int, gateway: str) -> None:
    """Give an interface its address, bring it up and route everything over it. There already is fine."""
    messages = [
        _address_message(RTM_NEWADDR, index, address, prefix_length, _SET),
        message(ifinfmsg, RTM_NEWLINK, index=index, **_RAISED),
    ]
    if gateway:
        fields = {"family": socket.AF_INET, "table": _TABLE_MAIN, "proto": rt_proto["boot"], "type": rt_type["unicast"]}
        messages.append(message(rtmsg, RTM_NEWROUTE, _SET, (("RTA_GATEWAY", gateway),), **fields))
    netlink.request(*messages)


def set_only_address(netlink: Netlink, index: int, address: str, prefix_length: int) -> None:
    """Make this the only IPv4 address of an interface."""
    wanted = f"{address}/{prefix_length}"
    present = [cidr for owner, cidr in addresses(netlink) if owner == index]
    for cidr in present:
        if cidr != wanted:
            old, _, old_length = cidr.partition("/")
            stale = _address_message(RTM_DELADDR, index, old, int(old_length))
            netlink.request(stale, ignore=(errno.EADDRNOTAVAIL,))
    if wanted not in present:
        netlink.request(_address_message(RTM_NEWADDR, index, address, prefix_length, _SET))


def addresses(netlink: Netlink) -> list[tuple[int, str]]:
    """Interface index and address with prefix length, of every IPv4 address."""
    found = netlink.dump(message(ifaddrmsg, RTM_GETADDR, family=socket.AF_INET))
    local = ((each, each.get_attr("IFA_LOCAL")) for each in found)
    return [(each["index"], f"{address}/{each['prefixlen']}") for each, address in local if address is not None]


def routes(netlink: Netlink) -> list[tuple[int, str]]:
    """Outgoing interface (0: none) and destination of every IPv4 route of the main table but the default one."""
    found = []
    for route in netlink.dump(message(rtmsg, RTM_GETROUTE, family=socket.AF_INET)):
        destination = route.get_attr("RTA_DST")
        if route["table"] == _TABLE_MAIN and destination is not None:
            found.append((route.get_attr("RTA_OIF", 0), f"{destination}/{route['dst_len']}"))
    return found


def _port_state(netlink: Netlink, name: str) -> int | None:
    state: int | None = netlink.query(_named(RTM_GETLINK, name)).get(("linkinfo", "slave_data", "state"))
    return state


def _named(kind: int, name: str, *attributes: tuple[str, Any]) -> nlmsg:
    return message(ifinfmsg, kind, 0, (("IFLA_IFNAME", name), *attributes))


def _nest(*attributes: tuple[str, Any]) -> dict[str, Any]:
    return {"attrs": attributes}


def _address_message(kind: int, index: int, address: str, prefix_length: int, flags: int = 0) -> nlmsg:
    attributes = (("IFA_LOCAL", address), ("IFA_ADDRESS", address))
    return message(ifaddrmsg, kind, flags, attributes, family=socket.AF_INET, prefixlen=prefix_length, index=index)
