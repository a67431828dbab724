"""The chain's arithmetic, against values worked out by hand with sha256sum."""

import hashlib

import pytest

from events import chain
from events.log import LogBroken

START = chain.genesis("0" * 32)


def links(*records: bytes) -> list[tuple[int, bytes, bytes]]:
    digest, result = START, []
    for sequence, record in enumerate(records, start=1):
        digest = chain.link(digest, record)
        result.append((sequence, record, digest))
    return result


def test_genesis_ties_the_chain_to_the_log() -> None:
    assert START.hex() == hashlib.sha256(b"shiplog log 00000000000000000000000000000000").hexdigest()
    assert chain.genesis("1" * 32) != START


def test_a_link_covers_its_predecessor_and_the_stored_bytes() -> None:
    assert chain.link(START, b"{}") == hashlib.sha256(START + b"{}").digest()
    assert len(chain.link(START, b"{}")) == chain.HASH_BYTES


def test_a_sound_chain() -> None:
    sound = links(b"a", b"b", b"c")
    assert chain.check(START, 0, sound) == sound[-1][2]
    assert chain.check(sound[0][2], 1, sound[1:]) == sound[-1][2]
    assert chain.check(START, 0, []) == START


def test_the_first_bad_event_is_named() -> None:
    sound = links(b"a", b"b", b"c", b"d")
    with pytest.raises(LogBroken, match="event 2 does not fit"):
        chain.check(START, 0, [sound[0], (2, b"B", sound[1][2]), *sound[2:]])
    with pytest.raises(LogBroken, match="event 3 is missing"):
        chain.check(START, 0, [*sound[:2], sound[3]])
    with pytest.raises(LogBroken, match="event 1 does not fit"):
        chain.check(chain.genesis("another"), 0, sound)
