"""Values that the log may only hold encrypted; without them a secret would outlive its container in every copy."""

from collections.abc import Collection
from typing import Protocol

import msgspec


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """An encrypted value: AES-256-GCM with the key of the object `owner` (`container/<id>`, `volume/<name>`)."""

    owner: str
    nonce: bytes
    ciphertext: bytes


class KeyDestroyed(Exception):
    """The value is gone for good: its owner was removed."""


class Keyring(Protocol):
    """One key per object, kept outside the log.

    `seal` makes the owner's key durable (fsync) before it returns; `destroy` of an absent key succeeds.
    """

    async def seal(self, owner: str, plain: bytes) -> Sealed:
        """Encrypt for an owner."""

    def open(self, sealed: Sealed) -> bytes:
        """Decrypt. Raises KeyDestroyed."""

    async def destroy(self, owner: str) -> None:
        """Forget the owner's key: everything sealed with it is unreadable from now on."""

    async def owners(self, *, besides: Collection[str] = ()) -> tuple[str, ...]:
        """Owners that have a key, but for those named: recovery looks for keys that nobody needs."""

    async def export(self) -> dict[str, bytes]:
        """Every key there is, by owner: for `events/key_export.py` alone, which seals them at once."""
