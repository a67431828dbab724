"""Links as clients write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import InvalidParameter
from handlers.containers.links import parse


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("db", ("db", "db")),
        ("db:store", ("db", "store")),
        ("/db:/web/store", ("db", "store")),
    ],
)
def test_a_link_is_read(text, found):
    assert parse(text) == found


@pytest.mark.parametrize("text", ["", ":", "a:", ":a", "a:b:c", "/db:/web/", "/:x"])
def test_what_is_no_link(text):
    with pytest.raises(InvalidParameter, match="links"):
        parse(text)


@given(st.text(alphabet=":/ab", max_size=8))
def test_any_text_is_a_link_or_refused(text):
    try:
        name, alias = parse(text)
    except InvalidParameter:
        return
    assert name
    assert alias
    assert ":" not in name + alias
