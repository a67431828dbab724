"""Subscribers of all speeds while writer, NATS server and clock are treated badly; see `ops/subscribers`."""

import anyio

from tests.subscribers.campaign import Size, run


def test_nobody_misses_an_event_or_gets_one_twice():
    size = Size(events=3000, subscribers=6, stalled=2, kills=3, stall_s=1.0, limit_s=300.0)
    report = anyio.run(run, size)
    assert (report.gaps, report.duplicates) == (0, 0)
    assert report.received == report.events * (size.subscribers + 2)
    assert report.turned_back
