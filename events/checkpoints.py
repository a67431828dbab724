"""Signed statements of where the log stood; without them a log written anew, or cut short, would look like a true one.

A checkpoint is Ed25519-signed (RFC 8032) with a key that never leaves this host. Checkpoints are kept in a file outside
the log, one JSON object a line; copies elsewhere, with the public key, are what a stranger checks a log against
(`clients/verifier`).
"""

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from events.errors import SystemFailure
from events.ledger import Position
from events.log import LogBroken
from events.log_directory import DIRECTORY_MODE, create_file, sync_directory, sync_file

_PRIVATE: Final = "private.pem"
_PUBLIC: Final = "public.pem"
_FILE: Final = "checkpoints.ndjson"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`hash` is that of event `sequence` of the log `log`, hexadecimal; `key` names the public key, `signature` is hex.

    Signed is `shiplog checkpoint 1`, log, sequence, hash and time, each followed by a line feed.
    """

    log: str
    sequence: int
    hash: str
    time_ns: int
    key: str
    signature: str

    def signed(self) -> bytes:
        """The bytes under the signature."""
        fields = ("shiplog checkpoint 1", self.log, self.sequence, self.hash, self.time_ns)
        return "".join(f"{field}\n" for field in fields).encode()


class Signer:
    """The key of this engine and the file of what it signed. Methods block, but for `sign`."""

    def __init__(self, key: Ed25519PrivateKey, directory: Path) -> None:
        self._key = key
        self._directory = directory
        self.public_pem = _public_pem(key.public_key())
        self.key_name = key_name(key.public_key())

    @classmethod
    def open(cls, directory: Path) -> "Signer":
        """Read the key in a directory, or make one there. Raises SystemFailure for one that can't be read."""
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        directory.chmod(DIRECTORY_MODE)
        path = directory / _PRIVATE
        if not path.exists():
            _make_key(directory)
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except ValueError as error:
            raise SystemFailure(
                f"the key that signs checkpoints, {path}, is damaged: restore it, or remove it to sign with a new one"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SystemFailure(f"the key that signs checkpoints, {path}, isn't an Ed25519 key")
        return cls(key, directory)

    def sign(self, log_id: str, position: Position, now_ns: int) -> Checkpoint:
        """State where the log stands."""
        unsigned = Checkpoint(
            log=log_id,
            sequence=position.sequence,
            hash=position.hash.hex(),
            time_ns=now_ns,
            key=self.key_name,
            signature="",
        )
        return msgspec.structs.replace(unsigned, signature=self._key.sign(unsigned.signed()).hex())

    def keep(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint down, durably. What a power cut left of an earlier one goes. Raises OSError."""
        path = self._directory / _FILE
        if not path.exists():
            create_file(path)
        with path.open("r+b") as file:
            whole = file.read().rpartition(b"\n")[0]
            file.seek(len(whole) + 1 if whole else 0)
            file.write(msgspec.json.encode(checkpoint) + b"\n")
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self._directory)

    def kept(self, log_id: str) -> list[Checkpoint]:
        """The checkpoints of a log, oldest first. Raises LogBroken for one that isn't signed by this engine."""
        path = self._directory / _FILE
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        found = [self._read(number, line) for number, line in enumerate(lines, start=1)]
        return [checkpoint for checkpoint in found if checkpoint.log == log_id]

    def _read(self, number: int, line: bytes) -> Checkpoint:
        try:
            checkpoint = msgspec.json.decode(line, type=Checkpoint)
            self._key.public_key().verify(bytes.fromhex(checkpoint.signature), checkpoint.signed())
        except (msgspec.MsgspecError, ValueError, InvalidSignature) as error:
            raise LogBroken(
                f"line {number} of {self._directory / _FILE} isn't a checkpoint that this engine signed: it was "
                "changed, or the key was; restore both from a copy"
            ) from error
        return checkpoint


def key_name(key: Ed25519PublicKey) -> str:
    """By which a public key is told from others: SHA-256 of its 32 bytes, hexadecimal."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()


def _public_pem(key: Ed25519PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _make_key(directory: Path) -> None:
    """Its files have their names only once they are on disk."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for name, content in ((_PUBLIC, _public_pem(key.public_key()).encode()), (_PRIVATE, private)):
        draft = directory / f"{name}.new"
        create_file(draft)
        draft.write_bytes(content)
        sync_file(draft)
        draft.rename(directory / name)
    sync_directory(directory)
