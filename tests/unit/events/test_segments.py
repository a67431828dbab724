"""A log in several files, some of them archived: it verifies and replays like one."""

import sqlite3
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from events.envelope import ENGINE, Cause, Recorded
from events.errors import SystemFailure, Unavailable
from events.log import Append, ClaimTaken, LogBroken, VersionConflict
from events.log_directory import segments
from events.messages.container import ContainerCreated
from events.older_segments import OlderSegment
from events.segments import make_index
from events.sqlite_log import SqliteLog
from tests.fakes.clock import SetClock

EVENTS = 5  # in one file


def cause(number: int = 0) -> Cause:
    return Cause(actor=ENGINE, command_id=f"command-{number}", correlation_id="request-1")


def open_log(directory: Path) -> AbstractAsyncContextManager[SqliteLog]:
    return SqliteLog.open(directory / "log", SetClock(), segment_events=EVENTS)


def names(directory: Path) -> list[str]:
    return [path.name for path in segments(directory / "log")]


async def append(log: SqliteLog, number: int, *, take: tuple[str, ...] = (), release: tuple[str, ...] = ()) -> None:
    created = (ContainerCreated(container_id=str(number)),)
    batch = [Append(stream=f"container/{number % 3}", events=created, take=take, release=release)]
    await log.append(batch, cause=cause(number), reply=str(number).encode() if number % 2 else None)


async def everything(log: SqliteLog) -> list[Recorded]:
    return [recorded async for recorded in log.read(limit=0)]


async def filled(directory: Path, count: int = 17) -> list[Recorded]:
    """Write events, each from a new opening now and then; what was written."""
    async with open_log(directory) as log:
        for number in range(count):
            await append(log, number, take=(f"name/{number}",), release=(f"name/{number - 3}",))
        return await everything(log)


async def archive(directory: Path) -> None:
    async with open_log(directory) as log:
        await log.archive(log.head)


async def test_a_full_file_is_followed_by_the_next(tmp_path: Path) -> None:
    before = await filled(tmp_path)
    assert [r.sequence for r in before] == list(range(1, 18))
    firsts = [1, 6, 11, 16]
    assert names(tmp_path) == [f"log-{first:016d}.sqlite" for first in firsts]
    async with open_log(tmp_path) as log:
        assert await everything(log) == before
        await log.verify()
        await log.verify(4, 12)
        assert [len([r async for r in log.read_stream(f"container/{n}")]) for n in range(3)] == [6, 6, 5]


async def test_archives_replay_and_verify_like_the_rest(tmp_path: Path) -> None:
    before = await filled(tmp_path)
    size = sum(path.stat().st_size for path in (tmp_path / "log").glob("log-*"))
    await archive(tmp_path)
    assert [name.partition(".")[2] for name in names(tmp_path)] == ["sqlite.zst"] * 3 + ["sqlite"]
    assert sum(path.stat().st_size for path in (tmp_path / "log").glob("log-*")) < size
    async with open_log(tmp_path) as log:
        assert await everything(log) == before
        await log.verify()
        for stream in ("container/0", "container/1", "container/2"):
            assert [r async for r in log.read_stream(stream)] == [r for r in before if r.stream == stream]
        for number in range(17):
            expected = str(number).encode() if number % 2 else None
            assert await log.reply_to(f"command-{number}") == expected
            holder = f"container/{number % 3}" if await log.claim_holder(f"name/{number}") else None
            assert await log.claim_holder(f"name/{number}") == holder
        stored = [row for after in range(17) for row in await log.stored(after, 1)]
        assert [row[0] for row in stored] == list(range(1, 18))
        await append(log, 17)
        assert (await everything(log))[:-1] == before


async def test_versions_and_claims_reach_back_into_archives(tmp_path: Path) -> None:
    await filled(tmp_path)
    await archive(tmp_path)
    async with open_log(tmp_path) as log:
        (recorded,) = await log.append(
            [Append(stream="container/0", events=(ContainerCreated(container_id="x"),))], cause=cause()
        )
        assert recorded.version == 7  # a stream of older files isn't taken for new
    async with open_log(tmp_path) as log:
        with pytest.raises(VersionConflict, match="at version 6, not 0"):
            await log.append(
                [Append(stream="container/1", expected=0, events=(ContainerCreated(container_id="x"),))], cause=cause()
            )
        with pytest.raises(ClaimTaken):
            await append(log, 0, take=("name/16",))


