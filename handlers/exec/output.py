"""Reading conmon's durable output back into what the process wrote. Pure.

A line of the file (https://github.com/containers/conmon, log driver k8s-file):

    2026-11-23T17:57:12.968611831+00:00 stdout F text

The time is 35 bytes in UTC, the stream is `stdout` or `stderr`, the tag is P where the process had written no newline
yet (the next line of the stream goes on) and F where it had. Text begins at byte 45.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter

import msgspec

from handlers.exec.ports import STDERR, STDOUT, LogQuery

TIME_BYTES, TEXT_OFFSET = 29, 45
_HEADERS = {
    b" stdout F ": (STDOUT, True),
    b" stdout P ": (STDOUT, False),
    b" stderr F ": (STDERR, True),
    b" stderr P ": (STDERR, False),
}
_HEADER = itemgetter(slice(35, TEXT_OFFSET))
_TEXT = itemgetter(slice(TEXT_OFFSET, None))
_STREAM, _DATA = itemgetter(0), itemgetter(1)
_LINE_START = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d std(?:out|err) [FP] ")
_FRAME = struct.Struct(">BxxxL")

Chunk = tuple[int, bytes]


class Parser:
    """Takes the file in blocks of any size, gives the chosen chunks of output in order.

    A line that a full disk tore off in the middle is taken up again at the next that can be recognised.
    """

    def __init__(self, query: LogQuery) -> None:
        self._tail = b""
        self._wanted = {STDOUT: query.stdout, STDERR: query.stderr}
        self._since = format_time(query.since_ns) if query.since_ns else b""
        self._until = format_time(query.until_ns) if query.until_ns else b""
        self._timestamps = query.timestamps
        self._details = b"" if query.details is None else query.details.encode() + b" "
        self._open = {STDOUT: False, STDERR: False}  # the stream's last line had no newline yet
        self.finished = False  # everything from here on is later than `until_ns`

    def feed(self, data: bytes, *, by_line: bool = False) -> list[Chunk]:
        """What the lines that are complete by now say; neighbours in one chunk unless it is to be `by_line`."""
        complete, newline, tail = data.rpartition(b"\n")
        if not newline:
            self._tail += data
            return []
        lines = (self._tail + complete).split(b"\n")
        self._tail = tail
        plain = not (by_line or self._since or self._until or self._timestamps or self._details)
        return _by_stream(self._whole(lines)) if plain else list(self._one_by_one(lines))

    def finish(self) -> list[Chunk]:
        """The rest, when nothing more will come: a last line without its newline is as much as there is of it."""
        tail, self._tail = self._tail, b""
        header = _HEADERS.get(_HEADER(tail))
        if header is None or not self._wanted[header[0]]:
            return []
        return [(header[0], _TEXT(tail))]

    def _whole(self, lines: list[bytes]) -> Iterator[Chunk]:
        """Neighbours of one kind in one go: slicing and joining happen in C."""
        for key, run in groupby(lines, _HEADER):
            header = _HEADERS.get(key)
            if header is None:
                yield from self._whole(list(_recovered(run)))
            elif self._wanted[header[0]]:
                stream, ended = header
                texts = map(_TEXT, run)
                yield stream, b"\n".join(texts) + b"\n" if ended else b"".join(texts)

    def _one_by_one(self, lines: list[bytes]) -> Iterator[Chunk]:
        for line in lines:
            header = _HEADERS.get(_HEADER(line))
            if header is None:
                yield from self._one_by_one(list(_recovered((line,))))
                continue
            stream, ended = header
            begins, self._open[stream] = not self._open[stream], not ended
            if self._until and line[:TIME_BYTES] > self._until:
                self.finished = True
                return
            if self._wanted[stream] and line[:TIME_BYTES] >= self._since:
                time = line[:TIME_BYTES] + b"Z " if self._timestamps and begins else b""
                details = self._details if begins else b""
                yield stream, time + details + _TEXT(line) + (b"\n" if ended else b"")


def _by_stream(chunks: Iterable[Chunk]) -> list[Chunk]:
    """Neighbours of one stream in one chunk: conmon cuts output every 8 KiB, and clients write chunk by chunk."""
    return [(stream, b"".join(map(_DATA, run))) for stream, run in groupby(chunks, _STREAM)]


def _recovered(lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        match = _LINE_START.search(line)
        if match is not None and match.start() > 0:
            yield line[match.start() :]


def ends_line(line: bytes) -> bool | None:
    """Whether a line of the file ends a line of output; None when it is torn."""
    header = _HEADERS.get(_HEADER(line))
    return None if header is None else header[1]


class Line(msgspec.Struct, frozen=True):
    """A line of the file."""

    stream: int
    time: bytes  # RFC 3339 with 9 digits, without the zone, which is UTC
    text: bytes
    is_complete: bool  # the process has written its end


def parse_line(line: bytes) -> Line | None:
    """A line of the file without its newline; what a full disk tore off before it is skipped. None: unreadable."""
    header = _HEADERS.get(_HEADER(line))
    if header is None:
        recovered = next(_recovered((line,)), None)
        return None if recovered is None else parse_line(recovered)
    stream, is_complete = header
    return Line(stream, line[:TIME_BYTES], _TEXT(line), is_complete)


def format_time(time_ns: int) -> bytes:
    """Wall-clock ns as the first 29 bytes of a line: these sort as times do."""
    seconds, nanoseconds = divmod(max(0, time_ns), 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}".encode()


def encode(chunks: Iterable[Chunk], *, framed: bool) -> bytes:
    """Bytes for the wire: each chunk behind its 8-byte header (stream, 0, 0, 0, length), or bare."""
    if not framed:
        return b"".join(text for _, text in chunks)
    return b"".join(part for stream, text in chunks if text for part in (_FRAME.pack(stream, len(text)), text))
