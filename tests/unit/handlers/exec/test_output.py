"""Reading conmon's file back: whatever a process wrote comes out again, from blocks of any size."""

import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.exec.drivers.output import tail_position
from handlers.exec.output import Parser, encode, format_time
from handlers.exec.ports import LogQuery

TIME = b"2026-11-23T17:57:12.968611831+00:00"
SECOND = 1_000_000_000
BASE_NS = 1_795_456_632 * SECOND + 968_611_831  # TIME


def lines_of(writes: list[tuple[int, bytes]], cut: int = 8) -> bytes:
    """The file that conmon makes of writes: one line for each piece that ends in a newline or is `cut` bytes long."""
    file = b""
    for stream, data in writes:
        name = b"stdout" if stream == 1 else b"stderr"
        for start in range(0, len(data), cut):
            for piece in data[start : start + cut].splitlines(keepends=True):
                tag = b"F" if piece.endswith(b"\n") else b"P"
                file += TIME + b" " + name + b" " + tag + b" " + piece.rstrip(b"\n") + b"\n"
    return file


def parsed(file: bytes, block: int = 1 << 20, **query) -> list[tuple[int, bytes]]:
    parser = Parser(LogQuery(**query))
    chunks = [chunk for start in range(0, len(file), block) for chunk in parser.feed(file[start : start + block])]
    return chunks + parser.finish()


def joined(chunks: list[tuple[int, bytes]], stream: int) -> bytes:
    return b"".join(data for number, data in chunks if number == stream)


LETTERS = st.binary(max_size=40).map(lambda data: bytes(byte % 26 + 97 if byte % 7 else 10 for byte in data))
WRITES = st.lists(st.tuples(st.sampled_from([1, 2]), LETTERS), max_size=12)


@given(WRITES, st.integers(1, 200), st.booleans())
def test_everything_comes_back_in_blocks_of_any_size(writes, block, line_by_line):
    chunks = parsed(lines_of(writes), block, since_ns=1 if line_by_line else 0)
    for stream in (1, 2):
        assert joined(chunks, stream) == b"".join(data for number, data in writes if number == stream)


@given(WRITES, st.integers(0, 8))
def test_the_tail_is_the_end_of_the_lines(writes, wanted):
    file = lines_of([(1, data) for _, data in writes])
    text = b"".join(data for _, data in writes)
    lines = text.splitlines(keepends=True)
    expected = b"".join(lines[len(lines) - wanted :] if wanted <= len(lines) else lines)
    with tempfile.TemporaryFile() as stored:
        stored.write(file)
        stored.flush()
        start, _ = tail_position(stored.fileno(), wanted)
    assert joined(parsed(file[start:]), 1) == expected


def test_a_tail_far_from_the_beginning():
    file = b"".join(TIME + b" stdout F %06d" % number + b"x" * 90 + b"\n" for number in range(20_000))
    with tempfile.TemporaryFile() as stored:
        stored.write(file)
        stored.flush()
        start, _ = tail_position(stored.fileno(), 1500)
    assert file[start + 45 : start + 51] == b"018500"


@pytest.mark.parametrize(
    ("torn", "expected"),
    [
        (TIME + b" stdout F whole\n", b"one\nwhole\nlast\n"),
        (TIME[:9], b"one\nlast\n"),
        (TIME + b" std", b"one\nlast\n"),
        (b"\n\n", b"one\nlast\n"),
        (b"garbage without any header\n", b"one\nlast\n"),
    ],
)
def test_after_a_torn_line_the_next_is_found(torn, expected):
    file = TIME + b" stdout F one\n" + torn + TIME + b" stdout F last\n"
    for query in ({}, {"since_ns": 1}):
        assert joined(parsed(file, **query), 1) == expected


def test_a_process_may_write_what_looks_like_a_line_of_the_file():
    text = TIME + b" stdout F inner"
    assert joined(parsed(TIME + b" stdout F outer " + text + b"\n"), 1) == b"outer " + text + b"\n"


def test_the_last_line_without_its_end():
    assert parsed(TIME + b" stdout F half") == [(1, b"half")]
    assert parsed(TIME + b" stdout F half", stdout=False) == []
    assert parsed(TIME + b" std") == []


def test_neighbours_of_a_stream_come_in_one_chunk():
    file = lines_of([(1, b"12345678abc\nx\n"), (2, b"e\n"), (1, b"y")])
    assert parsed(file) == [(1, b"12345678abc\nx\n"), (2, b"e\n"), (1, b"y")]


def test_streams_are_chosen():
    file = lines_of([(1, b"a\n"), (2, b"b\n")])
    assert parsed(file, stderr=False) == [(1, b"a\n")]
    assert parsed(file, stdout=False, timestamps=True) == [(2, TIME[:29] + b"Z b\n")]


def test_only_the_beginning_of_a_line_has_a_time():
    file = lines_of([(1, b"12345678abc\nx\n")])
    stamp = TIME[:29] + b"Z "
    assert joined(parsed(file, timestamps=True), 1) == stamp + b"12345678abc\n" + stamp + b"x\n"


def at(seconds: int, text: bytes) -> bytes:
    return format_time(BASE_NS + seconds * SECOND) + b"+00:00 stdout F " + text + b"\n"


def test_bounds_of_time():
    file = at(0, b"a") + at(1, b"b") + at(2, b"c")
    assert joined(parsed(file, since_ns=BASE_NS + SECOND), 1) == b"b\nc\n"
    assert joined(parsed(file, until_ns=BASE_NS + SECOND), 1) == b"a\nb\n"
    parser = Parser(LogQuery(until_ns=BASE_NS))
    parser.feed(file)
    assert parser.finished


def test_a_time_is_what_conmon_writes():
    assert format_time(BASE_NS) == TIME[:29]
    assert format_time(-1) == b"1970-01-01T00:00:00.000000000"


def test_frames():
    assert encode([(1, b"ab"), (2, b""), (2, b"c")], framed=True) == b"\1\0\0\0\0\0\0\2ab\2\0\0\0\0\0\0\1c"
    assert encode([(1, b"ab"), (2, b"c")], framed=False) == b"abc"


def test_a_file_that_is_gone_has_no_tail():
    descriptor = os.memfd_create("empty")
    try:
        assert tail_position(descriptor, 5) == (0, 5)
    finally:
        os.close(descriptor)
