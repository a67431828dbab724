"""The log on disk: what survives, what is noticed, what is refused."""

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from pathlib import Path

import anyio
import pytest

from events.compression import Records
from events.envelope import ENGINE, Cause, Recorded
from events.errors import Unavailable
from events.log import Append, ClaimTaken, EventLog, LogBroken, VersionConflict
from events.log_directory import LogInUse
from events.messages.container import ContainerCreated
from events.sqlite_log import CHECKED_EVENTS, SqliteLog
from tests.fakes.clock import SetClock

CAUSE = Cause(actor=ENGINE, command_id="command-1", correlation_id="request-1")
FILE = "log-0000000000000001.sqlite"


def open_log(directory: Path) -> AbstractAsyncContextManager[SqliteLog]:
    return SqliteLog.open(directory / "log", SetClock())


def on(stream: str, count: int = 1, *, take: Sequence[str] = (), release: Sequence[str] = ()) -> Append:
    events = tuple(ContainerCreated(container_id=str(number)) for number in range(count))
    return Append(stream=stream, events=events, take=tuple(take), release=tuple(release))


async def everything(log: EventLog) -> list[Recorded]:
    return [recorded async for recorded in log.read(limit=0)]


def edit(directory: Path, *statements: str) -> None:
    """Change the closed file as somebody would who wants to hide something."""
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


