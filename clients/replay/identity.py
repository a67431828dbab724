"""The key pair that a host which may take over another's containers has, and the exports made for it."""

import base64
import binascii
import os
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from clients.errors import Unusable
from events.errors import EngineError
from events.key_export import KEY_BYTES, KeyExport, open_keys

_MODE: Final = 0o600


def make_identity(path: Path) -> str:
    """Write a new private key (Base64, mode 0600) to a file that isn't there yet; returns the public key (Base64)."""
    own = X25519PrivateKey.generate()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    except OSError as error:
        raise Unusable(f"{path} can't be made ({error.strerror}): a key that exists is never replaced") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(own.private_bytes_raw()) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return base64.b64encode(own.public_key().public_bytes_raw()).decode()


def read_identity(path: Path) -> bytes:
    """The private key in a file. Raises Unusable."""
    try:
        key = base64.b64decode(path.read_bytes().strip(), validate=True)
    except (OSError, binascii.Error, ValueError) as error:
        raise Unusable(f"the private key in {path} can't be read ({error})") from error
    if len(key) != KEY_BYTES:
        raise Unusable(
            f"{path} holds {len(key)} bytes, a private key has {KEY_BYTES}: name the file of the private key"
        )
    return key


def read_export(path: Path, private_key: bytes, log: str) -> dict[str, bytes]:
    """Keys by owner of an export for a log. Raises Unusable."""
    try:
        export = msgspec.json.decode(path.read_bytes(), type=KeyExport)
    except (OSError, msgspec.MsgspecError) as error:
        raise Unusable(f"{path} is no key export ({error}): make one with the lost host's public engine") from error
    if export.log != log:
        raise Unusable(f"the keys in {path} belong to the log {export.log}, this is {log}: use that log's export")
    try:
        return open_keys(export, private_key)
    except EngineError as error:
        raise Unusable(str(error)) from error
