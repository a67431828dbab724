"""Sizes of layers as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.layers.drivers.quota import BadStorageOption, parse_size, requested_size


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("512", 512), ("1k", 1024), ("1.5 GiB", 3 << 29), ("10G", 10 << 30), ("2mb", 2 << 20)]
)
def test_a_size_is_read(text, size_bytes):
    assert requested_size({"size": text}) == size_bytes


@pytest.mark.parametrize("text", ["", "x", "-1", "1x", "9" * 400, "999999999999999999P", "1e9"])
def test_what_is_no_size(text):
    with pytest.raises(BadStorageOption, match="invalid size"):
        requested_size({"size": text})


def test_another_option_is_refused_and_none_is_no_limit():
    assert requested_size({}) == 0
    with pytest.raises(BadStorageOption, match="unknown option depth"):
        requested_size({"depth": "1"})


@given(st.text(alphabet="0123456789.kmgtpiB ", max_size=40))
def test_any_text_is_a_size_or_refused(text):
    try:
        assert 0 <= parse_size(text) < 2**63
    except BadStorageOption:
        return
