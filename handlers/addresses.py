"""Addresses that clients want something imported from; without it a file of the host could be one.

Whoever may talk to the engine may have it fetch from where it can reach, as with dockerd: by http and https only.
"""

import re
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from events.errors import InvalidParameter
from events.messages.image import Credentials

_USER = re.compile("//[^/]*@")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where something is fetched from: the URL as it may be shown, and what it said of a user."""

    url: str
    credentials: Credentials


def source_of(text: str) -> Source:
    """What a client means by an address; without a scheme it is http. Raises InvalidParameter in Go's words."""
    text = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(text)
        netloc = f"{parts.hostname or ''}{f':{parts.port}' if parts.port is not None else ''}"
    except ValueError as error:
        shown = _USER.sub("//", text)
        raise InvalidParameter(f'parse "{shown}": {error}') from error
    url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if parts.scheme not in ("http", "https"):
        raise InvalidParameter(f'Get "{url}": unsupported protocol scheme "{parts.scheme}"')
    if not netloc:
        raise InvalidParameter(f'Get "{url}": http: no Host in request URL')
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Source(url=url, credentials=Credentials(username=user, password=password))
