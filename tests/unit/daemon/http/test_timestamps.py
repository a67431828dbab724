import hypothesis.strategies as st
import pytest
from hypothesis import given

from daemon.http.timestamps import EVENTS, LOGS, PRUNE, timestamp
from events.errors import InvalidParameter

S = 1_000_000_000
NOW_NS = 1_700_000_000 * S


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1136073845", 1136073845 * S),
        ("1136073845.5", 1136073845 * S + 500_000_000),
        ("1136073845.000000001", 1136073845 * S + 1),
        ("1136073845.0000000019", 1136073845 * S + 1),
        ("-1", -S),
        ("2006-01-02T15:04:05Z", 1136214245 * S),
        ("2006-01-02T15:04:05.999999999Z", 1136214245 * S + 999_999_999),
        ("2006-01-02T15:04:05.5+07:00", 1136189045 * S + 500_000_000),
        ("2006-01-02T15:04:05-07:00", 1136239445 * S),
        ("2006-01-02T15:04:05", 1136214245 * S),
        ("2006-01-02T15:04", 1136214240 * S),
        ("2006-01-02T15", 1136214000 * S),
        ("2006-01-02", 1136160000 * S),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("10m", NOW_NS - 600 * S),
        ("1h30m", NOW_NS - 5400 * S),
        ("1.5h", NOW_NS - 5400 * S),
        ("-1.5s", NOW_NS + 1_500_000_000),
        (".5s", NOW_NS - 500_000_000),
        ("300ms1us1\xb5s1ns", NOW_NS - 300_002_001),
    ],
)
def test_moments(text: str, expected: int):
    assert timestamp(text, now_ns=NOW_NS, wording=EVENTS, name="since") == expected


@pytest.mark.parametrize(
    ("wording", "message"),
    [
        (LOGS, 'invalid value for "since": invalid timestamp "bad": invalid seconds "bad": invalid syntax'),
        (EVENTS, 'invalid value for \'since\': invalid timestamp "bad": invalid seconds "bad": invalid syntax'),
        (PRUNE, 'failed to parse value as time or duration: invalid seconds "bad": invalid syntax'),
    ],
)
def test_wordings(wording: str, message: str):
    with pytest.raises(InvalidParameter) as raised:
        timestamp("bad", now_ns=NOW_NS, wording=wording, name="since")
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", 'invalid seconds "": invalid syntax'),
        ("1.x", 'invalid nanoseconds "x": invalid syntax'),
        ("1.", 'invalid nanoseconds "": invalid syntax'),
        ("99999999999999999999", 'invalid seconds "99999999999999999999": value out of range'),
        ("10 m", 'invalid seconds "10 m": invalid syntax'),
        ("5d", 'invalid seconds "5d": invalid syntax'),
        ("2006-13-02", 'parsing time "2006-13-02": month must be in 1..12'),
    ],
)
def test_no_moments(text: str, reason: str):
    with pytest.raises(InvalidParameter) as raised:
        timestamp(text, now_ns=NOW_NS, wording=PRUNE)
    assert str(raised.value) == f"failed to parse value as time or duration: {reason}"


@given(st.text(max_size=40) | st.from_regex(r"[0-9T:.Zhms+-]{0,40}", fullmatch=True))
def test_anything_is_a_moment_or_refused(text: str):
    try:
        assert isinstance(timestamp(text, now_ns=NOW_NS, wording=EVENTS), int)
    except InvalidParameter as error:
        assert str(error)  # noqa: PT017
