"""What the image handlers need of registries and other places that images come from."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, Self

import msgspec

from events.messages.image import Credentials


class Chunks(Protocol):
    """Bytes as they come; ended by the last of them, or closed before."""

    def __aiter__(self) -> Self:
        """Itself."""

    async def __anext__(self) -> bytes:
        """At least one byte. Raises StopAsyncIteration after the last, SystemFailure where they break off."""

    async def aclose(self) -> None:
        """End what makes them."""


class LayerTars(Protocol):
    """The tars that layers came as."""

    async def tar_size(self, cache_id: str) -> int:
        """In bytes, uncompressed."""

    async def tar(self, cache_id: str, diff_id: str) -> Chunks:
        """The tar by blocks; breaks off at the end when it isn't what `diff_id` says."""

    def several(self, layers: Mapping[str, str]) -> "LayerTars":
        """For those who will ask for several layers, each once: cache ids and diff ids, in about that order.

        Small tars come several at once then, as many as memory of some megabytes holds.
        """


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest or an index as a registry gave it; `digest` is that of `content`."""

    content: bytes
    digest: str
    media_type: str


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A blob's bytes from `offset` on, which may lie before what was asked for: a registry needn't know ranges.

    `total_bytes` is the whole blob's size as the registry tells it, -1 when it doesn't.
    """

    offset: int
    total_bytes: int = -1
    chunks: AsyncIterator[bytes]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A result of a search."""

    name: str = ""
    description: str = ""
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


class Repository(Protocol):
    """One repository, at its registry or a mirror: the first that answers is asked for the rest too.

    Methods raise RegistryRefused for what a registry says and RegistryUnreachable for what keeps it from saying
    anything; the latter may be tried again.
    """

    @property
    def name(self) -> str:
        """Canonical (`docker.io/library/busybox`)."""

    async def manifest(self, reference: str) -> Fetched:
        """By tag or digest; the digest is verified where one is known."""

    async def small_blob(self, digest: str, limit_bytes: int) -> bytes:
        """A blob of at most `limit_bytes`, not verified."""

    def blob(self, digest: str, offset: int) -> AbstractAsyncContextManager[Stream]:
        """A blob from an offset on, not verified."""

    async def tags(self) -> tuple[str, ...]:
        """All tags."""

    async def has_blob(self, digest: str) -> bool:
        """Whether the registry has a blob in this repository."""

    async def begin_upload(self, mount: str = "", source: str = "") -> str:
        """Where an upload goes on; "" when the blob `mount` was taken over from the repository `source` instead."""

    async def send_chunk(self, place: str, offset: int, content: bytes) -> str:
        """Append to an upload; where it goes on."""

    async def received(self, place: str) -> tuple[str, int]:
        """Where an upload that broke off goes on, and how many bytes the registry has of it."""

    async def finish_upload(self, place: str, digest: str, content: bytes) -> None:
        """Append the rest, and have the whole verified."""

    async def put_manifest(self, reference: str, content: bytes, media_type: str) -> None:
        """Store a manifest under a tag or its digest."""


class Sources(Protocol):
    """Archives behind URLs."""

    def open(self, url: str, credentials: Credentials) -> AbstractAsyncContextManager[Stream]:
        """What is there, from its beginning; a user and a password go to the first host only.

        Raises SystemFailure where there is no answer or only half of one, and what the server's refusal amounts to.
        """


class Registries(Protocol):
    """All the registries there are."""

    def repository(self, name: str, credentials: Credentials) -> AbstractAsyncContextManager[Repository]:
        """A repository by its canonical name; connections live as long as somebody is inside."""

    async def login(self, registry: str, credentials: Credentials) -> str:
        """Have credentials checked; what may stand for the password from now on, "" for nothing.

        Raises Unauthorized.
        """

    async def search(self, registry: str, term: str, limit: int, credentials: Credentials) -> tuple[Found, ...]:
        """Repositories by words. Raises NotFound where the registry doesn't offer that."""
