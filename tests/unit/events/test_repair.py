"""Repair: what verifies stays, what doesn't is set aside and told, nothing is deleted."""

import shutil
from pathlib import Path

import pytest

from events.checkpoints import Checkpoint
from events.errors import SystemFailure
from events.log import LogBroken
from events.log_directory import LogInUse, segments
from events.repair import Repair, repair
from events.sqlite_log import SqliteLog
from tests.unit.events.damage import append, change, edit, everything, file_of, filled, open_log


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def repaired(directory: Path, checkpoints=(), snapshots=()) -> Repair:
    done = repair(directory / "log", checkpoints, snapshots)
    assert done is not None
    assert repair(directory / "log", [], []) is None, "once is enough"
    return done


async def goes_on(directory: Path, before, kept: int) -> None:
    """The log has what was kept, verifies, and takes more."""
    async with open_log(directory) as log:
        assert await everything(log) == list(before[:kept])
        await log.verify()
        for number in range(1, kept + 1):
            assert await log.claim_holder(f"name/{number}") == f"container/{number % 3}"
        for number in range(kept + 1, kept + 12):
            await append(log, number)
        await log.verify()
        assert log.head == kept + 11


@pytest.mark.parametrize("sequence", [1, 2, 8, 9, 13, 16, 17, 20])
async def test_a_changed_event(tmp_path: Path, sequence: int) -> None:
    before = await filled(tmp_path)
    change(tmp_path, sequence)
    damaged = file_of(tmp_path, sequence).name
    done = repaired(tmp_path)
    assert (done.kept, done.lost) == (sequence - 1, 20)
    assert done.new != done.old
    assert f"event {sequence} does not fit" in done.reason
    assert len(done.told) == 20 - sequence + 1
    assert done.told[0].startswith(f"event {sequence}: container.created on container/{sequence % 3}")
    assert (done.aside / damaged).stat().st_size
    await goes_on(tmp_path, before, sequence - 1)


@pytest.mark.parametrize("sequence", [3, 8, 20])
async def test_an_event_that_is_no_event(tmp_path: Path, sequence: int) -> None:
    before = await filled(tmp_path)
    edit(file_of(tmp_path, sequence), f"UPDATE events SET record = x'0102' WHERE sequence = {sequence}")
    done = repaired(tmp_path)
    assert (done.kept, done.lost) == (sequence - 1, 20)
    assert f"event {sequence}: a stored event can't be unpacked" in done.reason
    await goes_on(tmp_path, before, sequence - 1)


@pytest.mark.parametrize("sequence", [5, 12, 20])
async def test_a_deleted_event(tmp_path: Path, sequence: int) -> None:
    before = await filled(tmp_path)
    edit(file_of(tmp_path, sequence), f"DELETE FROM events WHERE sequence = {sequence}")
    if sequence == 20:
        assert repair(tmp_path / "log", [], []) is None, "nothing but a checkpoint or a snapshot tells"
        done = repaired(tmp_path, snapshots=[20])
        assert "its end was cut off" in done.reason
    else:
        done = repaired(tmp_path)
        assert f"event {sequence} is missing" in done.reason
    assert (done.kept, done.lost) == (sequence - 1, 20)
    await goes_on(tmp_path, before, sequence - 1)


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_a_file_that_is_none(tmp_path: Path, number: int) -> None:
    before = await filled(tmp_path)
    path = segments(tmp_path / "log")[number]
    path.write_bytes(b"\0" * 8192)
    done = repaired(tmp_path)
    assert done.kept == number * 8
    await goes_on(tmp_path, before, number * 8)
    assert (done.aside / path.name).read_bytes() == b"\0" * 8192


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_a_missing_file(tmp_path: Path, number: int) -> None:
    before = await filled(tmp_path)
    segments(tmp_path / "log")[number].unlink()
    if number == 2:  # the log looks shorter: its id is the same
        done = repaired(tmp_path, snapshots=[18])
        assert done.lost == 18
    else:
        done = repaired(tmp_path)
        assert "is missing" in done.reason
    assert done.kept == number * 8
    await goes_on(tmp_path, before, number * 8)


async def test_a_damaged_archive(tmp_path: Path) -> None:
    before = await filled(tmp_path)
    async with open_log(tmp_path) as log:
        await log.archive(log.head)
    path = segments(tmp_path / "log")[1]
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    done = repaired(tmp_path)
    assert done.kept == 8
    assert path.name in {each.name for each in done.aside.iterdir()}
    await goes_on(tmp_path, before, 8)


async def test_history_that_was_written_anew_holds_up_to_the_checkpoint_before(tmp_path: Path) -> None:
    before = await filled(tmp_path)

    def checkpoint(sequence: int, digest: str) -> Checkpoint:
        return Checkpoint(log="x", sequence=sequence, hash=digest, time_ns=1, key="k", signature="s")

    signed = [checkpoint(n, before[n - 1].hash.hex()) for n in (3, 11)] + [checkpoint(15, "00" * 32)]
    done = repaired(tmp_path, checkpoints=signed)
    assert (done.kept, done.lost) == (11, 20)
    assert "event 15 is not the one that a checkpoint was signed for" in done.reason
    await goes_on(tmp_path, before, 11)


async def test_nothing_is_changed_where_nothing_is_wrong(tmp_path: Path) -> None:
    await filled(tmp_path)
    before = {path: path.read_bytes() for path in segments(tmp_path / "log")}
    assert repair(tmp_path / "log", [], [20]) is None
    assert {path: path.read_bytes() for path in segments(tmp_path / "log")} == before
    assert names(tmp_path) == ["log"]


async def test_a_second_damage_later(tmp_path: Path) -> None:
    before = await filled(tmp_path)
    change(tmp_path, 15)
    first = repaired(tmp_path)
    change(tmp_path, 10)
    second = repaired(tmp_path)
    assert (first.new, second.kept) == (second.old, 9)
    await goes_on(tmp_path, before, 9)


async def test_what_is_in_use_is_left_alone(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with open_log(tmp_path):
        with pytest.raises(LogInUse):
            repair(tmp_path / "log", [], [])


def test_no_log_no_repair(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with pytest.raises(SystemFailure, match="there is no log in"):
        repair(tmp_path / "log", [], [])


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
async def test_a_repair_that_was_cut_off_is_done_again(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await filled(tmp_path)
    change(tmp_path, 10)
    calls = 0

    def failing(directory: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == step:
            raise OSError("the machine lost its power")

    with monkeypatch.context() as patched:
        patched.setattr("events.repair.sync_directory", failing)
        try:
            repair(tmp_path / "log", [], [])
        except OSError:
            assert calls == step
    repair(tmp_path / "log", [], [])
    kept = 9
    async with open_log(tmp_path) as log:
        assert await everything(log) == list(before[:kept])
        await log.verify()


async def test_the_report_is_for_people(tmp_path: Path) -> None:
    await filled(tmp_path)
    change(tmp_path, 18)
    text = "\n".join(repaired(tmp_path).lines())
    assert "kept: events 1 to 17, which verify" in text
    assert "lost: events 18 to 20" in text
    assert "event 19: container.created on container/1, by engine" in text


async def test_a_boot_is_refused_before_and_works_after(tmp_path: Path) -> None:
    await filled(tmp_path)
    shutil.copytree(tmp_path / "log", tmp_path / "copy")
    change(tmp_path, 19)
    with pytest.raises(LogBroken, match="event 19"):
        async with SqliteLog.open(tmp_path / "log", None):  # type: ignore[arg-type]
            pass
    repaired(tmp_path)
    async with open_log(tmp_path) as log:
        assert log.head == 18
