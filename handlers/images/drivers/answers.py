"""Answers of registries, read with a bound; what they say in errors is told by its code."""

from http import HTTPStatus

import httpx2
import msgspec

from handlers.images.registry_errors import BadManifest, RegistryRefused

_SHOWN_CHARACTERS = 1024
_BARE = {
    401: ("UNAUTHORIZED", "authentication required"),
    403: ("DENIED", "requested access to the resource is denied"),
    429: ("TOOMANYREQUESTS", "too many requests"),
}


class _Said(msgspec.Struct, frozen=True, kw_only=True):
    code: str = "UNKNOWN"
    message: str = ""


class _Errors(msgspec.Struct, frozen=True, kw_only=True):
    errors: tuple[_Said, ...] | None = None
    details: str = ""  # token servers' own form


async def read_limited(response: httpx2.Response, limit_bytes: int, what: str) -> bytes:
    """A whole body. Raises BadManifest when it is larger."""
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise BadManifest(f"{what}: {declared} bytes, at most {limit_bytes} are taken")
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > limit_bytes:
            raise BadManifest(f"{what}: more than {limit_bytes} bytes")
    return bytes(content)


def refusal(status: int, content: bytes) -> RegistryRefused:
    """What an answer with an error status says."""
    if status >= 500 or status < 400:
        return RegistryRefused("", f"received unexpected HTTP status: {status} {_phrase(status)}".rstrip(), status)
    try:
        said = msgspec.json.decode(content, type=_Errors)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        said = _Errors()
    if said.errors:
        first = said.errors[0]
        return RegistryRefused(first.code, first.message[:_SHOWN_CHARACTERS] or first.code.lower(), status)
    code, reason = _BARE.get(status, ("", f"error parsing HTTP {status} response body: {_shown(content)}"))
    return RegistryRefused(code, said.details or reason, status)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _shown(content: bytes) -> str:
    text = content[:_SHOWN_CHARACTERS].decode(errors="replace")
    return f'"{text}"' if text else "unexpected end of JSON input"
