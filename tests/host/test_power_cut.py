"""Whatever was confirmed is there after a power cut at any moment, whatever of what wasn't synced is lost with it."""

import random
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from events.log import LogBroken
from events.log_directory import DirectoryLock
from events.messages.container import ContainerCreated
from events.sqlite_log import SqliteLog
from handlers.context import SystemClock
from tests.host.power_cut_writer import EACH, WRITERS
from tests.host.power_cuts import Disk, cuts, recorded

pytestmark = pytest.mark.root

WRITER = Path(__file__).with_name("power_cut_writer.py")


Leave = Callable[[Disk, Path], None]


async def lost(disk: Disk, leave: Leave = Disk.lose) -> list[str]:
    """Open what is left, which must verify; what was confirmed and isn't in it."""
    confirmed = [line.split() for line in disk.printed.decode().splitlines()]
    with tempfile.TemporaryDirectory(prefix="sl") as place:
        leave(disk, Path(place))
        async with SqliteLog.open(Path(place), SystemClock()) as log:
            await log.verify()
            events = {r.sequence: r.event async for r in log.read(limit=0)}
    return [name for sequence, name in confirmed if events.get(int(sequence)) != ContainerCreated(container_id=name)]


def traced(directory: Path, *more: str) -> Iterator[Disk]:
    """The disk under a log, after each call that matters; the directory is older than the power cut."""
    with DirectoryLock(directory / "log"):
        pass
    return cuts(recorded(WRITER, directory / "log", directory, *more), directory / "log")


async def test_a_confirmed_event_survives_a_power_cut(tmp_path: Path) -> None:
    points = 0
    seen: tuple[bytes, ...] = ()
    for disk in traced(tmp_path):
        points += 1
        left = (disk.printed, *(file.durable for file in disk._durable_names.values()))
        if left != seen:
            assert await lost(disk) == []
            seen = left
        if points % 10 == 0:
            assert await lost(disk, Disk.keep) == []
    assert len(seen[0].splitlines()) == WRITERS * EACH
    assert points > WRITERS * EACH


async def test_it_survives_a_disk_that_wrote_some_sectors_and_not_others(tmp_path: Path) -> None:
    for number, disk in enumerate(traced(tmp_path)):
        if number % 2 == 0:
            assert await lost(disk, partial(Disk.tear, chance=random.Random(number))) == [], f"cut {number}"


async def test_a_writer_that_does_not_sync_is_found_out(tmp_path: Path) -> None:
    """Otherwise the other test would show nothing."""
    found: list[object] = []
    for disk in traced(tmp_path, "careless"):
        try:
            found += await lost(disk)
        except LogBroken as error:
            found.append(error)
    assert found