async def test_everything_survives_reopening(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        identity = log.id
        await log.append([on("a/1", 3, take=["name/web"]), on("a/2")], cause=CAUSE, reply=b'"done"')
        before = await everything(log)
    async with open_log(tmp_path) as log:
        assert (log.id, log.head) == (identity, 4)
        assert await everything(log) == before
        assert await log.reply_to("command-1") == b'"done"'
        (after,) = await log.append([Append(stream="a/1", events=on("a/1").events, expected=3)], cause=CAUSE)
        assert (after.sequence, after.version) == (5, 4)
        assert after.time_ns > before[-1].time_ns
        await log.verify()


async def test_claims_are_rebuilt_from_the_events(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        await log.append([on("a/1", take=["name/web", "port/80"])], cause=CAUSE)
        await log.append([on("a/2", take=["name/web"]), on("a/1", release=["name/web"])], cause=CAUSE)
        await log.append([on("a/1", take=["port/81"], release=["port/80"])], cause=CAUSE)
        await log.append([on("a/1", take=["port/82"]), on("a/1", release=["port/82"])], cause=CAUSE)
        await log.append([on("a/1", take=["port/82"]), on("a/1", release=["port/82"])], cause=CAUSE)
    async with open_log(tmp_path) as log:
        keys = ("name/web", "port/80", "port/81", "port/82")
        assert [await log.claim_holder(key) for key in keys] == ["a/2", None, "a/1", "a/1"]
        with pytest.raises(ClaimTaken):
            await log.append([on("a/3", take=["port/81"])], cause=CAUSE)


async def test_versions_of_many_streams_are_learnt_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("events.sqlite_log.KNOWN_STREAMS", 2)
    async with open_log(tmp_path) as log:
        for _ in range(3):
            for number in range(6):
                await log.append([on(f"a/{number}")], cause=CAUSE)
        assert [r.version for r in await everything(log)] == [1] * 6 + [2] * 6 + [3] * 6


async def test_streams_from_before_are_not_taken_for_new(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        await log.append([on("a/1", 2), on("a/2", 3)], cause=CAUSE)
    async with open_log(tmp_path) as log:
        outcomes: dict[str, object] = {}

        async def append(name: str, batch: Append) -> None:
            try:
                outcomes[name] = [recorded.version for recorded in await log.append([batch], cause=CAUSE)]
            except (VersionConflict, ClaimTaken) as error:
                outcomes[name] = str(error)

        stale = Append(stream="a/1", events=on("a/1").events, expected=0, take=("name/web",))
        async with anyio.create_task_group() as tasks:  # one group: the first is refused, and what it took is free
            tasks.start_soon(append, "stale", stale)
            tasks.start_soon(append, "claim", on("a/3", take=["name/web"]))
            tasks.start_soon(append, "known", on("a/2"))
        assert outcomes == {"stale": "stream a/1 is at version 2, not 0", "claim": [1], "known": [4]}
        assert await log.claim_holder("name/web") == "a/3"
        await log.verify()


async def test_the_clock_may_jump_while_the_log_is_closed(tmp_path: Path) -> None:
    clock = SetClock()
    for _ in range(2):
        async with SqliteLog.open(tmp_path / "log", clock) as log:
            await log.append([on("a/1")], cause=CAUSE)
        clock.ns -= 7_200_000_000_000
    async with SqliteLog.open(tmp_path / "log", clock) as log:
        await log.append([on("a/1")], cause=CAUSE)
        events = await everything(log)
    assert [(r.stream, r.version) for r in events] == [
        ("a/1", 1),
        ("system/engine", 1),
        ("a/1", 2),
        ("system/engine", 2),
        ("a/1", 3),
    ]
    assert [r.time_ns - events[0].time_ns for r in events] == [0, 1, 2, 3, 4]


async def test_modes_keep_others_out(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        await log.append([on("a/1")], cause=CAUSE)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "log").iterdir()}
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700
    assert modes == dict.fromkeys((FILE, f"{FILE}-wal", f"{FILE}-shm", "lock", "reserve"), 0o600)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET version = 7 WHERE sequence = 1",
        "DELETE FROM events WHERE sequence = 2",
        "INSERT OR REPLACE INTO events SELECT * FROM events WHERE sequence = 1",
        "UPDATE log SET id = 'x'",
        "DELETE FROM log",
    ],
)
async def test_the_database_refuses_changes(tmp_path: Path, statement: str) -> None:
    async with open_log(tmp_path) as log:
        await log.append([on("a/1", 2)], cause=CAUSE)
        with closing(sqlite3.connect(tmp_path / "log" / FILE)) as connection:
            with pytest.raises(sqlite3.IntegrityError, match="the log"):
                connection.execute(statement)
        await log.verify()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            "UPDATE events SET record = swapped(record, '\"2\"', '\"7\"') WHERE sequence = 3",
            "event 3 does",
        ),
        ("UPDATE events SET hash = randomblob(32) WHERE sequence = 4", "event 4 does not fit"),
        ("DELETE FROM events WHERE sequence = 5", "event 5 is missing"),
        ("DELETE FROM events WHERE sequence = 1", "event 1 is missing"),
        ("UPDATE events SET version = 9 WHERE sequence = 2", "event 2 has index columns"),
        ("UPDATE events SET command = 7 WHERE sequence = 2", "event 2 has index columns"),
        ("UPDATE events SET stream = 7 WHERE sequence = 2", "event 2 has index columns"),
        ("UPDATE events SET claims = 0 WHERE sequence = 1", "event 1 has index columns"),
        ("UPDATE events SET record = x'7b7d' WHERE sequence = 1", "event 1: a stored event can't be unpacked"),
        ("UPDATE log SET id = 'another'", "event 1 does not fit"),
    ],
)
async def test_a_changed_file_is_noticed_at_open(tmp_path: Path, statement: str, named: str) -> None:
    async with open_log(tmp_path) as log:
        await log.append([on("a/1", 6, take=["name/web"])], cause=CAUSE)
    edit(tmp_path, statement)
    with pytest.raises(LogBroken, match=named):
        async with open_log(tmp_path):
            pass


