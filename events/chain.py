"""The chain of hashes; without it a changed, missing or moved event couldn't be told from a true one.

hash(n) = SHA-256(hash(n - 1) || bytes of event n as stored); hash(0) stands for the log's id.
"""

from collections.abc import Iterable
from hashlib import sha256

from events.log import LogBroken

HASH_BYTES = 32

_begun = sha256()  # a copy of it is made sooner than a new one: that looks the algorithm up each time


def genesis(log_id: str) -> bytes:
    """The hash before the first event: it ties every later one to this log."""
    return sha256(b"shiplog log " + log_id.encode()).digest()


def link(previous: bytes, stored: bytes) -> bytes:
    """The hash of an event, of its predecessor's and its own bytes."""
    hashed = _begun.copy()
    hashed.update(previous)
    hashed.update(stored)
    return hashed.digest()


def unfit(sequence: int) -> str:
    """What is wrong with an event whose hash is another."""
    return f"event {sequence} does not fit the hash chain: it, or what comes before it, was changed"


def check(previous: bytes, after: int, links: Iterable[tuple[int, bytes, bytes]]) -> bytes:
    """Recompute (sequence, stored bytes, hash) in order and return the last hash.

    `previous` is the hash of event `after`. Raises LogBroken that names the first bad sequence.
    """
    for expected, (sequence, stored, digest) in enumerate(links, start=after + 1):
        if sequence != expected:
            raise LogBroken(f"event {expected} is missing from the log")
        if link(previous, stored) != digest:
            raise LogBroken(unfit(sequence))
        previous = digest
    return previous
