"""Names and signals as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.containers.errors import InvalidName, InvalidSignal
from handlers.containers.names import PATTERN, check_name, suggest_name
from handlers.containers.signals import parse_signal


@pytest.mark.parametrize("name", ["web", "/web", "a1", "A_b.c-d"])
def test_good_names(name):
    assert check_name(name) == name.removeprefix("/")


@pytest.mark.parametrize("name", ["a", "-a", "a/b", "a b", "ä1", "a\n", ""])
def test_bad_names(name):
    with pytest.raises(InvalidName, match=r"only \[a-zA-Z0-9\]\[a-zA-Z0-9_.-\] are allowed"):
        check_name(name)


@given(st.integers(0, 16**64 - 1), st.integers(0, 7))
def test_suggestions_are_names(number, attempt):
    assert PATTERN.fullmatch(suggest_name(f"{number:064x}", attempt))


@pytest.mark.parametrize(
    ("text", "number"),
    [("SIGKILL", 9), ("kill", 9), ("15", 15), ("usr1", 10), ("RTMIN+3", 37), ("SIGHUP", 1)],
)
def test_signals(text, number):
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["FOO", "0", "65", "", "-1", "SIG"])
def test_no_signals(text):
    with pytest.raises(InvalidSignal, match=f"^invalid signal: {text}$"):
        parse_signal(text)
