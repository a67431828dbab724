"""Archives behind URLs, over the same connections, proxies and certificates as registries."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx2

from events.errors import EngineError, Forbidden, InvalidParameter, NotFound, SystemFailure, Unauthorized
from events.messages.image import Credentials
from handlers.images.drivers.endpoints import Endpoint
from handlers.images.drivers.transport import Transport
from handlers.images.ports import Stream

_SHOWN_BYTES = 1024
_KINDS: dict[int, type[EngineError]] = {400: InvalidParameter, 401: Unauthorized, 403: Forbidden, 404: NotFound}


class HttpSources:
    """See `handlers.images.ports.Sources`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @asynccontextmanager
    async def open(self, url: str, credentials: Credentials) -> AsyncIterator[Stream]:
        """See `Sources.open`."""
        endpoint = Endpoint(url=url, host=urlsplit(url).netloc)
        async with (
            self._transport.sharing(),
            self._transport.request(endpoint, "GET", url, _authorization(credentials)) as response,
        ):
            if response.status_code >= httpx2.codes.BAD_REQUEST:
                raise await _refusal(url, response)
            declared = response.headers.get("content-length", "")
            total_bytes = int(declared) if declared.isdecimal() else -1
            yield Stream(offset=0, total_bytes=total_bytes, chunks=response.aiter_raw())


def _authorization(credentials: Credentials) -> dict[str, str]:
    if not credentials.username:
        return {}
    pair = f"{credentials.username}:{credentials.password}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


async def _refusal(url: str, response: httpx2.Response) -> EngineError:
    """In moby's words (builder/remotecontext/remote.go), with the beginning of what the server says."""
    said = bytearray()
    async for chunk in response.aiter_raw():
        said += chunk
        if len(said) >= _SHOWN_BYTES:
            break
    status = f"{response.status_code} {response.reason_phrase}".rstrip()
    text = said[:_SHOWN_BYTES].decode(errors="replace").strip()
    return _KINDS.get(response.status_code, SystemFailure)(f"failed to GET {url} with status {status}: {text}")
