"""An event as a line of JSON that carries its proof; without it every reader outside would get another form of it.

    {"log": id, "sequence": number, "hash": hexadecimal, "record": {...}}

`record` is the event's bytes exactly as they are stored and hashed: whoever has the lines can check the chain of hashes
(`events/chain.py`). What is secret in it is sealed.
"""

from collections.abc import Iterable

import msgspec

from events.codec import Record, decode_record
from events.log import LogBroken, Stored


class Line(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A line, read. `log` and `sequence` name the event wherever it goes."""

    log: str
    sequence: int
    hash: str
    record: msgspec.Raw

    @property
    def content(self) -> Record:
        """The record's fields. Raises LogBroken."""
        return decode_record(bytes(self.record))


_decoder = msgspec.json.Decoder(Line)


def lines(log_id: str, events: Iterable[Stored]) -> list[bytes]:
    """Each with its line's end."""
    head = b'{"log":"%s","sequence":' % log_id.encode()
    return [
        b'%b%d,"hash":"%b","record":%b}\n' % (head, sequence, digest.hex().encode(), record)
        for sequence, record, digest in events
    ]


def read_line(line: bytes) -> Line:
    """Raises LogBroken for what isn't one."""
    return read_lines((line,))[0]


def read_lines(texts: Iterable[bytes]) -> list[Line]:
    """Raises LogBroken when there is one that isn't."""
    try:
        return list(map(_decoder.decode, texts))
    except msgspec.MsgspecError as error:
        raise LogBroken(f"a line of events can't be read: {error}") from error
