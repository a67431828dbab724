"""Ends the kernel's memory of UDP conversations; without it they would go on to the address a container had before.

Blocking. Sources: linux/netfilter/nfnetlink_conntrack.h, nfnetlink.h.
"""

import errno
import socket
from typing import Any

from handlers.kernel.messages import (
    IPCTNL_MSG_CT_DELETE,
    IPCTNL_MSG_CT_GET,
    NETLINK_NETFILTER,
    NFNL_SUBSYS_CTNETLINK,
    nfct_msg,
    nlmsg,
)
from handlers.kernel.netlink import Netlink, message

_UNSUPPORTED = (errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT)


def forget_udp(container_address: str) -> int:
    """Drop every UDP conversation that a container with this address answers; returns how many there were.

    A kernel without conntrack over netlink has none to drop.
    """
    packed = socket.inet_aton(container_address)
    dropped = 0
    try:
        with Netlink(NETLINK_NETFILTER) as netlink:
            for entry in netlink.dump(_message(IPCTNL_MSG_CT_GET), containing=packed):
                if _answers(entry, container_address):
                    original = ("CTA_TUPLE_ORIG", entry.get_attr("CTA_TUPLE_ORIG"))
                    netlink.request(_message(IPCTNL_MSG_CT_DELETE, original), ignore=(errno.ENOENT,))
                    dropped += 1
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return dropped


def _answers(entry: nlmsg, address: str) -> bool:
    reply = entry.get_attr("CTA_TUPLE_REPLY")
    protocol = reply.get_nested("CTA_TUPLE_PROTO", "CTA_PROTO_NUM")
    source = reply.get_nested("CTA_TUPLE_IP", "CTA_IP_V4_SRC")
    return bool(source == address and protocol == socket.IPPROTO_UDP)


def _message(kind: int, *attributes: tuple[str, Any]) -> nlmsg:
    return message(nfct_msg, NFNL_SUBSYS_CTNETLINK << 8 | kind, 0, attributes, nfgen_family=socket.AF_INET)