async def test_the_index_of_older_files_can_be_deleted_or_damaged(tmp_path: Path) -> None:
    await filled(tmp_path)
    await archive(tmp_path)
    index = tmp_path / "log" / "older.sqlite"
    for content in (None, b"", b"damaged" * 1000):
        index.unlink() if content is None else index.write_bytes(content)
        for beside in ("-wal", "-shm"):
            index.with_name(index.name + beside).unlink(missing_ok=True)
        async with open_log(tmp_path) as log:
            assert await log.reply_to("command-3") == b"3"
            assert len([r async for r in log.read_stream("container/0")]) == 6


async def test_the_index_of_a_file_with_many_streams_is_made_in_little_memory(tmp_path: Path) -> None:
    """What a file of many lives takes at once when it is full, the process would keep for good."""
    count = 8000
    async with SqliteLog.open(tmp_path / "log", SetClock(), segment_events=count) as log:
        batch = [Append(stream=f"container/{n}", events=(ContainerCreated(container_id=str(n)),)) for n in range(count)]
        await log.append(batch, cause=cause(), reply=None)
        await append(log, count)
    index = tmp_path / "log" / "older.sqlite"
    index.unlink()
    older = OlderSegment.read(segments(tmp_path / "log")[0])
    tracemalloc.start()
    try:
        make_index(tmp_path / "log", [older])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    with closing(sqlite3.connect(index)) as connection:
        assert connection.execute("SELECT count(*) FROM streams").fetchall() == [(count,)]
    assert peak_bytes < 50 * count  # a row alone takes 90


async def test_an_index_of_another_history_is_made_anew(tmp_path: Path) -> None:
    await filled(tmp_path / "a")
    await filled(tmp_path / "b", 30)
    (tmp_path / "b" / "log" / "older.sqlite").replace(tmp_path / "a" / "log" / "older.sqlite")
    async with open_log(tmp_path / "a") as log:
        assert await log.reply_to("command-3") == b"3"
        await append(log, 18)
        await log.verify()


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
async def test_a_missing_file_is_named(tmp_path: Path, missing: int) -> None:
    await filled(tmp_path)
    await archive(tmp_path)
    segments(tmp_path / "log")[missing].unlink()
    with pytest.raises(LogBroken, match="missing"):
        async with open_log(tmp_path):
            pass


