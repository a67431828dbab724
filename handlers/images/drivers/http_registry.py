"""Registries over HTTP: which endpoint answers for a repository, logins, searches."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlencode

import msgspec

from events.errors import NotFound, Unauthorized
from events.messages.image import Credentials
from handlers.images.drivers.answers import read_limited
from handlers.images.drivers.asking import Asker
from handlers.images.drivers.authorization import NOBODY
from handlers.images.drivers.endpoints import HUB, SEARCH_HOST, endpoints, split_name
from handlers.images.drivers.http_repository import HttpRepository
from handlers.images.drivers.transport import Transport
from handlers.images.ports import Found, Repository
from handlers.images.registry_errors import BadManifest, RegistryRefused, RegistryUnreachable

_SEARCH_LIMIT_BYTES = 4 * 1024 * 1024


class LoginFailed(Unauthorized):
    """A registry doesn't know this user with this password."""

    def __init__(self, url: str, status: int, reason: str) -> None:
        super().__init__(f"login attempt to {url} failed with status: {status} {reason}")


class NoSearch(NotFound):
    """Registries needn't have this."""

    def __init__(self, registry: str) -> None:
        super().__init__(f"the registry {registry} does not offer search")


class _Results(msgspec.Struct, frozen=True, kw_only=True):
    results: tuple[Found, ...] | None = None


class HttpRegistries:
    """See `handlers.images.ports.Registries`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._answered: dict[str, str] = {}  # registry -> URL that it answered at last

    @asynccontextmanager
    async def repository(self, name: str, credentials: Credentials) -> AsyncIterator[Repository]:
        """See `Registries.repository`."""
        registry, _ = split_name(name)
        async with self._transport.sharing():
            askers = await self._askers(registry, credentials)
            yield HttpRepository(name, askers, self._answered)

    async def login(self, registry: str, credentials: Credentials) -> str:
        """See `Registries.login`."""
        async with self._transport.sharing(), AsyncExitStack() as stack:
            failure: Exception | None = None
            for asker in await self._askers(registry, credentials):
                if asker.endpoint.is_mirror:
                    continue
                url = f"{asker.endpoint.url}/v2/"
                try:
                    await asker.ask(stack, "GET", url, {}, "")
                except RegistryRefused as error:
                    reason = "Unauthorized" if error.status == 401 else error.reason
                    raise LoginFailed(url, error.status, reason) from error
                except RegistryUnreachable as error:
                    failure = error
                    continue
                self._answered[registry] = asker.endpoint.url
                return asker.identity_token
            raise failure or RegistryUnreachable("GET", registry, "no endpoint", is_final=True)

    async def search(self, registry: str, term: str, limit: int, credentials: Credentials) -> tuple[Found, ...]:
        """See `Registries.search`."""
        host = SEARCH_HOST if registry == HUB else registry
        async with self._transport.sharing(), AsyncExitStack() as stack:
            failure: Exception | None = None
            for asker in await self._askers(host, credentials):
                url = f"{asker.endpoint.url}/v1/search?{urlencode({'q': term, 'n': limit})}"
                try:
                    response = await asker.ask(stack, "GET", url, {"Accept": "application/json"}, "")
                except RegistryUnreachable as error:
                    failure = error
                    continue
                except RegistryRefused as error:
                    raise (NoSearch(registry) if error.status == 404 else error) from error
                return _results(await read_limited(response, _SEARCH_LIMIT_BYTES, "search"))
            raise failure or NoSearch(registry)

    async def _askers(self, registry: str, credentials: Credentials) -> list[Asker]:
        """One for each way; what answered last goes first, unless there are mirrors to be tried before."""
        ways = [endpoint async for endpoint in endpoints(registry, self._transport.settings)]
        known = self._answered.get(registry)
        if not any(way.is_mirror for way in ways):
            ways.sort(key=lambda way: way.url != known)
        return [Asker(self._transport, way, NOBODY if way.is_mirror else credentials) for way in ways]


def _results(content: bytes) -> tuple[Found, ...]:
    try:
        return msgspec.json.decode(content, type=_Results).results or ()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadManifest(f"invalid search result: {error}") from error
