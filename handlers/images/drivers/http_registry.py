"""Registries over HTTP (OCI distribution specification): manifests, blobs by range, tags; at mirrors first.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import quote, urljoin

import httpx2
import msgspec

from events.messages.image import Credentials
from handlers.images.drivers.answers import read_limited, refusal
from handlers.images.drivers.authorization import NOBODY, Authorizer
from handlers.images.drivers.endpoints import Endpoint, endpoints, split_name
from handlers.images.drivers.transport import Transport
from handlers.images.ports import Fetched, Repository, Stream
from handlers.images.registry_errors import BadManifest, RegistryRefused, RegistryUnreachable, WrongContent

MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024
_ERROR_LIMIT_BYTES = 64 * 1024
_TAGS_LIMIT_BYTES = 4 * 1024 * 1024
_TAG_PAGES = 1000
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


class _Tags(msgspec.Struct, frozen=True, kw_only=True):
    tags: tuple[str, ...] | None = None


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
            ways = [endpoint async for endpoint in endpoints(registry, self._transport.settings)]
            known = self._answered.get(registry)
            if not any(way.is_mirror for way in ways):
                ways.sort(key=lambda way: way.url != known)
            yield HttpRepository(self._transport, name, ways, credentials, self._answered)


class HttpRepository:
    """See `handlers.images.ports.Repository`."""

    def __init__(
        self,
        transport: Transport,
        name: str,
        ways: list[Endpoint],
        credentials: Credentials,
        answered: dict[str, str],
    ) -> None:
        self._transport, self.name, self._ways, self._answered = transport, name, ways, answered
        self._registry, self._path = split_name(name)
        self._authorizers = {
            way.url: Authorizer(transport, way, NOBODY if way.is_mirror else credentials) for way in ways
        }

    async def manifest(self, reference: str) -> Fetched:
        """See `Repository.manifest`."""
        path = f"manifests/{quote(reference, safe=':')}"
        async with self._get(path, {"Accept": ", ".join(MANIFEST_TYPES)}) as response:
            content = await read_limited(response, MANIFEST_LIMIT_BYTES, f"manifest {reference}")
            claimed = response.headers.get("docker-content-digest", "")
            media_type = response.headers.get("content-type", "").partition(";")[0].strip()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        wanted = reference if ":" in reference else claimed
        if _DIGEST.fullmatch(wanted) and wanted != digest:
            raise WrongContent(f"manifest verification failed for digest {wanted}: it is {digest}")
        return Fetched(content=content, digest=digest, media_type=media_type)

    async def small_blob(self, digest: str, limit_bytes: int) -> bytes:
        """See `Repository.small_blob`."""
        async with self._get(f"blobs/{digest}", {}) as response:
            return await read_limited(response, limit_bytes, f"blob {digest}")

    @asynccontextmanager
    async def blob(self, digest: str, offset: int) -> AsyncIterator[Stream]:
        """See `Repository.blob`."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        async with self._get(f"blobs/{digest}", headers) as response:
            begin, total_bytes = _place(response)
            yield Stream(offset=begin, total_bytes=total_bytes, chunks=response.aiter_raw())

    async def tags(self) -> tuple[str, ...]:
        """See `Repository.tags`."""
        found: list[str] = []
        path = "tags/list"
        for _ in range(_TAG_PAGES):
            async with self._get(path, {}) as response:
                content = await read_limited(response, _TAGS_LIMIT_BYTES, "list of tags")
                following = _NEXT.search(response.headers.get("link", ""))
                url = str(response.request.url)
            try:
                found += msgspec.json.decode(content, type=_Tags).tags or ()
            except (msgspec.MsgspecError, RecursionError) as error:
                raise BadManifest(f"list of tags: {error}") from error
            if following is None:
                break
            path = urljoin(url, following[1])
        return tuple(found)

    @asynccontextmanager
    async def _get(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[httpx2.Response]:
        """A good answer from the first way that gives one."""
        async with AsyncExitStack() as stack:
            yield await self._first_answer(stack, path, headers)

    async def _first_answer(self, stack: AsyncExitStack, path: str, headers: Mapping[str, str]) -> httpx2.Response:
        failure: Exception | None = None
        for way in self._ways:
            if isinstance(failure, RegistryRefused) and way.host == self._ways[0].host and not self._has_mirrors:
                break  # it has answered
            try:
                response = await self._ask(stack, way, "GET", path, headers)
            except (RegistryRefused, RegistryUnreachable) as error:
                failure = error
                continue
            self._answered[self._registry] = way.url
            return response
        raise failure or RegistryUnreachable("GET", path, "no endpoint", is_final=True)

    @property
    def _has_mirrors(self) -> bool:
        return any(way.is_mirror for way in self._ways)

    async def _ask(
        self, stack: AsyncExitStack, way: Endpoint, method: str, path: str, headers: Mapping[str, str]
    ) -> httpx2.Response:
        """An answer that is no error, authorized if need be. Raises RegistryRefused, RegistryUnreachable."""
        url = urljoin(f"{way.url}/v2/{self._path}/", path)
        authorizer, scope = self._authorizers[way.url], f"repository:{self._path}:pull"
        while True:
            attempt = await stack.enter_async_context(AsyncExitStack())
            request = self._transport.request(way, method, url, {**headers, **authorizer.headers(scope)})
            response = await attempt.enter_async_context(request)
            if response.status_code < httpx2.codes.BAD_REQUEST:
                return response
            content = await read_limited(response, _ERROR_LIMIT_BYTES, "error")
            learned = response.status_code == httpx2.codes.UNAUTHORIZED and await authorizer.learn(
                response, scope, method, url
            )
            await attempt.aclose()
            if not learned:
                raise refusal(response.status_code, content)


def _place(response: httpx2.Response) -> tuple[int, int]:
    """Where a body begins in its blob, and how large the blob is (-1: not told)."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if response.status_code == httpx2.codes.PARTIAL_CONTENT and found:
        return int(found[1]), int(found[2]) if found[2] != "*" else -1
    declared = response.headers.get("content-length", "")
    return 0, int(declared) if declared.isdecimal() else -1
