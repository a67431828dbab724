"""Keys of sealed values on their way to another host; without it a log that outlives its host could not be used.

X25519 with a key made for this export, HKDF-SHA256, AES-256-GCM (RFC 7748, RFC 5869): only who holds the recipient's
private key can open it. What was destroyed before the export isn't in it.
"""

import hashlib
import secrets
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from events.errors import InvalidParameter

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_PURPOSE: Final = b"shiplog key export 1"


class KeyExport(msgspec.Struct, frozen=True, kw_only=True):
    """All keys of a log's sealed values up to an event; bytes are Base64 in JSON."""

    format: int = 1
    log: str
    sequence: int
    recipient: bytes  # public key
    ephemeral: bytes  # public key made for this export
    nonce: bytes
    ciphertext: bytes  # JSON, owner -> key


class WrongKey(InvalidParameter):
    """Not the private key that an export was sealed to, or the export was changed."""


def public_key(text: bytes) -> X25519PublicKey:
    """Raises InvalidParameter."""
    if len(text) != KEY_BYTES:
        raise InvalidParameter(f"an X25519 public key has {KEY_BYTES} bytes, this has {len(text)}")
    return X25519PublicKey.from_public_bytes(text)


def fingerprint(recipient: bytes) -> str:
    """Names a public key."""
    return hashlib.sha256(recipient).hexdigest()


def seal_keys(keys: dict[str, bytes], recipient: bytes, *, log: str, sequence: int) -> KeyExport:
    """Seal to a public key (32 bytes). Raises InvalidParameter."""
    own = X25519PrivateKey.generate()
    ephemeral = own.public_key().public_bytes_raw()
    try:
        shared = own.exchange(public_key(recipient))
    except ValueError as error:  # a point of small order: the shared key would be known to everybody
        raise InvalidParameter("the public key is not a usable X25519 key") from error
    nonce = secrets.token_bytes(_NONCE_BYTES)
    about = _about(log, sequence)
    cipher = AESGCM(_derived(shared, ephemeral, recipient))
    return KeyExport(
        log=log,
        sequence=sequence,
        recipient=recipient,
        ephemeral=ephemeral,
        nonce=nonce,
        ciphertext=cipher.encrypt(nonce, msgspec.json.encode(keys), about),
    )


def open_keys(export: KeyExport, private_key: bytes) -> dict[str, bytes]:
    """Keys by owner. Raises WrongKey."""
    if len(private_key) != KEY_BYTES:
        raise WrongKey(f"an X25519 private key has {KEY_BYTES} bytes, this has {len(private_key)}")
    own = X25519PrivateKey.from_private_bytes(private_key)
    recipient = own.public_key().public_bytes_raw()
    if recipient != export.recipient:
        raise WrongKey(
            f"the keys were sealed to the public key {fingerprint(export.recipient)[:16]}, this private key belongs to "
            f"{fingerprint(recipient)[:16]}: use the one that the export was made for"
        )
    try:
        shared = own.exchange(public_key(export.ephemeral))
        cipher = AESGCM(_derived(shared, export.ephemeral, recipient))
        plain = cipher.decrypt(export.nonce, export.ciphertext, _about(export.log, export.sequence))
        return msgspec.json.decode(plain, type=dict[str, bytes])
    except (InvalidTag, InvalidParameter, ValueError, msgspec.MsgspecError) as error:
        raise WrongKey("the key export was changed or is damaged: make another one") from error


def open_value(keys: dict[str, bytes], owner: str, nonce: bytes, ciphertext: bytes) -> bytes | None:
    """What was sealed for an owner (`events/sealed.py`); None without its key."""
    key = keys.get(owner)
    if key is None:
        return None
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, owner.encode())
    except InvalidTag:
        return None


def _derived(shared: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=_PURPOSE + ephemeral + recipient).derive(shared)


def _about(log: str, sequence: int) -> bytes:
    return f"{log} {sequence}".encode()
