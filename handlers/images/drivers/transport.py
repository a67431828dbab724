"""Connections to registries: pooled while somebody needs them, through proxies, with each registry's certificates.

Redirects (to the storage behind a registry) are followed here, because every host has settings of its own and none but
the registry may see what authorizes us.
"""

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.metadata import version
from urllib.parse import urljoin, urlsplit

import anyio
import httpx2
from anyio.to_thread import run_sync

from handlers.images.drivers.certificates import context_for
from handlers.images.drivers.endpoints import Endpoint
from handlers.images.drivers.go_words import is_of_tls, reason_of
from handlers.images.drivers.proxying import proxy_of
from handlers.images.registry_errors import RegistryUnreachable
from handlers.images.registry_settings import RegistrySettings

Body = bytes | AsyncIterable[bytes] | None
_REDIRECTS = 10  # as Go follows
_REDIRECTING = frozenset((301, 302, 303, 307, 308))
_CLOSE_S = 10.0
_REST_LIMIT_BYTES = 64 * 1024
_TIMEOUT = httpx2.Timeout(connect=30.0, read=60.0, write=60.0, pool=None)
_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=32)
_AGENT = f"shiplog/{version('shiplog')}"


class Transport:
    """Sends requests; the clients are closed when the last user has left."""

    def __init__(self, settings: Callable[[], RegistrySettings]) -> None:
        self._settings = settings
        self._clients: dict[tuple[str, bool, str], httpx2.AsyncClient] = {}
        self._lock = anyio.Lock()
        self._users = 0

    @property
    def settings(self) -> RegistrySettings:
        """As they are now."""
        return self._settings()

    @asynccontextmanager
    async def sharing(self) -> AsyncIterator[None]:
        """Keep connections open as long as the block runs."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                clients = list(self._clients.values())
                self._clients.clear()
                with anyio.move_on_after(_CLOSE_S, shield=True):
                    for client in clients:
                        await client.aclose()

    @asynccontextmanager
    async def request(
        self, endpoint: Endpoint, method: str, url: str, headers: Mapping[str, str], body: Body = None
    ) -> AsyncIterator[httpx2.Response]:
        """An answer whose body is still to be read. Raises RegistryUnreachable, also for a body that breaks off."""
        response = await self._send(endpoint, method, url, headers, body)
        try:
            with unreachable(method, url):
                yield response
            await _read_rest(response)
        finally:
            with anyio.move_on_after(_CLOSE_S, shield=True):
                await response.aclose()

    async def _send(
        self, endpoint: Endpoint, method: str, url: str, headers: Mapping[str, str], body: Body
    ) -> httpx2.Response:
        for _ in range(_REDIRECTS):
            client = await self._client(endpoint, url)
            with unreachable(method, url):
                request = client.build_request(method, url, headers=dict(headers), content=body)
                response = await client.send(request, stream=True)
            if method not in ("GET", "HEAD") or response.status_code not in _REDIRECTING:
                return response
            target = urljoin(url, response.headers.get("location", ""))
            await response.aclose()
            if urlsplit(target).netloc != urlsplit(url).netloc:
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            url = target
        raise RegistryUnreachable(method, url, f"stopped after {_REDIRECTS} redirects", is_final=True)

    async def _client(self, endpoint: Endpoint, url: str) -> httpx2.AsyncClient:
        parts = urlsplit(url)
        verifies = endpoint.verifies or parts.netloc != endpoint.host
        proxy = proxy_of(url, self.settings.proxies)
        key = (f"{parts.scheme}://{parts.netloc}", verifies, proxy or "")
        async with self._lock:
            if key not in self._clients:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                if parts.scheme == "https":
                    directories = self.settings.certificates
                    context = await run_sync(lambda: context_for(parts.netloc, directories, verifies=verifies))
                self._clients[key] = httpx2.AsyncClient(
                    verify=context,
                    proxy=proxy,
                    trust_env=False,
                    timeout=_TIMEOUT,
                    limits=_LIMITS,
                    headers={"User-Agent": _AGENT, "Accept-Encoding": "identity"},
                )
        return self._clients[key]


async def _read_rest(response: httpx2.Response) -> None:
    """A connection serves the next request only when its answer was read, even one that is empty.

    What can't be read is nobody's failure: what mattered of the answer was there.
    """
    length = response.headers.get("content-length", "0")
    is_short = response.request.method == "HEAD" or (length.isdecimal() and int(length) <= _REST_LIMIT_BYTES)
    if is_short and not response.is_stream_consumed:
        with anyio.move_on_after(_CLOSE_S), suppress(httpx2.HTTPError):
            async for _ in response.aiter_raw():
                pass


@contextmanager
def unreachable(method: str, url: str) -> Iterator[None]:
    """Turn the client's exceptions into RegistryUnreachable."""
    try:
        yield
    except httpx2.TransportError as error:
        shown = url
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError) and "/v2/" in url:
            shown = url[: url.index("/v2/") + len("/v2/")]  # nothing was asked yet
        raise RegistryUnreachable(method, shown, reason_of(error, url), is_final=is_of_tls(error)) from error
    except (httpx2.InvalidURL, httpx2.HTTPError, httpx2.StreamError) as error:
        raise RegistryUnreachable(method, url, str(error), is_final=True) from error
