"""The writer that many callers share: grouping, room, and failures nobody foresaw."""

from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.lowlevel
import pytest

from events.envelope import ENGINE, Cause
from events.errors import Unavailable
from events.group_commit import WAITING_APPENDS, GroupCommit, Pending
from events.ledger import Batch, prepare
from events.log import Append, LogBroken
from events.messages.container import ContainerCreated

APPEND = Append(stream="a/1", events=(ContainerCreated(container_id="x"),))


def batch() -> Batch:
    return prepare([APPEND], Cause(actor=ENGINE, command_id="c", correlation_id="r"), None)


class Disk:
    """Commits when it is let; remembers the size of each group."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.ready = anyio.Event()
        self.trouble: list[BaseException] = []

    async def commit(self, group: Sequence[Pending]) -> None:
        self.groups.append(len(group))
        await self.ready.wait()
        if self.trouble:
            raise self.trouble.pop()


async def outcome(append: Callable[[Batch], Awaitable[object]], outcomes: list[str]) -> None:
    try:
        await append(batch())
    except (LogBroken, Unavailable) as error:
        outcomes.append(type(error).__name__)
    else:
        outcomes.append("durable")


async def settle(disk: Disk, groups: int) -> None:
    """Let everybody run until the disk has been given so many groups."""
    with anyio.fail_after(5):
        while len(disk.groups) < groups:
            await anyio.lowlevel.checkpoint()
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


async def test_what_comes_meanwhile_goes_together() -> None:
    disk, outcomes = Disk(), list[str]()
    writer = GroupCommit(disk.commit, lambda _: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        tasks.start_soon(outcome, writer.append, outcomes)
        await settle(disk, 1)
        for _ in range(9):
            tasks.start_soon(outcome, writer.append, outcomes)
        await settle(disk, 1)
        disk.ready.set()
        await settle(disk, 2)
        await writer.aclose(5)
    assert disk.groups == [1, 9]
    assert outcomes == ["durable"] * 10


async def test_room_is_bounded() -> None:
    disk, outcomes = Disk(), list[str]()
    writer = GroupCommit(disk.commit, lambda _: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        for _ in range(3 * WAITING_APPENDS):
            tasks.start_soon(outcome, writer.append, outcomes)
        await settle(disk, 1)
        disk.ready.set()
        await settle(disk, 3)
        await writer.aclose(5)
    assert max(disk.groups) <= WAITING_APPENDS
    assert outcomes.count("durable") >= 2 * WAITING_APPENDS
    assert len(outcomes) == 3 * WAITING_APPENDS


async def test_trouble_that_passes_fails_one_group() -> None:
    disk, outcomes, told = Disk(), list[str](), list[LogBroken]()
    disk.ready.set()
    disk.trouble.append(Unavailable("full"))
    writer = GroupCommit(disk.commit, told.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        await outcome(writer.append, outcomes)
        await outcome(writer.append, outcomes)
        await writer.aclose(5)
        await outcome(writer.append, outcomes)
    assert outcomes == ["Unavailable", "durable", "Unavailable"]
    assert told == []


async def test_a_broken_log_takes_nothing_more() -> None:
    disk, outcomes, told = Disk(), list[str](), list[LogBroken]()
    disk.trouble.append(LogBroken("gone"))
    writer = GroupCommit(disk.commit, told.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        tasks.start_soon(outcome, writer.append, outcomes)
        await settle(disk, 1)
        tasks.start_soon(outcome, writer.append, outcomes)  # waits for the next group
        await settle(disk, 1)
        disk.ready.set()
        with anyio.fail_after(5):
            while len(outcomes) < 2:
                await anyio.lowlevel.checkpoint()
        await outcome(writer.append, outcomes)
        await writer.aclose(5)
    assert outcomes == ["LogBroken"] * 3
    assert disk.groups == [1]
    assert [str(error) for error in told] == ["gone"]


async def test_the_unforeseen_breaks_the_log_and_is_raised() -> None:
    disk, outcomes, told = Disk(), list[str](), list[LogBroken]()
    disk.ready.set()
    disk.trouble.append(ZeroDivisionError("a mistake"))
    writer = GroupCommit(disk.commit, told.append)
    with pytest.RaisesGroup(ZeroDivisionError):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            with anyio.CancelScope(shield=True):
                await outcome(writer.append, outcomes)
                await outcome(writer.append, outcomes)
    assert outcomes == ["LogBroken", "LogBroken"]
    assert "a mistake" in str(told[0])


async def test_a_writer_that_hangs_is_left_behind() -> None:
    disk, outcomes = Disk(), list[str]()
    writer = GroupCommit(disk.commit, lambda _: None)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            tasks.start_soon(outcome, writer.append, outcomes)
            await settle(disk, 1)
            tasks.start_soon(outcome, writer.append, outcomes)
            await settle(disk, 1)
            await writer.aclose(0.01)
    assert sorted(outcomes) == ["LogBroken", "Unavailable"]
