"""Requests to one registry with all that it wants to know of us; without it every request would authorize itself."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

import httpx2

from events.messages.image import Credentials
from handlers.images.drivers.answers import read_limited, refusal
from handlers.images.drivers.authorization import NOBODY, Authorizer
from handlers.images.drivers.endpoints import Endpoint
from handlers.images.drivers.transport import Body, Transport

_ERROR_LIMIT_BYTES = 64 * 1024


def _nothing() -> Body:
    return None


class Asker:
    """Towards one endpoint, for one client's credentials; a mirror gets none."""

    def __init__(self, transport: Transport, endpoint: Endpoint, credentials: Credentials) -> None:
        self._transport, self.endpoint = transport, endpoint
        self._authorizer = Authorizer(transport, endpoint, NOBODY if endpoint.is_mirror else credentials)

    @property
    def identity_token(self) -> str:
        """That a token server gave in place of the password, "" without one."""
        return self._authorizer.identity_token

    async def ask(
        self,
        stack: AsyncExitStack,
        method: str,
        url: str,
        headers: Mapping[str, str],
        scope: str,
        body: Callable[[], Body] = _nothing,
    ) -> httpx2.Response:
        """An answer that is no error, open until `stack` ends. `body` is made anew for every try.

        Raises RegistryRefused, RegistryUnreachable, NoCredentials.
        """
        while True:
            attempt = await stack.enter_async_context(AsyncExitStack())
            authorized = {**headers, **self._authorizer.headers(scope)}
            request = self._transport.request(self.endpoint, method, url, authorized, body())
            response = await attempt.enter_async_context(request)
            if response.status_code < httpx2.codes.BAD_REQUEST:
                return response
            content = await read_limited(response, _ERROR_LIMIT_BYTES, "error")
            learned = response.status_code == httpx2.codes.UNAUTHORIZED and await self._authorizer.learn(
                response, scope, method, url
            )
            await attempt.aclose()
            if not learned:
                raise refusal(response.status_code, content)
