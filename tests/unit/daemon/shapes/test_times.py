"""Times in Docker's words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.shapes.times import human_duration, rfc3339, rfc3339_seconds, unix_ns, unix_seconds

SECOND = 10**9


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "0001-01-01T00:00:00Z"),
        (1795460605320142100, "2026-11-23T19:03:25.3201421Z"),
        (1795460605000000000, "2026-11-23T19:03:25Z"),
        (1795460605000000001, "2026-11-23T19:03:25.000000001Z"),
    ],
)
def test_rfc3339_has_as_many_digits_as_needed(time_ns, text):
    assert rfc3339(time_ns) == text


def test_seconds_are_cut_not_rounded():
    assert rfc3339_seconds(1795460605999999999) == "2026-11-23T19:03:25Z"


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("2026-11-23T19:03:25.3201421Z", 1795460605320142100),
        ("2026-11-23T19:03:25+02:00", 1795453405 * SECOND),
        ("0001-01-01T00:00:00Z", 0),
        ("", 0),
        ("yesterday", 0),
    ],
)
def test_times_of_images_are_read(text, time_ns):
    assert unix_ns(text) == time_ns
    assert unix_seconds(text) == time_ns // SECOND


@given(st.integers(min_value=1, max_value=4 * 10**18))
def test_what_is_written_can_be_read(time_ns):
    assert unix_ns(rfc3339(time_ns)) == time_ns


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "Less than a second"),
        (0.9, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5400, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (731 * 86400, "2 years"),
    ],
)
def test_durations_for_people(seconds, words):
    assert human_duration(int(seconds * SECOND)) == words
