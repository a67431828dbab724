"""Checkpoints: signed, kept outside the log, and stronger than a log that was cut or written anew."""

from pathlib import Path
from threading import Event
from unittest.mock import Mock

import anyio
import msgspec
import pytest

from daemon.log_care import Checkpoints, LogCare
from daemon.snapshots import SnapshotTaker
from events.checkpoints import Checkpoint, Signer
from events.errors import SystemFailure
from events.ledger import Position
from events.log import LogBroken
from events.log_directory import segments
from events.projections.state import State
from events.segment_reader import NoSpace
from events.snapshot_directory import SnapshotDirectory
from events.verification import verify
from tests.fakes.clock import SetClock
from tests.unit.events.damage import append, change, edit, file_of, filled, open_log


def position(sequence: int) -> Position:
    return Position(sequence=sequence, time_ns=1, clock_ns=1, hash=bytes([sequence]) * 32)


def signer(directory: Path) -> Signer:
    return Signer.open(directory / "checkpoints")


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    first = signer(tmp_path)
    signed = [first.sign("log-a", position(n), now_ns=n) for n in (1, 2)] + [first.sign("log-b", position(9), now_ns=3)]
    for checkpoint in signed:
        first.keep(checkpoint)
    again = signer(tmp_path)
    assert again.key_name == first.key_name
    assert again.kept("log-a") == signed[:2]
    assert again.kept("log-b") == signed[2:]
    assert again.kept("log-c") == []
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "checkpoints").iterdir()}
    assert modes == {"private.pem": 0o600, "public.pem": 0o600, "checkpoints.ndjson": 0o600}


def test_what_a_power_cut_left_goes(tmp_path: Path) -> None:
    one = signer(tmp_path)
    one.keep(one.sign("log", position(1), now_ns=1))
    path = tmp_path / "checkpoints" / "checkpoints.ndjson"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"log":"log","sequ')
    assert [each.sequence for each in one.kept("log")] == [1]
    one.keep(one.sign("log", position(2), now_ns=1))
    assert [each.sequence for each in one.kept("log")] == [1, 2]


@pytest.mark.parametrize(
    ("field", "value"), [("sequence", 7), ("hash", "00"), ("time_ns", 7), ("log", "log "), ("signature", "zz")]
)
def test_what_was_changed_is_no_checkpoint(tmp_path: Path, field: str, value: object) -> None:
    one = signer(tmp_path)
    changed = msgspec.structs.replace(one.sign("log", position(1), now_ns=1), **{field: value})
    one.keep(changed)
    with pytest.raises(LogBroken, match=r"line 1 of .* isn't a checkpoint that this engine signed"):
        one.kept("log")


def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    signer(tmp_path)
    (tmp_path / "checkpoints" / "private.pem").write_text("damaged")
    with pytest.raises(SystemFailure, match="is damaged: restore it, or remove it"):
        signer(tmp_path)


