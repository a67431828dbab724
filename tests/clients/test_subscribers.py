"""Subscribers of all speeds while writer, NATS server and clock are treated badly; see `ops/subscribers`."""

import anyio

from tests.subscribers.campaign import Campaign, Size, run
from tests.unit.clients.served import served

LIMIT_S = 20


def test_nobody_misses_an_event_or_gets_one_twice():
    size = Size(events=3000, subscribers=6, stalled=2, kills=3, stall_s=1.0, limit_s=300.0)
    report = anyio.run(run, size)
    assert (report.gaps, report.duplicates) == (0, 0)
    assert report.received == report.events * (size.subscribers + 2)
    assert report.turned_back


async def test_a_reader_that_is_at_the_end_before_anybody_knows_that_it_is_one_ends(tmp_path):
    size = Size(events=5, subscribers=1, stalled=0, kills=0, stall_s=0, limit_s=LIMIT_S)
    async with served() as engine:
        await engine.tell(7)
        campaign = Campaign(size, tmp_path)
        campaign.client, (tally,) = engine.client, campaign.tallies
        with anyio.fail_after(LIMIT_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(campaign.read, tally, 0)
                while tally.last < 7:
                    await anyio.sleep(0.01)
                campaign.total = 7
    assert (tally.received, tally.gaps, tally.duplicates) == (7, 0, 0)
