"""TLS towards registries: the system's authorities, or those and the client certificate in a directory per registry.

`<directory>/<HOST[:PORT]>/*.crt` are authorities, `*.cert` with `*.key` of the same name a client's certificate, as
dockerd has them (https://docs.docker.com/engine/security/certificates/).
"""

import ssl
from collections.abc import Iterable
from pathlib import Path

from events.errors import InvalidParameter


class BadCertificates(InvalidParameter):
    """A directory of certificates that can't be used."""


def context_for(host: str, directories: Iterable[Path], *, verifies: bool) -> ssl.SSLContext:
    """Settings for connections to a registry. Raises BadCertificates. Blocks."""
    context = ssl.create_default_context()
    if not verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for directory in directories:
        place = directory / host
        if place.is_dir():
            _take(context, place)
            break
    return context


def _take(context: ssl.SSLContext, place: Path) -> None:
    for path in sorted(place.iterdir()):
        try:
            if path.suffix == ".crt":
                context.load_verify_locations(path)
            elif path.suffix == ".cert":
                _take_client(context, path)
            elif path.suffix == ".key" and not path.with_suffix(".cert").exists():
                raise BadCertificates(
                    f"missing client certificate {path.with_suffix('.cert').name} for key {path.name}"
                )
        except (OSError, ssl.SSLError) as error:
            raise BadCertificates(f"{path}: {error}") from error


def _take_client(context: ssl.SSLContext, path: Path) -> None:
    key = path.with_suffix(".key")
    if not key.exists():
        raise BadCertificates(
            f"missing key {key.name} for client certificate {path.name}. CA certificates must use the extension .crt"
        )
    context.load_cert_chain(path, key)
