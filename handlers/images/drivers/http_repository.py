"""One repository over HTTP (OCI distribution specification): manifests, blobs by range, tags; uploads.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import quote, urlencode, urljoin

import httpx2
import msgspec

from handlers.images.drivers.answers import read_limited
from handlers.images.drivers.asking import Asker
from handlers.images.drivers.endpoints import split_name
from handlers.images.ports import Fetched, Stream
from handlers.images.registry_errors import BadManifest, RegistryRefused, RegistryUnreachable, WrongContent

MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024
_TAGS_LIMIT_BYTES = 4 * 1024 * 1024
_TAG_PAGES = 1000
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')
_PUSH = "pull,push"
_BINARY = {"Content-Type": "application/octet-stream"}


class _Tags(msgspec.Struct, frozen=True, kw_only=True):
    tags: tuple[str, ...] | None = None


class HttpRepository:
    """See `handlers.images.ports.Repository`."""

    def __init__(self, name: str, askers: Sequence[Asker], answered: dict[str, str]) -> None:
        """`answered`: URL by registry, of which this keeps its own up to date."""
        self.name, self._askers, self._answered = name, askers, answered
        self._registry, self._path = split_name(name)
        self._has_mirrors = any(asker.endpoint.is_mirror for asker in askers)

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
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise BadManifest(f"list of tags: {error}") from error
            if following is None:
                break
            path = urljoin(url, following[1])
        return tuple(found)

    async def has_blob(self, digest: str) -> bool:
        """See `Repository.has_blob`."""
        try:
            async with self._asked("HEAD", f"blobs/{digest}", {}, _PUSH):
                return True
        except RegistryRefused as error:
            if error.status == httpx2.codes.NOT_FOUND:
                return False
            raise

    async def begin_upload(self, mount: str = "", source: str = "") -> str:
        """See `Repository.begin_upload`."""
        query = f"?{urlencode({'mount': mount, 'from': split_name(source)[1]})}" if mount else ""
        scopes = f"{_PUSH} repository:{split_name(source)[1]}:pull" if mount else _PUSH
        async with self._asked("POST", f"blobs/uploads/{query}", {"Content-Length": "0"}, scopes) as response:
            return "" if response.status_code == httpx2.codes.CREATED else _location(response)

    async def send_chunk(self, place: str, offset: int, content: bytes) -> str:
        """See `Repository.send_chunk`."""
        headers = _BINARY | {"Content-Range": f"{offset}-{offset + len(content) - 1}"}
        async with self._asked("PATCH", place, headers, _PUSH, content) as response:
            return _location(response)

    async def received(self, place: str) -> tuple[str, int]:
        """See `Repository.received`."""
        async with self._asked("GET", place, {}, _PUSH) as response:
            found = _RANGE.fullmatch(response.headers.get("range", ""))
            return _location(response) or place, int(found[1]) + 1 if found and found[1] != "0" else 0

    async def finish_upload(self, place: str, digest: str, content: bytes) -> None:
        """See `Repository.finish_upload`."""
        url = f"{place}{'&' if '?' in place else '?'}{urlencode({'digest': digest})}"
        async with self._asked("PUT", url, _BINARY, _PUSH, content):
            pass

    async def put_manifest(self, reference: str, content: bytes, media_type: str) -> None:
        """See `Repository.put_manifest`."""
        async with self._asked(
            "PUT", f"manifests/{quote(reference, safe=':')}", {"Content-Type": media_type}, _PUSH, content
        ):
            pass

    def _suitable(self, path: str) -> Sequence[Asker]:
        """Who may be asked for a path; where it is a whole URL, that of an upload, only whoever began it."""
        if "://" not in path:
            return self._askers
        return [each for each in self._askers if path.startswith(f"{each.endpoint.url}/")] or self._askers[:1]

    @asynccontextmanager
    async def _get(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[httpx2.Response]:
        async with self._asked("GET", path, headers, "pull") as response:
            yield response

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, headers: Mapping[str, str], actions: str, content: bytes | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """A good answer from the first way that gives one. `actions` may have more scopes behind them."""
        async with AsyncExitStack() as stack:
            own, _, more = actions.partition(" ")
            scope = f"repository:{self._path}:{own} {more}".strip()
            yield await self._first_answer(stack, method, path, headers, scope, content)

    async def _first_answer(
        self,
        stack: AsyncExitStack,
        method: str,
        path: str,
        headers: Mapping[str, str],
        scope: str,
        content: bytes | None,
    ) -> httpx2.Response:
        failure: Exception | None = None
        for asker in self._suitable(path):
            if asker.endpoint.is_mirror and method not in ("GET", "HEAD"):
                continue
            if isinstance(failure, RegistryRefused) and not self._has_mirrors:
                break  # it has answered
            url = urljoin(f"{asker.endpoint.url}/v2/{self._path}/", path)
            try:
                response = await asker.ask(stack, method, url, headers, scope, lambda: content)
            except (RegistryRefused, RegistryUnreachable) as error:
                failure = error
                continue
            self._prefer(asker)
            return response
        raise failure or RegistryUnreachable(method, path, "no endpoint", is_final=True)

    def _prefer(self, asker: Asker) -> None:
        """What has answered goes first from now on, unless there are mirrors to be tried before."""
        self._answered[self._registry] = asker.endpoint.url
        if not self._has_mirrors and asker is not self._askers[0]:
            self._askers = [asker, *(each for each in self._askers if each is not asker)]


def _location(response: httpx2.Response) -> str:
    """Where an upload goes on, as an absolute URL."""
    return urljoin(str(response.request.url), response.headers.get("location", ""))


def _place(response: httpx2.Response) -> tuple[int, int]:
    """Where a body begins in its blob, and how large the blob is (-1: not told)."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if response.status_code == httpx2.codes.PARTIAL_CONTENT and found:
        return int(found[1]), int(found[2]) if found[2] != "*" else -1
    declared = response.headers.get("content-length", "")
    return 0, int(declared) if declared.isdecimal() else -1
