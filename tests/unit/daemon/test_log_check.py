"""A long history is checked beside its fold: to the same state, and whatever is wrong with it is named."""

from pathlib import Path

import pytest

from daemon.log_check import checked_apart
from events.log import LogBroken
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
async def test_what_the_fold_stumbles_over_is_named_by_the_check(tmp_path: Path) -> None:
    await filled(tmp_path, 20)
    edit(file_of(tmp_path, 5), "UPDATE events SET record = x'00' WHERE sequence = 5")
    with pytest.raises(LogBroken, match="event 5: a stored event can't be unpacked"):
        await replayed(tmp_path, apart=True)
