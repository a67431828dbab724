"""A keyring in memory; without it tests of handlers would write key files."""

import secrets
from collections.abc import Collection

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.sealed import KeyDestroyed, Sealed


class MemoryKeyring:
    """A `Keyring` that forgets everything with the test. It really encrypts: a leak of plain text shows."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}

    async def seal(self, owner: str, plain: bytes) -> Sealed:
        """Encrypt for an owner."""
        key = self._keys.setdefault(owner, secrets.token_bytes(32))
        nonce = secrets.token_bytes(12)
        return Sealed(owner=owner, nonce=nonce, ciphertext=AESGCM(key).encrypt(nonce, plain, owner.encode()))

    def open(self, sealed: Sealed) -> bytes:
        """Decrypt. Raises KeyDestroyed."""
        key = self._keys.get(sealed.owner)
        if key is None:
            raise KeyDestroyed(f"the key of {sealed.owner} was destroyed")
        try:
            return AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, sealed.owner.encode())
        except InvalidTag:
            raise KeyDestroyed(f"the key of {sealed.owner} is not the one that this was sealed with") from None

    async def destroy(self, owner: str) -> None:
        """Forget the owner's key."""
        self._keys.pop(owner, None)

    async def export(self) -> dict[str, bytes]:
        """Every key there is."""
        return dict(self._keys)

    async def owners(self, *, besides: Collection[str] = ()) -> tuple[str, ...]:
        """Owners that have a key, but for those named."""
        return tuple(sorted(self._keys.keys() - set(besides)))
