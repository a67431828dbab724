"""Writes out what a container's hosts, hostname and resolv.conf say; pure.

Sources: https://docs.docker.com/engine/network/#dns-services, man 5 hosts, man 5 resolv.conf.
"""

import ipaddress
from collections.abc import Mapping, Sequence

import msgspec

from events.errors import InvalidParameter
from events.messages.network import Endpoint, LinkedNames, OpenSandbox
from handlers.networks.settings import NetworkSettings

HOST_GATEWAY = "host-gateway"
PUBLIC_RESOLVERS = ("8.8.8.8", "8.8.4.4")  # what Docker documents for a host that only has a resolver of its own
_SYSTEMD_STUB = "127.0.0.53"
_LOCAL_NAMES = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)


class HostNames(msgspec.Struct, frozen=True, kw_only=True):
    """What the host itself uses."""

    hosts: str = ""  # text of /etc/hosts
    resolv_conf: str = ""  # text of /etc/resolv.conf
    systemd_resolv_conf: str = ""  # of /run/systemd/resolve/resolv.conf, "" where there is none


class NameFileTexts(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of a container's three files."""

    hostname: str
    hosts: str
    resolv_conf: str


class Resolver(msgspec.Struct, frozen=True, kw_only=True):
    """A resolv.conf taken apart."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    others: tuple[str, ...] = ()  # lines of other kinds


def texts(
    command: OpenSandbox,
    endpoints: Sequence[Endpoint],
    host: HostNames,
    settings: NetworkSettings,
    host_gateway: str,
    addresses: Mapping[str, str],
) -> NameFileTexts:
    """All three files; `addresses` are those of linked containers, by id.

    Raises InvalidParameter for an extra host that makes no sense.
    """
    extra = tuple(_extra_host(line, settings.host_gateway or host_gateway) for line in command.extra_hosts)
    if command.mode == "host":
        hosts = _with_newline(host.hosts) + _lines(extra)
    else:
        hosts = _lines((*_LOCAL_NAMES, *extra, *_linked(command.links, addresses), *_own_names(command, endpoints)))
    return NameFileTexts(
        hostname=f"{command.hostname}\n", hosts=hosts, resolv_conf=_resolv_conf(command, host, settings)
    )


def _own_names(command: OpenSandbox, endpoints: Sequence[Endpoint]) -> tuple[tuple[str, str], ...]:
    names = command.hostname
    if command.domainname:
        names = f"{command.hostname}.{command.domainname} {command.hostname}"
    return tuple((endpoint.address, names) for endpoint in endpoints if endpoint.address and command.hostname)


def _linked(links: Sequence[LinkedNames], addresses: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (addresses[link.container_id], " ".join(link.names)) for link in links if link.container_id in addresses
    )


def relinked(hosts: str, links: Sequence[LinkedNames], addresses: Mapping[str, str]) -> str:
    """A hosts file with the present addresses of linked containers: only lines that begin with an alias change."""
    wanted = {link.names[0]: addresses[link.container_id] for link in links if link.container_id in addresses}
    return "".join(_readdressed(line, wanted) for line in hosts.splitlines(keepends=True))


def _readdressed(line: str, wanted: Mapping[str, str]) -> str:
    words = line.split()
    if len(words) < 2 or words[1] not in wanted or words[0].startswith("#"):
        return line
    return line.replace(words[0], wanted[words[1]], 1)


def _extra_host(line: str, host_gateway: str) -> tuple[str, str]:
    name, colon, address = line.partition(":")
    if not (name and colon and address):
        raise InvalidParameter(f'bad format for add-host: "{line}"')
    if address == HOST_GATEWAY:
        if not host_gateway:
            raise InvalidParameter("unable to derive the IP value for host-gateway")
        return host_gateway, name
    try:
        ipaddress.ip_address(address.strip("[]"))
    except ValueError as error:
        raise InvalidParameter(f'invalid IP address in add-host: "{address}"') from error
    return address.strip("[]"), name


def _lines(entries: Sequence[tuple[str, str]]) -> str:
    return "".join(f"{address}\t{names}\n" for address, names in entries)


def _with_newline(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _resolv_conf(command: OpenSandbox, host: HostNames, settings: NetworkSettings) -> str:
    dns = command.dns or settings.dns
    search = command.dns_search or settings.dns_search
    options = command.dns_options or settings.dns_options
    if command.mode == "host" and not (dns or search or options):
        return host.resolv_conf  # the container shares the host's loopback, so any resolver there serves it too
    found = parse(host.resolv_conf)
    if found.nameservers == (_SYSTEMD_STUB,) and command.mode != "host" and host.systemd_resolv_conf:
        found = parse(host.systemd_resolv_conf)
    reachable = found.nameservers if command.mode == "host" else _reachable(found.nameservers)
    chosen = Resolver(
        nameservers=dns or reachable or PUBLIC_RESOLVERS,
        search=() if search == (".",) else search or found.search,
        options=options or found.options,
        others=found.others,
    )
    return render(chosen)


def _reachable(nameservers: Sequence[str]) -> tuple[str, ...]:
    """Those that a container with IPv4 and a loopback of its own can ask."""
    return tuple(name for name in nameservers if _is_distant_ipv4(name))


def _is_distant_ipv4(nameserver: str) -> bool:
    try:
        return not ipaddress.IPv4Address(nameserver).is_loopback
    except ValueError:
        return False


def parse(text: str) -> Resolver:
    """Take a resolv.conf apart; of `search` and `domain` the last line counts, options add up."""
    nameservers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    others: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        match words[0]:
            case "nameserver":
                nameservers.extend(words[1:2])
            case "search" | "domain":
                search = tuple(words[1:])
            case "options":
                options.extend(words[1:])
            case _:
                others.append(line)
    return Resolver(nameservers=tuple(nameservers), search=search, options=tuple(options), others=tuple(others))


def render(resolver: Resolver) -> str:
    """The text of a resolv.conf."""
    lines = [f"nameserver {address}" for address in resolver.nameservers]
    if resolver.search:
        lines.append("search " + " ".join(resolver.search))
    if resolver.options:
        lines.append("options " + " ".join(resolver.options))
    return "".join(f"{line}\n" for line in (*lines, *resolver.others))
