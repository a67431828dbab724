"""`POST /build`: an image by a Dockerfile, with dockerd's classic builder for a model."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from daemon.api.answers import as_json
from daemon.api.engine import Engine
from daemon.api.images import spooled
from daemon.api.transfers import Authorization, Transfer, as_credentials
from daemon.http.json_syntax import explain
from daemon.http.messages import Answer, Request
from daemon.http.query import boolean, integer, text
from events import references
from events.errors import InvalidParameter, Unsupported
from events.messages.build import BuildImage, Limits
from events.messages.container import Ulimit
from events.messages.image import Credentials

Value = TypeVar("Value")
CONFIG_HEADER: Final = "x-registry-config"
_CLASSIC: Final = ("", "1")
_BUILDKIT: Final = "2"


async def build(engine: Engine, request: Request) -> Answer:
    """`POST /build`: the answer begins with the first step, and a failure after it is the last line."""
    _refuse_what_is_missing(request.query)
    remote = text(request.query, "remote")
    if remote:
        return await Transfer(engine, request, _command(request.query, request.headers, "", remote)).answer()
    async with spooled(engine, request) as path:  # read before the first line is told
        return await Transfer(engine, request, _command(request.query, request.headers, str(path), "")).answer()


async def prune_builds(engine: Engine, request: Request) -> Answer:
    """`POST /build/prune`: the classic builder's cache are images, which `docker image prune` clears, as in dockerd."""
    return as_json({"CachesDeleted": None, "SpaceReclaimed": 0})


def _refuse_what_is_missing(query: Mapping[str, list[str]]) -> None:
    version = text(query, "version")
    if version == _BUILDKIT:
        raise Unsupported("BuildKit is not supported yet; set DOCKER_BUILDKIT=0 to build with the classic builder")
    if version not in _CLASSIC:
        raise InvalidParameter(f'invalid version "{version}"')
    if boolean(query, "squash"):
        raise InvalidParameter("squash is only supported with experimental mode")
    if any(query.get("securityopt", ())):
        raise InvalidParameter("The daemon on this platform does not support setting security options on build")


def _command(query: Mapping[str, list[str]], headers: Mapping[str, str], path: str, remote: str) -> BuildImage:
    """Raises InvalidParameter for what can't be read."""
    return BuildImage(
        context=path,
        remote=remote,
        dockerfile=text(query, "dockerfile") or "Dockerfile",
        tags=tuple(dict.fromkeys(_tag(tag) for tag in query.get("t", ()) if tag)),
        arguments=_json(query, "buildargs", dict[str, str | None], "error reading build args") or {},
        labels=_json(query, "labels", dict[str, str], "error reading labels") or {},
        target=text(query, "target"),
        platform=text(query, "platform"),
        uses_cache=not boolean(query, "nocache"),
        cache_from=_json(query, "cachefrom", tuple[str, ...], "error reading cache-from") or (),
        pulls=boolean(query, "pull"),
        is_quiet=boolean(query, "q"),
        removes=boolean(query, "rm", default=True),
        force_removes=boolean(query, "forcerm"),
        network_mode=text(query, "networkmode"),
        extra_hosts=tuple(host for each in query.get("extrahosts", ()) for host in _words(each)),
        limits=_limits(query),
        credentials=_credentials(headers.get(CONFIG_HEADER, "")),
    )


def _limits(query: Mapping[str, list[str]]) -> Limits:
    numbers = {name: integer(query, parameter) for name, parameter in _NUMBERS.items()}
    ulimits = _json(query, "ulimits", list[_Ulimit], "error reading ulimit settings") or []
    return Limits(
        **numbers,
        cpuset_cpus=text(query, "cpusetcpus"),
        cpuset_mems=text(query, "cpusetmems"),
        cgroup_parent=text(query, "cgroupparent"),
        ulimits=tuple(Ulimit(name=each.name, soft=each.soft, hard=each.hard) for each in ulimits),
    )


_NUMBERS: Final = {
    "memory": "memory",
    "memory_swap": "memswap",
    "cpu_shares": "cpushares",
    "cpu_period": "cpuperiod",
    "cpu_quota": "cpuquota",
    "shm_size": "shmsize",
}


class _Ulimit(msgspec.Struct, frozen=True, rename="pascal"):
    """As clients write it."""

    name: str
    soft: int = 0
    hard: int = 0


def _tag(text: str) -> str:
    """A canonical name with a tag. Raises InvalidReference."""
    reference = references.parse(text)
    if reference.digest:
        raise InvalidParameter("build tag cannot contain a digest")
    return reference.with_default_tag.canonical


def _words(text: str) -> list[str]:
    """Several in one, as old clients send them."""
    return [word for word in re.split(r"[,\s]+", text) if word]


def _json(query: Mapping[str, list[str]], name: str, kind: Any, wording: str) -> Any:  # noqa: ANN401 - of that kind
    """A parameter that is JSON; None for one that isn't given. Raises InvalidParameter."""
    value = text(query, name)
    if not value:
        return None
    try:
        return msgspec.json.decode(value, type=kind | None)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"{wording}: {error}") from error
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        said = explain(value.encode(errors="replace"))
        raise InvalidParameter(f"{wording}: {said}") from error


def _credentials(header: str) -> dict[str, Credentials]:
    """What X-Registry-Config holds, by registry; as in Docker, what can't be read counts as nothing."""
    try:
        content = base64.b64decode(header.rstrip("=") + "=" * (-len(header.rstrip("=")) % 4), altchars=b"-_")
        given = msgspec.json.decode(content, type=dict[str, Authorization]) if content else {}
        return {registry: as_credentials(each) for registry, each in given.items()}
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        return {}
