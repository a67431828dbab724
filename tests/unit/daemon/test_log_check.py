"""A long history is checked beside its fold: to the same state, and whatever is wrong with it is named."""

import sys
from pathlib import Path

import pytest

from daemon.log_check import checked_apart
from events.errors import SystemFailure
from events.log import LogBroken
from events.log_directory import segments
from events.projections.state import State
from events.snapshots import fingerprint
from tests.unit.events.damage import change, edit, file_of, filled, open_log


async def replayed(directory: Path, *, apart: bool) -> str:
    state = State()
    async with open_log(directory) as log:
        await log.replay(state, checked_apart if apart else None)
        assert state.sequence == log.head
    return fingerprint(state)


@pytest.mark.slow
async def test_a_history_checked_apart_folds_to_the_same_state(tmp_path: Path) -> None:
    await filled(tmp_path, 20)
    assert await replayed(tmp_path, apart=True) == await replayed(tmp_path, apart=False)


@pytest.mark.slow
async def test_a_changed_event_is_named(tmp_path: Path) -> None:
    await filled(tmp_path, 20)
    change(tmp_path, 11)
    with pytest.raises(LogBroken, match="event 11 does not fit the hash chain"):
        await replayed(tmp_path, apart=True)


@pytest.mark.slow
async def test_what_can_not_be_unpacked_is_named(tmp_path: Path) -> None:
    await filled(tmp_path, 20)
    edit(file_of(tmp_path, 5), "UPDATE events SET record = x'00' WHERE sequence = 5")
    with pytest.raises(LogBroken, match="event 5: a stored event can't be unpacked"):
        await replayed(tmp_path, apart=True)


@pytest.mark.slow
async def test_a_changed_event_of_the_newest_file_is_named(tmp_path: Path) -> None:
    await filled(tmp_path, 20)
    change(tmp_path, 17)
    with pytest.raises(LogBroken, match="event 17 does not fit the hash chain"):
        await replayed(tmp_path, apart=True)


@pytest.mark.slow
async def test_every_record_of_every_file_is_handed_on(tmp_path: Path) -> None:
    await filled(tmp_path, 20)
    files = segments(tmp_path / "log")
    async with checked_apart(files) as pages:
        found = [record.sequence async for records in pages for record in records]
    assert len(files) == 3
    assert found == list(range(1, 21))


@pytest.mark.slow
async def test_who_stops_reading_is_not_held_up(tmp_path: Path) -> None:
    await filled(tmp_path, 20)
    async with checked_apart(segments(tmp_path / "log") * 2000) as pages:
        assert [record.sequence for record in await anext(pages)] == list(range(1, 9))


@pytest.mark.parametrize("said", ["b''", "b'\\0\\0\\0\\x09[{'"])
async def test_a_check_that_dies_has_found_nothing_right(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (sys.executable, "-Ic", f"import sys; sys.stdout.buffer.write({said}); sys.stdout.flush(); sys.exit(7)")
    monkeypatch.setattr("daemon.log_check._PROGRAM", program)
    with pytest.raises(SystemFailure, match="ended with 7"):
        async with checked_apart([]) as pages:
            assert [records async for records in pages] == []
