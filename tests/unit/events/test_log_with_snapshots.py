"""The log on disk, opened from a snapshot."""

import shutil
import sqlite3
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

import anyio
import pytest

from daemon.snapshots import SnapshotTaker
from events.compression import Records
from events.envelope import ENGINE, Cause
from events.ledger import Position
from events.log import Append, ClaimTaken, LogBroken
from events.messages.container import ContainerCreated, ContainerRenamed
from events.messages.image import ImageCreateRequested, ImageTagged
from events.projections.state import State
from events.segment_schema import Identity, create
from events.snapshot_directory import SnapshotDirectory
from events.snapshots import fingerprint
from events.sqlite_log import SqliteLog
from tests.fakes.clock import SetClock

CAUSE = Cause(actor=ENGINE, command_id="command-1", correlation_id="request-1")
FILE = "log-0000000000000001.sqlite"


def open_log(directory: Path) -> AbstractAsyncContextManager[SqliteLog]:
    return SqliteLog.open(directory / "log", SetClock(), SnapshotDirectory(directory / "snapshots"))


async def append(log: SqliteLog, number: int, *, take: tuple[str, ...] = (), release: tuple[str, ...] = ()) -> None:
    events = (ImageCreateRequested(image_id=f"i{number}", origin="load"), ImageTagged(image_id="x", reference="r"))
    await log.append([Append(stream=f"image/i{number}", events=events, take=take, release=release)], cause=CAUSE)


async def live(log: SqliteLog) -> State:
    state = State()
    await log.replay(state)
    log.listen(state.apply)
    return state


async def take(log: SqliteLog, directory: Path) -> str:
    """Take a snapshot of where the log is; the state's fingerprint."""
    state = State()
    await log.replay(state)
    SnapshotDirectory(directory / "snapshots").save(log.capture(state))
    return fingerprint(state)


def edit(directory: Path, *statements: str) -> None:
    with closing(sqlite3.connect(directory / "log" / FILE)) as connection:
        ((dictionary,),) = connection.execute("SELECT dictionary FROM log").fetchall()
        records = Records(dictionary)
        connection.create_function(
            "swapped",
            3,
            lambda frame, old, new: records.pack(records.unpack(frame).replace(old.encode(), new.encode())),
        )
        for (trigger,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


async def test_state_and_claims_come_from_snapshot_and_tail(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        assert log.base is None
        await append(log, 1, take=("name/a", "name/b"))
        await take(log, tmp_path)
        await append(log, 2, take=("name/c",))
        await append(log, 1, release=("name/b",))
        whole = fingerprint(await live(log))
    async with open_log(tmp_path) as log:
        assert log.base is not None
        assert log.base.position.sequence == 2
        assert fingerprint(await live(log)) == whole
        assert [await log.claim_holder(f"name/{key}") for key in "abc"] == ["image/i1", None, "image/i2"]
        with pytest.raises(ClaimTaken):
            await append(log, 3, take=("name/a",))
        await append(log, 3, take=("name/b",))
        await log.verify()


async def test_snapshots_can_be_deleted(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        await append(log, 1, take=("name/a",))
        whole = await take(log, tmp_path)
    shutil.rmtree(tmp_path / "snapshots")
    async with open_log(tmp_path) as log:
        assert log.base is None
        assert fingerprint(await live(log)) == whole
        assert await log.claim_holder("name/a") == "image/i1"


async def test_a_cut_tail_shows(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        await append(log, 1)
        await append(log, 2)
        await take(log, tmp_path)
    edit(tmp_path, "DELETE FROM events WHERE sequence > 2")
    with pytest.raises(LogBroken, match="ends before event 4, of which there is a snapshot"):
        async with open_log(tmp_path):
            pass


async def test_a_history_that_was_written_anew_shows(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        identity = log.id
        await append(log, 1)
        await take(log, tmp_path)
    (tmp_path / "log" / FILE).unlink()
    create(tmp_path / "log" / FILE, Identity(identity), Position.genesis(identity))
    async with SqliteLog.open(tmp_path / "log", SetClock()) as log:
        await append(log, 7)
    with pytest.raises(LogBroken, match="event 2 is not the one that a snapshot was made of"):
        async with open_log(tmp_path):
            pass


@pytest.mark.parametrize("sequence", [3, 4])
async def test_replay_checks_what_lies_behind_the_snapshot(
    tmp_path: Path, sequence: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.sqlite_log.CHECKED_EVENTS", 1)
    async with open_log(tmp_path) as log:
        await append(log, 1)
        await take(log, tmp_path)
        await append(log, 2)
        await append(log, 3)
    edit(
        tmp_path,
        f"""UPDATE events SET record = swapped(record, '"schema":1', '"schema":2') WHERE sequence = {sequence}""",
    )
    async with open_log(tmp_path) as log:
        with pytest.raises(LogBroken, match=f"event {sequence} does not fit the hash chain"):
            await log.replay(State())


async def test_a_capture_is_of_a_state_that_follows(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        state = State()
        await append(log, 1)
        with pytest.raises(LogBroken, match="the state is at event 0 and the log at 2"):
            log.capture(state)


async def test_snapshots_are_taken_by_events_and_at_the_end(tmp_path: Path) -> None:
    store = SnapshotDirectory(tmp_path / "snapshots")
    async with open_log(tmp_path) as log:
        taker = SnapshotTaker(log, await live(log), store, every=10)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(taker.run)
            for number in range(12):
                await append(log, number)
            with anyio.fail_after(30):
                while not store.sequences():
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        assert store.sequences()[0] >= 10
        await taker.finish()
        assert store.sequences()[-1] == 24
        await taker.finish()  # nothing new
    async with open_log(tmp_path) as log:
        assert log.base is not None
        assert log.base.position.sequence == log.head


async def test_a_snapshot_that_cannot_be_kept_is_not_missed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SnapshotDirectory(tmp_path / "snapshots")
    async with open_log(tmp_path) as log:
        taker = SnapshotTaker(log, await live(log), store)
        await append(log, 1)
        shutil.rmtree(tmp_path / "snapshots")
        await taker.take()
        assert "no snapshot was taken" in caplog.text
        renamed = (ContainerCreated(container_id="a"), ContainerRenamed(container_id="a", old_name="m", name="n"))
        await log.append([Append(stream="container/a", events=renamed)], cause=CAUSE)
