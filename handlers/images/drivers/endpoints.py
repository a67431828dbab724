"""Where a repository can be fetched from, in order; without it mirrors and insecure registries would be guesswork."""

import ipaddress
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import anyio
import msgspec

from handlers.images.registry_settings import RegistrySettings

HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
SEARCH_HOST = "index.docker.io"
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A way to a registry. `verifies` False: any certificate will do."""

    url: str  # without a slash at the end
    host: str  # HOST[:PORT]
    verifies: bool = True
    is_mirror: bool = False


def split_name(name: str) -> tuple[str, str]:
    """Registry and path of a canonical repository name."""
    registry, _, path = name.partition("/")
    return registry, path


async def endpoints(registry: str, settings: RegistrySettings) -> AsyncIterator[Endpoint]:
    """Every way to a registry, the preferred one first."""
    if registry == HUB:
        for mirror in settings.mirrors:
            async for endpoint in _at(mirror.rstrip("/"), settings, is_mirror=True):
                yield endpoint
        yield Endpoint(url=f"https://{_HUB_HOST}", host=_HUB_HOST)
        return
    async for endpoint in _at(f"https://{registry}", settings, is_mirror=False):
        yield endpoint


async def _at(url: str, settings: RegistrySettings, *, is_mirror: bool) -> AsyncIterator[Endpoint]:
    parts = urlsplit(url)
    host = parts.netloc
    if parts.scheme == "http":
        yield Endpoint(url=url, host=host, verifies=False, is_mirror=is_mirror)
        return
    insecure = await is_insecure(host, settings)
    yield Endpoint(url=url, host=host, verifies=not insecure, is_mirror=is_mirror)
    if insecure:
        yield Endpoint(url=f"http://{url.removeprefix('https://')}", host=host, verifies=False, is_mirror=is_mirror)


async def is_insecure(host: str, settings: RegistrySettings) -> bool:
    """Whether a registry may be without TLS: named so, or at an address that lies in a range that is."""
    if host in settings.insecure:
        return True
    named = (_range(text) for text in settings.insecure)
    ranges = [*_LOOPBACK, *(each for each in named if each is not None)]
    name = urlsplit(f"//{host}").hostname or ""
    addresses = [name] if _is_address(name) else await _resolved(name)
    return any(_contains(each, address) for address in addresses for each in ranges)


def _contains(network: ipaddress.IPv4Network | ipaddress.IPv6Network, text: str) -> bool:
    address = ipaddress.ip_address(text)
    return address.version == network.version and address in network


def _range(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


async def _resolved(name: str) -> list[str]:
    try:
        found = await anyio.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(address[0]).partition("%")[0] for *_, address in found]
