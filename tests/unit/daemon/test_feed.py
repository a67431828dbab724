"""Followers of the log: nothing missing, nothing twice, whatever their speed."""

import anyio
import anyio.lowlevel
import msgspec
import pytest

from daemon.feed import KEPT_BYTES, KEPT_LINES, PAGE_EVENTS, Feed
from events.envelope import ENGINE, Cause
from events.lines import read_line
from events.log import Append
from events.memory_log import MemoryLog
from events.messages.container import ContainerAccessed
from tests.fakes.clock import SetClock

CAUSE = Cause(actor=ENGINE, command_id="c", correlation_id="c")


async def append(log: MemoryLog, count: int, action: str = "top") -> None:
    event = ContainerAccessed(container_id="a", action=action)
    await log.append((Append(stream="container/a", events=(event,) * count),), cause=CAUSE)


async def sequences(feed: Feed, after: int, last: int) -> list[int]:
    found: list[int] = []
    while after < last:
        chunk, after = await feed.after(after, last)
        found += [read_line(line).sequence for line in chunk.splitlines()]
    return found


async def test_a_position_in_the_middle_of_what_is_held():
    log = MemoryLog(SetClock())
    feed = Feed(log)
    await append(log, 10)
    assert await sequences(feed, 0, 10) == list(range(1, 11))
    assert await sequences(feed, 4, 7) == [5, 6, 7]


@pytest.mark.parametrize("behind", [0, 1, KEPT_LINES - 1, KEPT_LINES, KEPT_LINES + 1, KEPT_LINES + PAGE_EVENTS + 7])
async def test_whoever_is_far_behind_misses_nothing(behind):
    log = MemoryLog(SetClock())
    feed = Feed(log)
    await append(log, 20)
    await feed.after(10)
    await append(log, behind or 1)
    assert await sequences(feed, 0, log.head) == list(range(1, log.head + 1))
    assert await sequences(feed, log.head - 1, log.head) == [log.head]


async def test_large_lines_are_not_hoarded():
    log = MemoryLog(SetClock())
    feed = Feed(log)
    for _ in range(5):
        await append(log, 1, "x" * (KEPT_BYTES // 3))
        await feed.after(log.head - 1)
    chunk, last = await feed.after(3)
    assert len(chunk) < KEPT_BYTES
    assert last == 5
    assert await sequences(feed, 0, 5) == [1, 2, 3, 4, 5]


async def test_followers_of_all_speeds_get_the_same():
    log = MemoryLog(SetClock())
    feed = Feed(log)
    seen: list[list[int]] = []
    sizes = [1 + number % 19 for number in range(300)]

    async def follow(pause: int) -> None:
        found: list[int] = []
        seen.append(found)
        after = 0
        while after < sum(sizes):
            chunk, after = await feed.after(after)
            found += [read_line(line).sequence for line in chunk.splitlines()]
            for _ in range(pause):
                await anyio.lowlevel.checkpoint()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for pause in (0, 1, 5, 50, 400):
                tasks.start_soon(follow, pause)
            for size in sizes:
                await append(log, size)
    assert seen == [list(range(1, sum(sizes) + 1))] * 5


async def test_followers_go_on_when_the_one_that_reads_for_all_leaves():
    log = MemoryLog(SetClock())
    feed = Feed(log)
    await append(log, 1)
    seen: list[bytes] = []

    async def follow(scope: anyio.CancelScope) -> None:
        with scope:
            seen.append((await feed.after(1))[0])

    leader = anyio.CancelScope()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for scope in (leader, anyio.CancelScope(), anyio.CancelScope()):
                tasks.start_soon(follow, scope)
                await anyio.lowlevel.checkpoint()
            leader.cancel()
            await append(log, 1)
    assert [read_line(line).sequence for line in seen] == [2, 2]


async def test_a_line_tells_the_log_and_the_stored_bytes():
    log = MemoryLog(SetClock())
    feed = Feed(log)
    await append(log, 1)
    chunk, _ = await feed.after(0)
    ((sequence, record, digest),) = await log.stored(0, 1)
    assert msgspec.json.decode(chunk) == {
        "log": log.id,
        "sequence": sequence,
        "hash": digest.hex(),
        "record": msgspec.json.decode(record),
    }
    assert record in chunk
