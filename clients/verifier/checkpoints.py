"""Checkpoints as a stranger sees them: lines of JSON, and a public key that tells whether they are true."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clients.verifier.records import AuditFailed


@dataclass(frozen=True)
class Checkpoint:
    """At `time_ns` the newest event of the log was `sequence`, and its hash was `digest`; the signature is good."""

    log: str
    sequence: int
    digest: bytes
    time_ns: int


def public_key(path: Path) -> Ed25519PublicKey:
    """A key in PEM. Raises AuditFailed."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise AuditFailed(f"{path}: {error.strerror}; give the engine's public key (checkpoints/public.pem)") from error
    except ValueError as error:
        raise AuditFailed(f"{path}: this is no public key in PEM; give the engine's checkpoints/public.pem") from error
    if not isinstance(key, Ed25519PublicKey):
        raise AuditFailed(f"{path}: this isn't an Ed25519 key; give the engine's checkpoints/public.pem")
    return key


def checkpoints(path: Path, key: Ed25519PublicKey) -> list[Checkpoint]:
    """The checkpoints in a file, one a line, all signed by the key. Raises AuditFailed."""
    try:
        return list(_read(path, path.read_bytes(), key))
    except OSError as error:
        raise AuditFailed(f"{path}: {error.strerror}; give a file of checkpoints") from error


def _read(path: Path, content: bytes, key: Ed25519PublicKey) -> Iterator[Checkpoint]:
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            fields: dict[str, Any] = json.loads(line)
            fields = fields.get("checkpoint", fields)  # as the engine answers
            log, sequence, digest, time_ns = (fields[name] for name in ("log", "sequence", "hash", "time_ns"))
            signature = bytes.fromhex(fields["signature"])
            named = fields["key"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AuditFailed(f"{path}: line {number} is no checkpoint ({error!r}); take another copy") from error
        if named != _name(key):
            raise AuditFailed(f"{path}: line {number} was signed with another key ({named}); give that one with --key")
        signed = "".join(f"{field}\n" for field in ("shiplog checkpoint 1", log, sequence, digest, time_ns)).encode()
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            raise AuditFailed(f"{path}: line {number} has a bad signature: the checkpoint was changed") from None
        yield Checkpoint(log, sequence, bytes.fromhex(digest), time_ns)


def _name(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()
