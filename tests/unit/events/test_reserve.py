"""A full disk: nothing new is begun, what was begun gets its outcome, and room makes everything go on."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import pytest

from events.codec import EVENTS
from events.envelope import ENGINE, Cause
from events.errors import Unavailable
from events.ledger import prepare
from events.log import Append, LogBroken
from events.messages.container import ContainerCreated, ContainerDied, ContainerStartRequested
from events.reserve import RESERVE_BYTES, Reserve, concludes, may_use
from events.segment_reader import NoSpace
from events.sqlite_log import SqliteLog
from tests.fakes.clock import SetClock
from tests.unit.events.damage import fill

CAUSE = Cause(actor=ENGINE, command_id="command-1", correlation_id="request-1")


def open_log(directory: Path) -> AbstractAsyncContextManager[SqliteLog]:
    return SqliteLog.open(directory / "log", SetClock())


def begin(number: int = 0, *, large: bool = False) -> Append:
    name = os.urandom(200_000).hex() if large else "a"
    return Append(stream=f"container/{number}", events=(ContainerStartRequested(container_id=name, run=1),))


def end(number: int = 0) -> Append:
    return Append(stream=f"container/{number}", events=(ContainerDied(container_id="a", exit_code=0, run_s=0),))


async def begin_much(log: SqliteLog) -> None:
    for number in range(1000):
        await log.append([begin(number, large=True)], cause=CAUSE)


@pytest.fixture(params=["4m", "64m"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={request.param}", "shiplog-test", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.root
async def test_outcomes_find_room_and_beginnings_are_refused(disk: Path) -> None:
    async with open_log(disk) as log:
        await log.append([begin()], cause=CAUSE)
        fill(disk / "filler")
        with pytest.raises(Unavailable, match="no space left on device"):
            await begin_much(log)
        for number in range(20):
            await log.append([end(number)], cause=CAUSE)
            with pytest.raises(NoSpace):
                await log.append([begin(number)], cause=CAUSE)
        assert [r async for r in log.read(limit=5)]
        await log.verify()
        (disk / "filler").unlink()
        await log.append([begin(7)], cause=CAUSE)
        assert log._reserve.is_held
        await log.verify()
    async with open_log(disk) as log:
        await log.verify()


@pytest.mark.root
async def test_one_group_with_both(disk: Path) -> None:
    async with open_log(disk) as log:
        await log.append([begin()], cause=CAUSE)
        fill(disk / "filler")
        with pytest.raises(NoSpace):
            await begin_much(log)
        outcomes: dict[str, object] = {}

        async def append(name: str, batch: Append) -> None:
            try:
                outcomes[name] = len(await log.append([batch], cause=CAUSE))
            except NoSpace as error:
                outcomes[name] = str(error)

        async with anyio.create_task_group() as tasks:
            for name, batch in (("first", begin(1)), ("second", end(1)), ("third", begin(2)), ("fourth", end(2))):
                tasks.start_soon(append, name, batch)
        assert (outcomes["second"], outcomes["fourth"]) == (1, 1)
        assert "no space left" in str(outcomes["first"])
        assert "no space left" in str(outcomes["third"])


async def test_a_quota_is_a_full_disk_and_a_broken_disk_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_log(tmp_path) as log:
        refused = LogBroken("disk I/O error (SQLITE_IOERR_WRITE)")
        refused.is_write = True

        async def insert(entries: object) -> None:
            raise refused

        with monkeypatch.context() as patched:
            patched.setattr(log._files, "insert", insert)
            patched.setattr("os.posix_fallocate", _failing(errno.EDQUOT))
            with pytest.raises(NoSpace):
                await log.append([begin()], cause=CAUSE)
        await log.append([begin()], cause=CAUSE)
        with monkeypatch.context() as patched:
            patched.setattr(log._files, "insert", insert)
            with pytest.raises(LogBroken, match="SQLITE_IOERR_WRITE"):
                await log.append([begin()], cause=CAUSE)


def _failing(code: int):
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_what_may_be_written_to_a_full_disk() -> None:
    beginnings = [tag for tag in EVENTS if tag.endswith("_requested")]
    assert beginnings
    assert not any(map(concludes, beginnings))
    assert not any(map(concludes, ["exec.created", "image.acquired", "container.renamed", "system.command_refused"]))
    for tag in beginnings:
        assert concludes(tag.replace("_requested", "_failed"))
    created = ContainerCreated(container_id="a")
    mixed = [begin(), Append(stream="container/a", events=(created,))]
    assert not may_use(prepare(mixed, CAUSE, None))
    assert may_use(prepare(mixed[1:], CAUSE, None))


def test_the_reserve_is_there_or_not(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path)
    assert reserve.take()
    assert (tmp_path / "reserve").stat().st_size == RESERVE_BYTES
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= RESERVE_BYTES
    assert reserve.take()
    reserve.give_back()
    assert not reserve.is_held
    assert not (tmp_path / "reserve").exists()
    assert not reserve.is_disk_full()
