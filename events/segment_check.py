"""Checks files of the log in a process of its own: a boot over a long history folds what is in them meanwhile.

    python -m events.segment_check FILE...

Standard output gets pages, each with its length in bytes before it (4 bytes, big-endian). A page is JSON: an array of
records, in the order of the log, that are what they were; or a text that says what isn't, and then no more come.
"""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from events.codec import Record
from events.errors import EngineError, Unavailable
from events.log import LogBroken
from events.older_segments import OlderSegment

PAGE_EVENTS: Final = 1000  # what is read of a page stays in the processor's cache until it is folded
_LENGTH_BYTES: Final = 4

_decoder: msgspec.json.Decoder[list[Record] | str] = msgspec.json.Decoder(list[Record] | str)


def read_page(pages: BinaryIO) -> list[Record]:
    """The next page of a check's output; nothing when it has ended (blocking). Raises LogBroken for what is wrong."""
    length = int.from_bytes(pages.read(_LENGTH_BYTES), "big")
    page = pages.read(length)
    if not length or len(page) < length:
        return []
    found = _decoder.decode(page)
    if isinstance(found, str):
        raise LogBroken(found)
    return found


def _write_page(pages: BinaryIO, page: bytes) -> None:
    pages.write(len(page).to_bytes(_LENGTH_BYTES, "big") + page)


def check(paths: Sequence[Path], pages: BinaryIO) -> None:
    """Check one file after the other. Raises Unavailable when that can't be done now."""
    try:
        for path in paths:
            segment = OlderSegment.read(path)
            for stored in segment.checked_stored(PAGE_EVENTS):
                _write_page(pages, b"[%b]" % b",".join(stored))
            segment.close()
    except Unavailable:
        raise
    except EngineError as error:
        _write_page(pages, msgspec.json.encode(str(error)))
    pages.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # it ends when nobody reads on
    try:
        check(list(map(Path, sys.argv[1:])), sys.stdout.buffer)
    except Unavailable as reason:
        sys.exit(str(reason))
