"""Driver options of an endpoint that any driver can honour; without it they would be read in three places. Pure.

Source: https://docs.docker.com/reference/cli/docker/container/run/#network ("--network name=...,driver-opt=...").
"""

import re
from collections.abc import Mapping

from events.errors import InvalidParameter

IFNAME = "com.docker.network.endpoint.ifname"
SYSCTLS = "com.docker.network.endpoint.sysctls"
KNOWN = frozenset({IFNAME, SYSCTLS})
_PLACE = "IFNAME"
_INTERFACE = re.compile(r"[^\s/:%]{1,15}")  # netdevice(7): IFNAMSIZ, less the NUL at the end
# the docker CLI writes the place in small letters
_SYSCTL = re.compile(r"(net\.(?:ipv4|ipv6|mpls)\.[\w-]+\.)(?:IFNAME|ifname)(\.[\w.-]+)=(.+)", re.DOTALL)


def interface_name(options: Mapping[str, str], default: str) -> str:
    """What the interface is called inside. Raises InvalidParameter."""
    name = options.get(IFNAME, default)
    if not _INTERFACE.fullmatch(name) or name in (".", "..", "lo", "all", "default"):
        raise InvalidParameter(f'invalid interface name "{name}"')
    return name


def sysctls(options: Mapping[str, str], interface: str) -> dict[str, str]:
    """Settings of the interface: `net.ipv4.conf.IFNAME.forwarding=1,...`. Raises InvalidParameter."""
    found = {}
    for text in filter(None, options.get(SYSCTLS, "").split(",")):
        match = _SYSCTL.fullmatch(text.strip())
        if match is None:
            raise InvalidParameter(
                f"unable to validate sysctl {text}: it has to be net.(ipv4|ipv6|mpls).X.{_PLACE}.Y=VALUE"
            )
        found[f"{match[1]}{interface}{match[2]}"] = match[3]
    return found
