"""References made up by the thousand: whatever a client writes is read the same again, or refused as Docker does."""

from hypothesis import given, settings
from hypothesis import strategies as st

from events import references
from events.errors import InvalidParameter

COMPONENT = st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)
PLAIN = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)  # with a dot it would be a domain
DOMAIN = st.from_regex(r"([a-z0-9]{1,5}\.[a-zA-Z0-9]{1,5}|localhost)(:[0-9]{1,5})?", fullmatch=True)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
DIGEST = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)


@st.composite
def valid(draw: st.DrawFn) -> str:
    parts = draw(st.lists(COMPONENT, min_size=1, max_size=3))
    name = "/".join([draw(DOMAIN), *parts] if draw(st.booleans()) else [draw(PLAIN), *parts[1:]])
    tag = f":{draw(TAG)}" if draw(st.booleans()) else ""
    digest = f"@{draw(DIGEST)}" if draw(st.booleans()) else ""
    return name + tag + digest


@settings(deadline=None, max_examples=300)
@given(valid())
def test_what_is_written_is_read_again(text):
    reference = references.parse(text)
    assert references.parse(reference.canonical) == reference
    assert references.parse(reference.familiar).canonical == reference.canonical


@settings(deadline=None, max_examples=500)
@given(st.one_of(st.text(max_size=60), st.text(alphabet="aB0/:@._-\n\0", max_size=40)))
def test_anything_is_read_or_refused(text):
    try:
        reference = references.parse(text)
    except InvalidParameter:
        return
    assert references.parse(reference.canonical) == reference
