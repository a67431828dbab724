"""Which proxy a request goes through, by the rules of HTTP_PROXY, HTTPS_PROXY and NO_PROXY as Go has them.

https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config
"""

import ipaddress
from urllib.parse import urlsplit

from handlers.images.registry_settings import Proxies

_PORTS = {"http": 80, "https": 443}


def proxy_of(url: str, proxies: Proxies) -> str | None:
    """The proxy's URL, None to go straight."""
    parts = urlsplit(url)
    proxy = proxies.https if parts.scheme == "https" else proxies.http
    name, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    if not proxy or _is_local(name) or _is_excepted(name, port, proxies.exceptions):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_local(name: str) -> bool:
    address = _address(name)
    return name == "localhost" or (address is not None and address.is_loopback)


def _is_excepted(name: str, port: int, exceptions: str) -> bool:
    return any(_matches(name, port, each.strip().lower()) for each in exceptions.split(",") if each.strip())


def _matches(name: str, port: int, exception: str) -> bool:
    if exception == "*":
        return True
    address = _address(name)
    if "/" in exception:
        try:
            return address is not None and address in ipaddress.ip_network(exception, strict=False)
        except ValueError:
            return False
    wanted, _, wanted_port = exception.partition(":") if exception.count(":") == 1 else (exception, "", "")
    if wanted_port and wanted_port != str(port):
        return False
    if address is not None:
        return _address(wanted.strip("[]")) == address
    suffix = wanted.removeprefix("*")
    if suffix.startswith("."):
        return name.endswith(suffix)
    return name == suffix or name.endswith(f".{suffix}")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
