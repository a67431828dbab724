"""Endpoints that ask a registry and change nothing here: logins, searches, and what a name stands for there."""

from typing import Final
from urllib.parse import urlsplit

import anyio

from daemon.api.answers import as_json
from daemon.api.engine import Engine
from daemon.api.transfers import Authorization, as_credentials, credentials
from daemon.http.json import decode_body
from daemon.http.messages import Answer, Request
from daemon.http.query import filters, integer, text
from daemon.shapes.go_values import JsonObject, without_empty
from events import references
from events.errors import DeadlineExceeded, InvalidParameter
from handlers.images import configuration, manifests
from handlers.images.manifests import Index
from handlers.images.platforms import Platform
from handlers.images.ports import Fetched, Found, Repository
from handlers.images.registry_errors import RegistryRefused, denied_pull

HUB: Final = "docker.io"
_HUB_HOSTS: Final = frozenset({"", "docker.io", "index.docker.io", "registry-1.docker.io"})
_ASK_S: Final = 120.0
_SEARCH_LIMIT: Final = 25
_GREATEST_SEARCH_LIMIT: Final = 100
_SEARCH_KEYS: Final = frozenset({"is-automated", "is-official", "stars"})


async def login(engine: Engine, request: Request) -> Answer:
    """`POST /auth`: whether a registry takes these credentials."""
    body = decode_body(await request.read(), request.headers.get("content-type", ""), Authorization, optional=False)
    with anyio.fail_after(_ASK_S):
        token = await engine.registries.login(registry_of(body.serveraddress), as_credentials(body))
    return as_json({"Status": "Login Succeeded", "IdentityToken": token})


def registry_of(address: str) -> str:
    """The registry that a client's `serveraddress` (a host, or a URL) means."""
    host = urlsplit(address).netloc if "://" in address else address.partition("/")[0]
    return HUB if host in _HUB_HOSTS else host


async def inspect(engine: Engine, request: Request) -> Answer:
    """`GET /distribution/{name}/json`: the descriptor, and the platforms that there are images for."""
    reference = references.parse(request.parameters["name"]).with_default_tag
    try:
        with anyio.fail_after(_ASK_S):
            async with engine.registries.repository(reference.name, credentials(request)) as repository:
                fetched = await repository.manifest(reference.digest or reference.tag)
                platforms = await _platforms(repository, fetched)
    except RegistryRefused as error:
        raise denied_pull(reference.familiar_name, reference.familiar, error) from error
    except TimeoutError as error:
        raise DeadlineExceeded(f"the registry of {reference.familiar} has not answered") from error
    descriptor: JsonObject = {
        "mediaType": fetched.media_type,
        "digest": fetched.digest,
        "size": len(fetched.content),
    }
    return as_json({"Descriptor": descriptor, "Platforms": [_shape(each) for each in platforms]})


async def _platforms(repository: Repository, fetched: Fetched) -> list[Platform]:
    document = manifests.read(fetched.content, fetched.media_type)
    if isinstance(document, Index):
        return [each.platform for each in document.manifests if each.platform is not None]
    content = await repository.small_blob(document.config.digest, configuration.LIMIT_BYTES)
    config = configuration.parse(content)
    return [Platform(os=config.os, architecture=config.architecture, variant=config.variant)]


def _shape(platform: Platform) -> JsonObject:
    shape: JsonObject = {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant}
    return without_empty(shape, ("variant",))


async def search(engine: Engine, request: Request) -> Answer:
    """`GET /images/search`: repositories by words, of Docker Hub or (`HOST/words`) of a registry that offers it."""
    term = text(request.query, "term")
    if not term:
        raise InvalidParameter("invalid search term: it is empty")
    limit = integer(request.query, "limit") or _SEARCH_LIMIT
    if not 0 < limit <= _GREATEST_SEARCH_LIMIT:
        raise InvalidParameter(f"limit {limit} is outside the range of [1, {_GREATEST_SEARCH_LIMIT}]")
    wanted = filters(request.query, _SEARCH_KEYS)
    registry, words = _split(term)
    with anyio.fail_after(_ASK_S):
        found = await engine.registries.search(registry, words, limit, credentials(request))
    return as_json([_result(each) for each in found if _passes(each, wanted)])


def _split(term: str) -> tuple[str, str]:
    """`HOST/words` names a registry where the part before the slash can only be one."""
    host, slash, words = term.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return registry_of(host), words
    return HUB, term


def _passes(found: Found, wanted: dict[str, tuple[str, ...]]) -> bool:
    for value in wanted.get("is-official", ()):
        if found.is_official != _truth("is-official", value):
            return False
    for value in wanted.get("is-automated", ()):
        if found.is_automated != _truth("is-automated", value):
            return False
    return all(found.star_count >= _stars(value) for value in wanted.get("stars", ()))


def _truth(key: str, value: str) -> bool:
    if value not in ("true", "1", "false", "0"):
        raise InvalidParameter(f"invalid filter '{key}={value}'")
    return value in ("true", "1")


def _stars(value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise InvalidParameter(f"invalid filter 'stars={value}'")
    return int(value)


def _result(found: Found) -> JsonObject:
    return {
        "star_count": found.star_count,
        "is_official": found.is_official,
        "name": found.name,
        "is_automated": found.is_automated,
        "description": found.description,
    }