def flips(path: Path) -> Iterator[int]:
    size = path.stat().st_size
    yield from range(0, size, max(1, size // 80))


async def test_a_damaged_archive_is_found(tmp_path: Path) -> None:
    written = await filled(tmp_path)
    await archive(tmp_path)
    path = segments(tmp_path / "log")[1]
    whole = path.read_bytes()
    unnoticed = 0
    for place in flips(path):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        with suppress(LogBroken, SystemFailure):
            async with open_log(tmp_path) as log:
                await log.verify()
                assert await everything(log) == written
            unnoticed += 1
    assert unnoticed <= 1  # a header has a few bits that mean nothing: the name of an empty field, the end of a base64
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LogBroken):
        async with open_log(tmp_path) as log:
            await log.verify()


async def test_only_what_verifies_is_archived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("events.sqlite_log.CHECKED_EVENTS", 1)
    await filled(tmp_path)
    first = segments(tmp_path / "log")[0]
    with closing(sqlite3.connect(first)) as connection:
        connection.execute("DROP TRIGGER events_no_update")
        connection.execute("UPDATE events SET version = 9 WHERE sequence = 2")
        connection.commit()
    async with open_log(tmp_path) as log:
        with pytest.raises(LogBroken, match="event 2 has index columns"):
            await log.archive(log.head)
        assert first in segments(tmp_path / "log")


async def test_what_an_interrupted_archiving_leaves_is_cleared(tmp_path: Path) -> None:
    before = await filled(tmp_path)
    first = segments(tmp_path / "log")[0]
    whole = first.read_bytes()
    (tmp_path / "log" / f"{first.name}.zst.new").write_bytes(b"half")
    async with open_log(tmp_path) as log:
        assert await everything(log) == before
        await log.archive(log.head)
    first.write_bytes(whole)  # killed before the file was removed
    async with open_log(tmp_path) as log:
        assert await everything(log) == before
    assert not first.exists()
    assert not list((tmp_path / "log").glob("*.new"))


async def test_a_file_that_others_read_is_archived_later(tmp_path: Path) -> None:
    before = await filled(tmp_path)
    first = segments(tmp_path / "log")[0]
    async with open_log(tmp_path) as log:
        with closing(sqlite3.connect(first)) as reader:
            assert reader.execute("SELECT max(sequence) FROM events").fetchall() == [(EVENTS,)]
            with pytest.raises(Unavailable, match="locked by another program"):
                await log.archive(log.head)
            assert first in segments(tmp_path / "log")
        await log.archive(log.head)
        assert first not in segments(tmp_path / "log")
        assert await everything(log) == before


async def answered(log: SqliteLog) -> bytes | None:
    return await log.reply_to("command-9")


async def listed(log: SqliteLog) -> list[int]:
    return [recorded.sequence async for recorded in log.read_stream("container/0")]


@pytest.mark.parametrize(("ask", "found"), [(answered, b"9"), (listed, [1, 4, 7, 10])])
async def test_what_is_asked_for_while_the_next_file_begins_is_found(
    ask: Callable[[SqliteLog], Awaitable[object]],
    found: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_log(tmp_path) as log:
        for number in range(2 * EVENTS):
            await append(log, number)
        newest = log._files.active
        fetch = newest.fetch

        async def overtaken(sql: str, *parameters: object) -> list[Any]:
            rows = await fetch(sql, *parameters)
            if "FROM older" in sql and not rows and log._files.active is newest:
                await append(log, 2 * EVENTS)
            return rows

        monkeypatch.setattr(newest, "fetch", overtaken)
        assert await ask(log) == found
        assert log._files.active is not newest


async def test_a_range_ends_before_what_is_wrong_after_it(tmp_path: Path) -> None:
    await filled(tmp_path)
    async with open_log(tmp_path) as log:
        with closing(sqlite3.connect(segments(tmp_path / "log")[1])) as connection:
            connection.executescript("DROP TRIGGER events_no_update; UPDATE events SET version = 9 WHERE sequence = 8")
        await log.verify(2, 7)
        with pytest.raises(LogBroken, match="event 8 has index columns that differ"):
            await log.verify(2, 8)


async def test_a_file_is_read_while_another_thread_verifies_it(tmp_path: Path) -> None:
    async with SqliteLog.open(tmp_path / "log", SetClock(), segment_events=1000) as log:
        created = tuple(ContainerCreated(container_id=str(number)) for number in range(1000))
        for stream in ("container/1", "container/2"):
            await log.append([Append(stream=stream, events=created)], cause=cause())
    segment = OlderSegment.read(segments(tmp_path / "log")[0])
    frames = [frame for (frame,) in segment.select("SELECT record FROM events")]
    stored = [segment.rows.stored(frame) for frame in frames]
    with ThreadPoolExecutor(1) as threads:
        verified = [threads.submit(segment.verify) for _ in range(50)]
        while not verified[-1].done():
            assert [segment.rows.stored(frame) for frame in frames] == stored
        for each in verified:
            each.result()
    segment.close()


async def test_an_archive_is_an_ordinary_file(tmp_path: Path) -> None:
    before = await filled(tmp_path)
    await archive(tmp_path)
    with (
        segments(tmp_path / "log")[0].open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as content,
    ):
        (tmp_path / "copy").write_bytes(content.read())
    with closing(sqlite3.connect(tmp_path / "copy")) as connection:
        hashes = [row[0] for row in connection.execute("SELECT hash FROM events ORDER BY sequence")]
    assert hashes == [r.hash for r in before[:5]]


@given(steps=st.lists(st.sampled_from(["append", "append", "append", "reopen", "archive"]), max_size=40))
@settings(deadline=None, max_examples=25)
async def test_any_order_of_writing_reopening_and_archiving(steps: list[str], tmp_path_factory) -> None:
    directory = tmp_path_factory.mktemp("log")
    written: list[Recorded] = []
    remaining = list(steps)
    while remaining:
        async with open_log(directory) as log:
            assert await everything(log) == written
            while remaining and (step := remaining.pop(0)) != "reopen":
                if step == "append":
                    await append(log, len(written))
                    written = await everything(log)
                else:
                    await log.archive(log.head)
            await log.verify()
