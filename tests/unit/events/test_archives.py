"""Archived files are unpacked on disk: under no name, not into the room that the log needs, and else in memory."""

import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from events import archives
from events.errors import Unavailable
from events.log import Append, LogBroken
from events.log_directory import segments
from events.messages.container import ContainerCreated
from events.older_segments import OlderSegment
from events.repair import repair
from events.segment_check import check
from events.sqlite_log import SqliteLog
from tests.engines import ROOT
from tests.fakes.clock import SetClock
from tests.unit.events.damage import CAUSE, append, change, everything, file_of, fill, filled, open_log

LARGE_EVENTS, LARGE_BYTES = 100, 200_000
LARGE_FILE_BYTES = LARGE_EVENTS * LARGE_BYTES  # random digits aren't packed: that takes entropy coding
TIMEOUT_S = 60
PRINTED_PEAK_BYTES = """
import sys
from pathlib import Path
from events.older_segments import OlderSegment

def peak_kib():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

segment = OlderSegment.read(Path(sys.argv[1]))
before = peak_kib()
print(sum(len(rows) for rows in segment.checked_rows(segment.last.sequence, 1)))
print(1024 * (peak_kib() - before))
"""
KILLED_WHILE_UNPACKING = """
import os, sys
from pathlib import Path
from events import archives
from events.older_segments import OlderSegment

archives.has_room = lambda directory, size_bytes: os.kill(os.getpid(), 9)
OlderSegment.read(Path(sys.argv[1])).verify()
"""


async def archived(directory: Path) -> None:
    await filled(directory)
    async with open_log(directory) as log:
        await log.archive(log.head)


async def large(directory: Path) -> Path:
    """An archive of a file that is large for a test."""
    async with SqliteLog.open(directory / "log", SetClock(), segment_events=LARGE_EVENTS) as log:
        for number in range(LARGE_EVENTS + 1):
            event = ContainerCreated(container_id=os.urandom(LARGE_BYTES // 2).hex())
            await log.append([Append(stream=f"container/{number}", events=(event,))], cause=CAUSE)
        await log.archive(log.head)
    return segments(directory / "log")[0]


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


async def closed(log: SqliteLog) -> None:
    """Nobody has read for a while."""
    for _ in range(2):
        await log.close_unread()


def unnamed(directory: Path) -> int:
    """How many files below a directory this process has open that have no name any more."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:  # that of the directory of descriptors
            continue
        found += target.startswith(str(directory)) and target.endswith("(deleted)")
    return found


def refused(path: Path) -> None:
    raise Unavailable(f"{path} can't be read now")


def run(program: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


async def test_reading_an_archive_takes_little_memory(tmp_path: Path) -> None:
    done = run(PRINTED_PEAK_BYTES, await large(tmp_path))
    assert done.stderr == ""
    events, peak_bytes = map(int, done.stdout.split())
    assert events == LARGE_EVENTS
    assert peak_bytes < LARGE_FILE_BYTES / 2


async def test_only_who_reads_an_archive_sees_it_unpacked(tmp_path: Path) -> None:
    await archived(tmp_path)
    before = names(tmp_path)
    segment = OlderSegment.read(segments(tmp_path / "log")[0])
    segment.select("SELECT hash FROM events")
    assert names(tmp_path) == before
    assert unnamed(tmp_path) == 1
    segment.close()
    assert unnamed(tmp_path) == 0
    segment.verify()
    segment.close()


async def test_what_a_killed_process_has_unpacked_is_its_owners_and_is_cleared(tmp_path: Path) -> None:
    await archived(tmp_path)
    before = names(tmp_path)
    assert run(KILLED_WHILE_UNPACKING, segments(tmp_path / "log")[0]).returncode == -signal.SIGKILL
    (draft,) = set(names(tmp_path)) - set(before)
    assert (tmp_path / draft).stat().st_mode & 0o777 == 0o600
    async with open_log(tmp_path) as log:
        assert draft not in names(tmp_path)
        await log.verify()


async def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    await archived(tmp_path)
    before = names(tmp_path)
    path = segments(tmp_path / "log")[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LogBroken):
        OlderSegment.read(path).verify()
    assert names(tmp_path) == before
    assert unnamed(tmp_path) == 0


async def test_an_archive_that_can_not_be_verified_now_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = await filled(tmp_path)
    async with open_log(tmp_path) as log:
        with monkeypatch.context() as busy:
            busy.setattr("events.older_segments.connect", refused)
            with pytest.raises(Unavailable):
                await log.archive(log.head)
        assert not [name for name in names(tmp_path) if ".zst" in name]
        assert await everything(log) == written
        await log.archive(log.head)
        assert await everything(log) == written


async def test_files_are_closed_once_nobody_reads_them(tmp_path: Path) -> None:
    await archived(tmp_path)
    async with open_log(tmp_path) as log:
        before = await everything(log)
        assert unnamed(tmp_path) == 2
        assert not await log.close_unread()
        assert await log.close_unread()
        assert unnamed(tmp_path) == 0
        assert not await log.close_unread()
        assert await everything(log) == before
        assert unnamed(tmp_path) == 2
    assert unnamed(tmp_path) == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "shiplog-test", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.root
@pytest.mark.parametrize("is_foreseen", [True, False])
async def test_a_full_disk(disk: Path, is_foreseen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    await large(disk)
    if not is_foreseen:
        monkeypatch.setattr(archives, "has_room", lambda directory, size_bytes: True)
    async with open_log(disk) as log:
        await closed(log)
        fill(disk / "filler")
        before = names(disk)
        assert len(await everything(log)) == LARGE_EVENTS + 1
        assert names(disk) == before
        assert unnamed(disk) == 0
        (disk / "filler").unlink()
        await closed(log)
        assert len(await everything(log)) == LARGE_EVENTS + 1
        assert unnamed(disk) == 1


@pytest.mark.root
async def test_readers_leave_the_log_the_room_that_it_needs(disk: Path) -> None:
    await large(disk)
    async with open_log(disk) as log:
        await closed(log)
        facts = os.statvfs(disk)
        left_bytes = LARGE_FILE_BYTES * 5 // 4  # the file, and not twice the reserve
        with (disk / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, facts.f_bavail * facts.f_frsize - left_bytes)
        assert len(await everything(log)) == LARGE_EVENTS + 1
        assert unnamed(disk) == 0
        await append(log, 1)
        assert "log/reserve" in names(disk)
        (disk / "filler").unlink()
        assert len(await everything(log)) == LARGE_EVENTS + 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_where_no_draft_can_be_made_it_is_read_in_memory(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archived(tmp_path)

    def no_draft(directory: Path) -> tuple[int, Path]:
        raise OSError(number, os.strerror(number), str(directory))

    monkeypatch.setattr(archives, "create_draft", no_draft)
    OlderSegment.read(segments(tmp_path / "log")[0]).verify()


async def test_what_can_not_be_read_now_is_not_taken_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archived(tmp_path)
    change(tmp_path, 20)
    assert file_of(tmp_path, 20) == segments(tmp_path / "log")[-1]
    before = names(tmp_path)
    monkeypatch.setattr("events.older_segments.connect", refused)
    with pytest.raises(Unavailable):
        repair(tmp_path / "log", [], [])
    pages = io.BytesIO()
    with pytest.raises(Unavailable):
        check(segments(tmp_path / "log"), pages)
    assert pages.getvalue() == b""
    assert names(tmp_path) == before
    monkeypatch.undo()
    done = repair(tmp_path / "log", [], [])
    assert done is not None
    assert done.kept == 19