async def test_reordered_events_are_noticed(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        await log.append([on("a/1", 6)], cause=CAUSE)
    edit(
        tmp_path,
        "UPDATE events SET sequence = -1 WHERE sequence = 2",
        "UPDATE events SET sequence = 2 WHERE sequence = 3",
        "UPDATE events SET sequence = 3 WHERE sequence = -1",
    )
    with pytest.raises(LogBroken, match="event 2 does not fit"):
        async with open_log(tmp_path):
            pass


async def test_a_flipped_bit_before_the_checked_tail_is_found_by_verify(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        await log.append([on("a/1", CHECKED_EVENTS + 5)], cause=CAUSE)
    edit(tmp_path, "UPDATE events SET record = swapped(record, '\"2\"', '\"3\"') WHERE sequence = 3")
    async with open_log(tmp_path) as log:
        await log.verify(first=4)
        with pytest.raises(LogBroken, match="event 3 does not fit"):
            await log.verify()


async def test_a_missing_tail_is_noticed_while_open(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        await log.append([on("a/1", 3)], cause=CAUSE)
        edit(tmp_path, "DELETE FROM events WHERE sequence = 3")
        with pytest.raises(LogBroken, match="event 3 is missing"):
            await log.verify()


async def test_somebody_else_who_writes_breaks_the_log(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        await log.append([on("a/1")], cause=CAUSE)
        with closing(sqlite3.connect(tmp_path / "log" / FILE)) as connection:
            connection.execute("INSERT INTO events VALUES (2, 7, 2, NULL, 0, x'7b7d', x'00')")
            connection.commit()
        with pytest.raises(LogBroken):
            await log.append([on("a/1")], cause=CAUSE)
        with anyio.fail_after(5):
            assert isinstance(await log.wait_broken(), LogBroken)
        with pytest.raises(LogBroken):
            await log.append([on("a/2")], cause=CAUSE)


async def test_a_failed_write_breaks_the_log(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with open_log(tmp_path) as log:
        await log.append([on("a/1")], cause=CAUSE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # the kernel's own EFBIG, for every write beyond
        try:
            with pytest.raises(LogBroken, match="disk I/O error"):
                await log.append([on("a/1", 20)], cause=CAUSE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with pytest.raises(LogBroken):
            await log.append([on("a/2")], cause=CAUSE)
    async with open_log(tmp_path) as log:
        assert log.head == 1


async def test_a_broken_log_ends_its_subscribers(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log, log.subscribe() as events:
        log.listen(refuse)
        with pytest.raises(LogBroken, match="listener"):
            await log.append([on("a/1")], cause=CAUSE)
        with anyio.fail_after(5), pytest.raises(LogBroken, match="listener"):
            await anext(events)
    async with open_log(tmp_path) as log:
        assert log.head == 1  # durable it is


def refuse(_: Sequence[Recorded]) -> None:
    raise RuntimeError("a projection's mistake")


async def test_a_locked_database_is_a_passing_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("events.segment.BUSY_TIMEOUT_S", 0.05)
    async with open_log(tmp_path) as log:
        await log.append([on("a/1")], cause=CAUSE)
        with closing(sqlite3.connect(tmp_path / "log" / FILE)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="locked by another program"):
                await log.append([on("a/1")], cause=CAUSE)
        (appended,) = await log.append([on("a/1")], cause=CAUSE)
        assert (appended.sequence, appended.version) == (2, 2)


async def test_a_second_opener_is_told_who_holds_it(tmp_path: Path) -> None:
    async with open_log(tmp_path):
        with pytest.raises(LogInUse, match=f"in use by process {os.getpid()}"):
            async with open_log(tmp_path):
                pass
    async with open_log(tmp_path) as log:
        assert log.head == 0


async def test_files_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / FILE).write_bytes(b"not a database" * 100)
    with pytest.raises(LogBroken, match="not a database"):
        async with open_log(tmp_path):
            pass
    (tmp_path / "log" / FILE).write_bytes(b"")
    with pytest.raises(LogBroken, match="format 0"):
        async with open_log(tmp_path):
            pass


async def test_more_files_than_we_know_are_refused(tmp_path: Path) -> None:
    async with open_log(tmp_path):
        pass
    (tmp_path / "log" / "log-0000000000000009.sqlite").touch()
    with pytest.raises(LogBroken, match="log-0000000000000009"):
        async with open_log(tmp_path):
            pass


async def test_a_crash_while_the_file_is_made_leaves_no_trap(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "log-0000000000000001.new").write_bytes(b"half")
    async with open_log(tmp_path) as log:
        await log.append([on("a/1")], cause=CAUSE)
    assert {path.name for path in (tmp_path / "log").iterdir()} == {FILE, "lock", "reserve"}


async def test_leaving_writes_what_was_handed_over(tmp_path: Path) -> None:
    async with anyio.create_task_group() as tasks:
        async with open_log(tmp_path) as log:
            for number in range(20):
                tasks.start_soon(append_one, log, number)
            await anyio.lowlevel.checkpoint()
    async with open_log(tmp_path) as log:
        assert log.head == 20


async def test_leaving_by_cancellation_writes_it_too(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks, open_log(tmp_path) as log:
            for number in range(20):
                tasks.start_soon(append_one, log, number)
            await anyio.lowlevel.checkpoint()
            scope.cancel()
            await anyio.sleep_forever()
    async with open_log(tmp_path) as log:
        assert log.head == 20


async def append_one(log: SqliteLog, number: int) -> None:
    await log.append([on(f"a/{number}")], cause=CAUSE)


async def test_closing_tells_who_waits_for_a_break(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        await log.aclose()
        with anyio.fail_after(5):
            assert await log.wait_broken() is None


WRITER = """
import sys
import anyio
from pathlib import Path
from events.envelope import ENGINE, Cause
from events.log import Append
from events.messages.container import ContainerCreated
from events.sqlite_log import SqliteLog
from tests.fakes.clock import SetClock

async def main():
    async with SqliteLog.open(Path(sys.argv[1]), SetClock()) as log, anyio.create_task_group() as tasks:
        async def write(number):
            while True:
                batch = Append(stream=f"a/{number}", events=(ContainerCreated(container_id="x"),))
                (recorded,) = await log.append([batch], cause=Cause(actor=ENGINE, command_id="c", correlation_id="r"))
                sys.stdout.write(f"{recorded.sequence} {recorded.hash.hex()}\\n")
                sys.stdout.flush()
        for number in range(8):
            tasks.start_soon(write, number)

anyio.run(main)
"""


def run_until_killed(directory: Path) -> list[list[str]]:
    """What a writer confirmed (sequence, hash) until SIGKILL ended it."""
    command = [sys.executable, "-c", WRITER, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3], text=True) as writer:
        assert writer.stdout is not None
        with closing_timer(writer):
            lines = [writer.stdout.readline() for _ in range(300)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    return [line.split() for line in lines if line.endswith("\n")]


@contextmanager
def closing_timer(writer: "subprocess.Popen[str]") -> Iterator[None]:
    """End a writer that says nothing."""
    timer = threading.Timer(20, writer.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


async def test_a_killed_writer_loses_nothing_it_confirmed(tmp_path: Path) -> None:
    confirmed = run_until_killed(tmp_path / "log")
    async with open_log(tmp_path) as log:
        await log.verify()
        stored = {recorded.sequence: recorded.hash.hex() for recorded in await everything(log)}
    assert len(confirmed) >= 300
    assert all(stored.get(int(sequence)) == digest for sequence, digest in confirmed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "shiplog-test", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.root
async def test_a_full_disk_is_a_passing_trouble(small_disk: Path) -> None:
    async with open_log(small_disk) as log:
        await log.append([on("a/1", take=["name/web"])], cause=CAUSE)
        fill(small_disk / "filler")
        with pytest.raises(Unavailable, match="no space left"):
            await log.append([on("a/1", 2000, release=["name/web"])], cause=CAUSE)
        assert (log.head, await log.claim_holder("name/web")) == (1, "a/1")
        (small_disk / "filler").unlink()
        appended = await log.append([on("a/1", 10)], cause=CAUSE)
        assert appended[-1].version == 11
        await log.verify()
    async with open_log(small_disk) as log:
        assert log.head == 11


def fill(path: Path) -> None:
    """Take all the space that is left."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return
