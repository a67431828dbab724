"""Ends the kernel's memory of UDP conversations; without it they would go on to the address a container had before.

Blocking. Sources: linux/netfilter/nfnetlink_conntrack.h, nfnetlink.h.
"""

import errno
import socket
import struct

from handlers.kernel import netlink as n
from handlers.kernel.netlink import Message, Netlink

_GET, _DELETE = 0x0101, 0x0102
_TUPLE_ORIGINAL, _TUPLE_REPLY = 1, 2
_TUPLE_ADDRESSES, _TUPLE_PROTOCOL = 1, 2
_ADDRESS_SOURCE = 1
_PROTOCOL_NUMBER = 1
_FAMILY = struct.Struct("=BBH")
_HEADER = _FAMILY.pack(socket.AF_INET, 0, 0)
_UNSUPPORTED = (errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT)


def forget_udp(container_address: str) -> int:
    """Drop every UDP conversation that a container with this address answers; returns how many there were.

    A kernel without conntrack over netlink has none to drop.
    """
    wanted = socket.inet_aton(container_address)
    dropped = 0
    try:
        with Netlink(n.NETFILTER) as netlink:
            for body in netlink.dump(Message(type=_GET, body=_HEADER)):
                entry = n.attributes(body[_FAMILY.size :])
                if _answers(entry, wanted):
                    _drop(netlink, entry[_TUPLE_ORIGINAL])
                    dropped += 1
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return dropped


def _answers(entry: dict[int, bytes], address: bytes) -> bool:
    reply = n.attributes(entry.get(_TUPLE_REPLY, b""))
    protocol = n.attributes(reply.get(_TUPLE_PROTOCOL, b"")).get(_PROTOCOL_NUMBER)
    source = n.attributes(reply.get(_TUPLE_ADDRESSES, b"")).get(_ADDRESS_SOURCE)
    return source == address and protocol == bytes((socket.IPPROTO_UDP,))


def _drop(netlink: Netlink, original: bytes) -> None:
    body = _HEADER + n.nested(_TUPLE_ORIGINAL, original)
    netlink.request(Message(type=_DELETE, body=body), ignore=(errno.ENOENT,))
