"""From what stands in a configuration to what it means; without it a typing mistake would show long after the start.

Every function takes a value as JSON has it and raises ValueError with a text that says what is wrong with it.
"""

import grp
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from events.errors import InvalidParameter
from events.messages.container import Ulimit
from handlers.images.trust import read_policy
from handlers.networks.settings import AddressPool

Value = TypeVar("Value")

LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
STORAGE_DRIVERS = ("overlay2", "fuse-overlayfs", "btrfs", "zfs", "devicemapper", "aufs", "vfs")
CGROUP_DRIVERS = ("cgroupfs", "systemd")
ULIMITS = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
GREATEST_GROUP = 2**32 - 2  # the next number means "leave as it is" to chown(2)
MINIMUM_MTU = 68  # RFC 791: every module must be able to forward a datagram of so many octets
MAXIMUM_MTU = 65535
PLAIN_PORT, TLS_PORT = 2375, 2376

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?|\[[0-9a-fA-F:]+\](?::\d{1,5})?")


def boolean(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")  # noqa: TRY004  # one kind of error for all
    return value


def text(value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")  # noqa: TRY004
    return value


def number(value: object) -> int:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")  # noqa: TRY004
    return value


def each(value: object, parse: Callable[[object], Value]) -> tuple[Value, ...]:
    """A list."""
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is not a list")  # noqa: TRY004
    return tuple(parse(item) for item in value)


def mapping(value: object) -> Mapping[str, object]:
    """An object."""
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is not an object")  # noqa: TRY004
    return value


def choice(value: object, choices: tuple[str, ...], what: str) -> str:
    """One of some words."""
    if value not in choices:
        raise ValueError(f"{what} not supported: {value} (there are {', '.join(choices)})")
    return text(value)


def path(value: object) -> Path:
    """A path, taken from the working directory when it is relative."""
    if not text(value):
        raise ValueError("the path is empty")
    return Path(os.path.abspath(text(value)))  # noqa: PTH100  # resolves `..` without following links


def readable(value: object) -> Path:
    """A file that can be read."""
    file = path(value)
    if not file.is_file() or not os.access(file, os.R_OK):
        raise ValueError(f"could not read {file}")
    return file


def group(value: object) -> str:
    """A group of this host by name, any group by number, or "": the daemon's own."""
    name = text(value)
    try:
        if name and not (name.isascii() and name.isdecimal() and int(name) <= GREATEST_GROUP):
            grp.getgrnam(name)
    except (KeyError, ValueError):
        raise ValueError(f"group {value} not found") from None
    return name


def host(value: object, default_socket: Path) -> str:
    """An address for the API: unix://[PATH], tcp://HOST[:PORT], fd://[NAME]; in full."""
    address = text(value).strip()
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "tcp", address
    if scheme == "unix" and (not rest or rest.startswith("/")):
        return f"unix://{rest or default_socket}"
    if scheme == "fd":
        return f"fd://{rest}"
    if scheme != "tcp" or not rest:
        raise ValueError(f"invalid bind address ({address}): use unix:///PATH, tcp://HOST:PORT or fd://")
    return _tcp(address, rest)


def _tcp(address: str, rest: str) -> str:
    parts = urlsplit(f"tcp://{rest}")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"invalid bind address ({address}): the port is not a number up to 65535") from None
    if parts.path.strip("/") or parts.query or parts.username:
        raise ValueError(f"invalid bind address ({address}): should not contain a path element")
    name = parts.hostname or "localhost"
    shown = f"[{name}]" if ":" in name else name
    return f"tcp://{shown}" if port is None else f"tcp://{shown}:{port}"


def address(value: object) -> str:
    """An IP address."""
    try:
        return str(ipaddress.ip_address(text(value)))
    except ValueError:
        raise ValueError(f"{value} is not an ip address") from None


def interface(value: object) -> str:
    """An address with its prefix length (`172.17.0.1/16`), not that of the network itself."""
    try:
        found = ipaddress.IPv4Interface(text(value))
    except ValueError:
        raise ValueError(f"invalid CIDR address: {value}") from None
    if "/" not in text(value) or found.network.prefixlen > 30 or found.ip == found.network.network_address:
        raise ValueError(f"invalid CIDR address: {value}: it has to be a host's address with a prefix length up to 30")
    return str(found)


def address_pool(value: object) -> AddressPool:
    """`{"base": CIDR, "size": prefix length}`."""
    fields = mapping(value)
    if set(fields) != {"base", "size"}:
        raise ValueError("invalid default address pool: it has a base and a size")
    try:
        base = ipaddress.IPv4Network(text(fields["base"]))
    except ValueError:
        raise ValueError(f"invalid base pool: {fields['base']}") from None
    size = number(fields["size"])
    if not base.prefixlen <= size <= 30:  # a network of two hosts is the smallest
        raise ValueError(f"invalid pool size: {size} doesn't fit into {base}")
    return AddressPool(base=str(base), size=size)


def mtu(value: object) -> int:
    """Bytes of an IP packet."""
    if not MINIMUM_MTU <= number(value) <= MAXIMUM_MTU:
        raise ValueError(f"invalid default MTU: {value}")
    return number(value)


def trust_policy(value: object) -> Path | None:
    """A policy file that can be followed."""
    file = readable(value)
    try:
        read_policy(file)
    except InvalidParameter as error:
        raise ValueError(str(error)) from error
    return file


def at_least_one(value: object) -> int:
    """How many at once, or how often."""
    if number(value) < 1:
        raise ValueError(f"invalid value: {value} is less than 1")
    return number(value)


def seconds(value: object) -> int:
    """Seconds; -1 is no limit."""
    if number(value) < -1:
        raise ValueError(f"{value} is not a number of seconds, nor -1")
    return number(value)


def microseconds(value: object) -> int:
    """Microseconds, up to a second."""
    if not 0 <= number(value) <= 1_000_000:
        raise ValueError(f"{value} is not a number of microseconds up to a second")
    return number(value)


def program(value: object) -> str:
    """A file that can be run."""
    file = path(value)
    if not file.is_file() or not os.access(file, os.X_OK):
        raise ValueError(f"{file} can't be run")
    return str(file)


def ipc_mode(value: object) -> str:
    """A default that makes sense for every container."""
    if value not in ("private", "shareable"):
        raise ValueError(f'IPC "{value}" is not supported as default value; use one of: private, shareable')
    return text(value)


def cgroup_namespace_mode(value: object) -> str:
    """Likewise."""
    if value not in ("private", "host"):
        raise ValueError(f'default cgroup namespace mode "{value}" is invalid; use one of: host, private')
    return text(value)


def seccomp_profile(value: object) -> str:
    """The text of a profile's file, "unconfined", or "" for the engine's own."""
    name = text(value)
    if name in ("", "builtin"):
        return ""
    return name if name == "unconfined" else readable(name).read_text()


def storage_option(value: object) -> tuple[str, str]:
    """name=value for the storage driver."""
    name, separator, setting = text(value).partition("=")
    if not separator or not name.strip():
        raise ValueError(f"Unable to parse storage-opt key=value option {value}")
    return name.strip().lower(), setting.strip()


def size_bytes(value: object) -> int:
    """A size, `67108864` or `64M` or `1.5GiB`, greater than zero."""
    found = _SIZE.fullmatch(str(value).strip())
    if isinstance(value, bool) or found is None:
        raise ValueError(f"invalid size: '{value}'")
    exponent = " kmgtp".index(found[2].lower() or " ")
    size = int(float(found[1]) * 1024**exponent)
    if size == 0:
        raise ValueError("the size has to be greater than zero")
    return size


def nats_servers(value: object) -> tuple[str, ...]:
    """nats:// or tls:// addresses of one server or cluster, separated by commas, with USER:PASSWORD@ or TOKEN@."""
    addresses = tuple(part.strip() for part in text(value).split(",") if part.strip())
    for each in addresses:
        parts = urlsplit(each)
        try:
            reachable = parts.scheme in ("nats", "tls") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            reachable = False
        if not reachable or parts.path.strip("/") or parts.query:
            shown = each.rpartition("@")[2]
            raise ValueError(f"invalid NATS address ({shown}): use nats://[USER:PASSWORD@]HOST[:PORT] or tls://...")
    return addresses


def label(value: object) -> str:
    """`key=value`."""
    if "=" not in text(value) or text(value).startswith("="):
        raise ValueError(f"bad attribute format: {value}")
    return text(value)


def ulimit(name: str, value: object) -> Ulimit:
    """`{"Name": ..., "Soft": ..., "Hard": ...}`; -1 is unlimited."""
    fields = mapping(value)
    if name not in ULIMITS or fields.get("Name", name) != name:
        raise ValueError(f"invalid ulimit type: {name}")
    soft, hard = number(fields.get("Soft", 0)), number(fields.get("Hard", 0))
    if hard != -1 and (soft == -1 or soft > hard):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return Ulimit(name=name, soft=soft, hard=hard)


def runtime(name: str, value: object) -> str:
    """`{"path": ...}`: the path of an OCI runtime, or a name on PATH."""
    fields = mapping(value)
    if name == "runc":
        raise ValueError("runtime name 'runc' is reserved")
    unknown = set(fields) - {"path"}
    if unknown:
        raise ValueError(f"runtime '{name}': {', '.join(sorted(unknown))} not supported, only a path")
    if not text(fields.get("path", "")):
        raise ValueError(f"runtime '{name}' has no path")
    return text(fields["path"])


def insecure_registry(value: object) -> str:
    """HOST[:PORT] or a CIDR range."""
    registry = text(value)
    if "://" in registry:
        raise ValueError(f"insecure registry {registry} should not contain '://'")
    try:
        return str(ipaddress.ip_network(registry))
    except ValueError:
        if not _HOST_NAME.fullmatch(registry):
            raise ValueError(f"insecure registry {registry} is not valid: invalid host") from None
    return registry


def mirror(value: object) -> str:
    """http(s)://HOST[:PORT]/[PATH]."""
    parts = urlsplit(text(value))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f'invalid mirror: "{value}" is not a valid URI')
    if parts.query or parts.fragment or parts.username:
        raise ValueError(f'invalid mirror: query, fragment or user in "{value}"')
    return f"{text(value).rstrip('/')}/"