async def test_a_cut_tail_shows_down_to_the_checkpoint(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with open_log(tmp_path) as log:
        checkpoints = Checkpoints(log, signer(tmp_path), SetClock())
        assert await checkpoints.check() == []
        signed = await checkpoints.sign()
        assert await checkpoints.sign() == signed
        await append(log, 21)
    edit(file_of(tmp_path, 20), "DELETE FROM events WHERE sequence > 20")
    async with open_log(tmp_path) as log:
        assert await Checkpoints(log, signer(tmp_path), SetClock()).check() == [signed]
    edit(file_of(tmp_path, 20), "DELETE FROM events WHERE sequence > 19")
    async with open_log(tmp_path) as log:
        with pytest.raises(LogBroken, match="ends with event 19, and event 20 was signed: its end was cut off"):
            await Checkpoints(log, signer(tmp_path), SetClock()).check()


async def test_another_history_shows(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with open_log(tmp_path) as log:
        one = signer(tmp_path)
        one.keep(one.sign(log.id, msgspec.structs.replace(log.position, hash=b"x" * 32), now_ns=1))
        with pytest.raises(LogBroken, match="event 20 is not the one that a checkpoint was signed for"):
            await Checkpoints(log, one, SetClock()).check()


async def test_older_checkpoints_are_checked_in_the_background(tmp_path: Path) -> None:
    before = await filled(tmp_path)
    good = Checkpoint(log="x", sequence=5, hash=before[4].hash.hex(), time_ns=1, key="k", signature="s")
    verify(tmp_path / "log", 20, [good], pause_s=0)
    bad = msgspec.structs.replace(good, sequence=12)
    with pytest.raises(LogBroken, match="event 12 is not the one"):
        verify(tmp_path / "log", 20, [good, bad], pause_s=0)


@pytest.mark.parametrize("sequence", [1, 8, 9, 20])
async def test_verification_names_the_first_bad_event(tmp_path: Path, sequence: int) -> None:
    await filled(tmp_path)
    change(tmp_path, sequence)
    with pytest.raises(LogBroken, match=f"event {sequence} does not fit"):
        verify(tmp_path / "log", 20, pause_s=0)


async def test_any_flipped_bit_is_found_and_named(tmp_path: Path) -> None:
    """Every bit of every byte that the log owns in rows; SQLite's own bytes are damage that it finds or ignores."""
    before = await filled(tmp_path, 7)
    path = segments(tmp_path / "log")[0]
    whole = path.read_bytes()
    for number in (0, 3, 6):
        digest = before[number].hash
        place = whole.index(digest)
        for at in range(place - 60, place + len(digest), 7):
            changed = bytearray(whole)
            changed[at] ^= 1 << (at % 8)
            path.write_bytes(changed)
            with pytest.raises(LogBroken):
                verify(tmp_path / "log", 7, pause_s=0)


async def test_what_the_background_finds_breaks_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("events.sqlite_log.CHECKED_EVENTS", 1)
    await filled(tmp_path)
    change(tmp_path, 3)
    store = SnapshotDirectory(tmp_path / "snapshots")
    store.prepare()
    async with open_log(tmp_path) as log:
        care = LogCare(log, tmp_path / "log", SnapshotTaker(log, State(), store), [])
        with anyio.fail_after(60):
            await care.run()
            broken = await log.wait_broken()
        assert "event 3 does not fit" in str(broken)
        with pytest.raises(LogBroken, match="event 3 does not fit"):
            await append(log, 21)


async def test_full_files_behind_a_snapshot_are_archived(tmp_path: Path) -> None:
    store = SnapshotDirectory(tmp_path / "snapshots")
    store.prepare()
    await filled(tmp_path)
    async with open_log(tmp_path) as log:
        state = State()
        await log.replay(state)
        log.listen(state.apply)
        taker = SnapshotTaker(log, state, store)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(LogCare(log, tmp_path / "log", taker, []).run)
            await taker.take()
            with anyio.fail_after(60):
                while len(list((tmp_path / "log").glob("*.zst"))) < 2:
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        await log.verify()


async def test_a_check_that_finds_no_room_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    store = SnapshotDirectory(tmp_path / "snapshots")
    store.prepare()
    await filled(tmp_path)
    async with open_log(tmp_path) as log:
        await log.archive(log.head)
        state = State()
        await log.replay(state)
        log.listen(state.apply)
        taker = SnapshotTaker(log, state, store)

        async def told(text: str) -> None:
            with anyio.fail_after(60):
                while text not in caplog.text:
                    await anyio.sleep(0.01)

        async with anyio.create_task_group() as tasks:
            with monkeypatch.context() as full:
                full.setattr("events.older_segments.connect", Mock(side_effect=NoSpace))
                tasks.start_soon(LogCare(log, tmp_path / "log", taker, []).run)
                await told("the event log is not verified yet: no space left on device")
            await taker.take()
            await told("the event log was verified up to event 20")
            tasks.cancel_scope.cancel()


async def test_a_check_that_is_given_up_reads_no_further(tmp_path: Path) -> None:
    await filled(tmp_path)
    change(tmp_path, 20)
    given_up = Event()
    given_up.set()
    verify(tmp_path / "log", 20, given_up=given_up)
