"""Addresses of what is to be imported."""

import pytest

from events.errors import InvalidParameter
from events.messages.image import Credentials
from handlers.addresses import Source, source_of


@pytest.mark.parametrize(
    ("text", "url", "user", "password"),
    [
        ("http://host/a.tar?x=1", "http://host/a.tar?x=1", "", ""),
        ("https://host:8443/a", "https://host:8443/a", "", ""),
        ("host:80/a.tar", "http://host:80/a.tar", "", ""),
        ("http://me:p%40ss@[::1]:8/a", "http://[::1]:8/a", "me", "p@ss"),
    ],
)
def test_where_something_is_and_who_asks(text, url, user, password):
    assert source_of(text) == Source(url=url, credentials=Credentials(username=user, password=password))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("file:///etc/passwd", 'Get "file:///etc/passwd": unsupported protocol scheme "file"'),
        ("unix://x/y", 'Get "unix://x/y": unsupported protocol scheme "unix"'),
        ("http:///a", 'Get "http:///a": http: no Host in request URL'),
        ("http://host:port/a", "parse \"http://host:port/a\": Port could not be cast to integer value as 'port'"),
        ("http://me:secret@[::1/a", 'parse "http://[::1/a": Invalid IPv6 URL'),
    ],
)
def test_where_nothing_can_be(text, why):
    with pytest.raises(InvalidParameter) as refusal:
        source_of(text)
    assert str(refusal.value) == why
