"""The formats that the log can be exported in, by name."""

from typing import Final

import msgspec

from clients.audit import cloudevents, ocsf
from clients.errors import Unusable
from clients.subscribe.file_sink import Decode, Encode, as_line, position_of_line


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """How an event becomes a line, and where a line stands."""

    name: str
    encode: Encode
    position_of: Decode
    content_type: str


FORMATS: Final = {
    each.name: each
    for each in (
        Format(name="jsonl", encode=as_line, position_of=position_of_line, content_type="application/json"),
        Format(
            name="cloudevents",
            encode=cloudevents.encode,
            position_of=cloudevents.position_of,
            content_type=cloudevents.CONTENT_TYPE,
        ),
        Format(name="ocsf", encode=ocsf.encode, position_of=ocsf.position_of, content_type=ocsf.CONTENT_TYPE),
    )
}


def format_named(name: str) -> Format:
    """Raises Unusable."""
    try:
        return FORMATS[name]
    except KeyError:
        raise Unusable(f"{name} is no export format: there are {', '.join(FORMATS)}") from None
