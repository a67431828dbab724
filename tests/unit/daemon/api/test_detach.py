"""The keys that leave a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.api.detach import DetachFilter, InvalidDetachKeys, parse_keys


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", b"\x10\x11"),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("ctrl-@,ctrl-a,ctrl-z", b"\x00\x01\x1a"),
        ("ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x1b\x1c\x1d\x1e\x1f"),
        ("a,b,DEL", b"ab\x7f"),
    ],
)
def test_sequences(text, keys):
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["zz-zz", "ctrl-", "ctrl-A", "ctrl-pq", "a,,b", "é", "ctrl-é"])
def test_what_is_no_sequence(text):
    with pytest.raises(InvalidDetachKeys) as caught:
        parse_keys(text)
    assert str(caught.value) == f"Invalid detach keys ({text}) provided"


def typed(keys, *pieces):
    keyboard = DetachFilter(keys)
    passed = b"".join(keyboard.feed(piece) for piece in pieces)
    return passed, keyboard.detached, keyboard.rest()


@pytest.mark.parametrize(
    ("pieces", "passed", "detached", "held"),
    [
        ((b"hello",), b"hello", False, b""),
        ((b"\x10\x11",), b"", True, b""),
        ((b"ls\x10", b"\x11more"), b"ls", True, b""),
        ((b"\x10x\x11",), b"\x10x\x11", False, b""),
        ((b"\x10\x10\x11",), b"\x10", True, b""),
        ((b"a\x10",), b"a", False, b"\x10"),
    ],
)
def test_the_sequence_is_found_wherever_it_is_split(pieces, passed, detached, held):
    assert typed(b"\x10\x11", *pieces) == (passed, detached, held)


@given(st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=12), st.sampled_from([b"aab", b"abab", b"aa", b"c"]))
def test_everything_before_the_first_sequence_passes(typed_bytes, keys):
    text = b"".join(typed_bytes)
    passed, detached, held = typed(keys, *typed_bytes)
    assert detached is (keys in text)
    assert passed + held == (text.partition(keys)[0] if detached else text)
