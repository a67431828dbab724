"""What authorizes us towards a registry: nothing, a password, or a token that a token server gives for a scope.

https://distribution.github.io/distribution/spec/auth/
"""

import base64
import re
import time
from urllib.parse import urlencode

import httpx2
import msgspec

from events.messages.image import Credentials
from handlers.images.drivers.answers import read_limited, refusal
from handlers.images.drivers.endpoints import Endpoint
from handlers.images.drivers.transport import Transport
from handlers.images.registry_errors import NoCredentials, RegistryRefused

_CLIENT = "shiplog"
_TOKEN_LIMIT_BYTES = 1024 * 1024
_DEFAULT_LIFE_S = 60.0
_MARGIN_S = 10.0
_PARAMETER = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
NOBODY = Credentials()


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """A WWW-Authenticate header."""

    scheme: str  # in lower case
    parameters: dict[str, str]


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token server's answer."""

    token: str = ""
    access_token: str = ""
    expires_in: float = _DEFAULT_LIFE_S
    refresh_token: str = ""

    @property
    def bearer(self) -> str:
        """Either of the two names that it goes by."""
        return self.token or self.access_token


class Authorizer:
    """Towards one registry, for one client's credentials."""

    def __init__(self, transport: Transport, endpoint: Endpoint, credentials: Credentials) -> None:
        self._transport, self._endpoint, self._credentials = transport, endpoint, credentials
        self._basic = ""
        self._tokens: dict[str, tuple[str, float]] = {}  # scope -> token, when it expires (monotonic)
        self.identity_token = ""  # that the token server gave, for `docker login`

    def headers(self, scope: str) -> dict[str, str]:
        """For a request within a scope, as far as is known what the registry wants."""
        if self._credentials.registry_token:
            return {"Authorization": f"Bearer {self._credentials.registry_token}"}
        token, expires = self._tokens.get(scope, ("", 0.0))
        if token and time.monotonic() < expires:
            return {"Authorization": f"Bearer {token}"}
        return {"Authorization": self._basic} if self._basic else {}

    async def learn(self, response: httpx2.Response, scope: str, method: str, url: str) -> bool:
        """Get what a 401 asks for; False when that was presented already. Raises what a token server says."""
        challenges = read_challenges(response.headers.get_list("www-authenticate"))
        sent = response.request.headers.get("authorization", "")
        for challenge in challenges:
            if challenge.scheme == "bearer" and not self._credentials.registry_token:
                if sent.startswith("Bearer ") and scope not in self._tokens:
                    return False
                if self._tokens.pop(scope, None) and sent.startswith("Bearer "):
                    return False
                await self._fetch(challenge, scope)
                return True
            if challenge.scheme == "basic" and not sent:
                self._basic = self._password_header(method, url)
                return True
        return False

    def _password_header(self, method: str, url: str) -> str:
        if not self._credentials.username:
            raise NoCredentials(method, url)
        pair = f"{self._credentials.username}:{self._credentials.password}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    async def _fetch(self, challenge: Challenge, scope: str) -> None:
        realm, service = challenge.parameters.get("realm", ""), challenge.parameters.get("service", "")
        scopes = sorted({*challenge.parameters.get("scope", "").split(), *scope.split()})
        if self._credentials.identity_token:
            token = await self._by_identity_token(realm, service, scopes)
        else:
            token = await self._by_password(realm, service, scopes)
        if not token.bearer:
            raise RegistryRefused("", "authorization server did not include a token in the response", 200)
        life_s = max(token.expires_in, _DEFAULT_LIFE_S) - _MARGIN_S
        self._tokens[scope] = (token.bearer, time.monotonic() + life_s)
        self.identity_token = token.refresh_token or self.identity_token

    async def _by_password(self, realm: str, service: str, scopes: list[str]) -> Token:
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in scopes]
        headers: dict[str, str] = {}
        if self._credentials.username:
            query += [("account", self._credentials.username), ("client_id", _CLIENT), ("offline_token", "true")]
            headers["Authorization"] = self._password_header("GET", realm)
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        return await self._ask("GET", url, headers, None)

    async def _by_identity_token(self, realm: str, service: str, scopes: list[str]) -> Token:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self._credentials.identity_token,
            "service": service,
            "scope": " ".join(scopes),
            "client_id": _CLIENT,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._ask("POST", realm, headers, urlencode(form).encode())

    async def _ask(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> Token:
        async with self._transport.request(self._endpoint, method, url, headers, body) as response:
            content = await read_limited(response, _TOKEN_LIMIT_BYTES, "token")
            if response.status_code >= 300:
                raise refusal(response.status_code, content)
        try:
            return msgspec.json.decode(content, type=Token)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RegistryRefused("", f"unable to decode token response: {error}", 200) from error


def read_challenges(headers: list[str]) -> tuple[Challenge, ...]:
    """Each header is one challenge, as registries send them."""
    found = []
    for header in headers:
        scheme, _, rest = header.strip().partition(" ")
        parameters = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in _PARAMETER.findall(rest)
        }
        found.append(Challenge(scheme=scheme.lower(), parameters=parameters))
    return tuple(found)
