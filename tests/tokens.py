"""A token server for a registry (distribution's token authentication), with users of the test's own."""

import base64
import contextlib
import http.server
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from typing_extensions import override

from tests.registries import HttpServer

ISSUER, SERVICE = "test-issuer", "test-registry"
USER, PASSWORD, REFRESH = "user", "secret", "refresh-of-user"


class TokenServer:
    """Serves in the engine's namespace; whoever is `user` may do anything, others nothing in `private/`."""

    def __init__(self, namespace: str, directory: Path) -> None:
        self.asked: list[str] = []
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._certificate = self._certify()
        self.bundle = directory / "tokens.pem"
        self.bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            @override
            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                pair = base64.b64decode(self.headers.get("authorization", "").removeprefix("Basic ") or b"").decode()
                self.answer(query, pair, wrong=bool(pair) and pair != f"{USER}:{PASSWORD}")

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                right = form.get("refresh_token") == [REFRESH]
                self.answer({"scope": form.get("scope", [""])[0].split()}, USER, wrong=not right)

            def answer(self, query: dict[str, list[str]], pair: str, *, wrong: bool) -> None:
                server.asked.append(f"{self.command} {query.get('scope')}")
                status, body = (
                    (401, {"details": "incorrect username or password"})
                    if wrong
                    else (200, server.grant(query.get("scope", []), pair.partition(":")[0]))
                )
                content = json.dumps(body).encode()
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

        self._server = HttpServer(namespace, Handler)
        self.realm = f"http://{self._server.address}/token"

    def close(self) -> None:
        """End."""
        self._server.close()

    def settings(self) -> dict[str, Any]:
        """For the registry's configuration."""
        return {
            "token": {
                "realm": self.realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(self.bundle)
            }
        }  # fmt: skip

    def grant(self, scopes: list[str], user: str) -> dict[str, Any]:
        """A token for what of the scopes the user may do."""
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            if user == USER or not name.startswith("private/"):
                access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": SERVICE, "sub": user, "access": access,
            "iat": now, "nbf": now - 60, "exp": now + 300, "jti": str(now),
        }  # fmt: skip
        refresh = {"refresh_token": REFRESH} if user == USER else {}
        return {"token": self._signed(claims), "expires_in": 300} | refresh

    def _signed(self, claims: dict[str, Any]) -> str:
        chain = base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()
        parts = [
            _encoded(json.dumps(each).encode()) for each in ({"typ": "JWT", "alg": "RS256", "x5c": [chain]}, claims)
        ]
        signature = self._key.sign(".".join(parts).encode(), padding.PKCS1v15(), hashes.SHA256())
        return ".".join([*parts, _encoded(signature)])

    def _certify(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
        begin = datetime(2020, 1, 1, tzinfo=UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=36500))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
