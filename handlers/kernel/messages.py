"""The messages of pyroute2 alone; its package as a whole would take 17 MB and a tenth of a second of every process.

`pyroute2/__init__.py` loads all that it has (a database of interfaces, its own sockets, `unittest`). A package that is
known already isn't executed again: its modules load without it.
"""

import sys
from importlib.util import find_spec, module_from_spec

if (_spec := find_spec("pyroute2")) is not None:
    sys.modules.setdefault("pyroute2", module_from_spec(_spec))

from pyroute2.netlink import (
    NETLINK_EXT_ACK,
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    SOL_NETLINK,
    nlmsg,
    nlmsgerr,
)
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_CTNETLINK
from pyroute2.netlink.nfnetlink.nfctsocket import IPCTNL_MSG_CT_DELETE, IPCTNL_MSG_CT_GET, nfct_msg
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTM_SETLINK,
    rt_proto,
    rt_type,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import IFF_UP, ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

__all__ = [
    "IFF_UP",
    "IPCTNL_MSG_CT_DELETE",
    "IPCTNL_MSG_CT_GET",
    "NETLINK_EXT_ACK",
    "NETLINK_NETFILTER",
    "NETLINK_ROUTE",
    "NFNL_SUBSYS_CTNETLINK",
    "NLA_F_NESTED",
    "NLMSG_DONE",
    "NLMSG_ERROR",
    "NLM_F_ACK",
    "NLM_F_CREATE",
    "NLM_F_DUMP",
    "NLM_F_DUMP_INTR",
    "NLM_F_EXCL",
    "NLM_F_REPLACE",
    "NLM_F_REQUEST",
    "RTM_DELADDR",
    "RTM_DELLINK",
    "RTM_GETADDR",
    "RTM_GETLINK",
    "RTM_GETROUTE",
    "RTM_NEWADDR",
    "RTM_NEWLINK",
    "RTM_NEWROUTE",
    "RTM_SETLINK",
    "SOL_NETLINK",
    "ifaddrmsg",
    "ifinfmsg",
    "nfct_msg",
    "nlmsg",
    "nlmsgerr",
    "rt_proto",
    "rt_type",
    "rtmsg",
]
