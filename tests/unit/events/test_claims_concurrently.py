"""Names, ports, addresses and references under any interleaving: hundreds at once, on the log on disk."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.envelope import ENGINE, Cause
from events.log import Append, ClaimTaken, VersionConflict
from events.log_directory import segments
from events.messages.container import ContainerCreated
from events.older_segments import OlderSegment
from events.sqlite_log import SqliteLog
from tests.fakes.clock import SetClock

CAUSE = Cause(actor=ENGINE, command_id="command-1", correlation_id="request-1")
KEYS = ("name/web", "name/db", "port/0.0.0.0:80/tcp", "address/net/172.17.0.2", "reference/busybox:latest")
OBJECTS = 40

Step = tuple[int, frozenset[str], frozenset[str]]  # object, what it wants to take, what it lets go
steps = st.tuples(
    st.integers(0, OBJECTS - 1),
    st.frozensets(st.sampled_from(KEYS), max_size=3),
    st.frozensets(st.sampled_from(KEYS), max_size=2),
)


async def attempt(log: SqliteLog, step: Step) -> None:
    number, take, release = step
    event = ContainerCreated(container_id=str(number))
    append = Append(
        stream=f"container/{number}", events=(event,), take=tuple(sorted(take)), release=tuple(sorted(release))
    )
    with contextlib.suppress(ClaimTaken):
        await log.append([append], cause=CAUSE)


async def held(log: SqliteLog) -> dict[str, str]:
    return {key: holder for key in KEYS if (holder := await log.claim_holder(key))}


async def run(directory: Path, attempts: Sequence[Step], files: int) -> None:
    """All at once; then the events, in their order, must never give a key to a second holder."""
    async with SqliteLog.open(directory, SetClock(), segment_events=files) as log:
        async with anyio.create_task_group() as tasks:
            for step in attempts:
                tasks.start_soon(attempt, log, step)
        final = await held(log)
        head = log.head
    holders: dict[str, str] = {}
    seen = 0
    for path in segments(directory):
        segment = OlderSegment.read(path)
        for (frame,) in segment.select("SELECT record FROM events ORDER BY sequence"):
            record = segment.rows.record(frame)
            for key in record.release:
                assert holders.pop(key) == record.stream, "only the holder lets go"
            for key in record.take:
                assert key not in holders, "nobody takes what is held"
                holders[key] = record.stream
            seen += 1
        segment.close()
    assert (holders, seen) == (final, head)
    async with SqliteLog.open(directory, SetClock()) as log:
        assert await held(log) == final


@given(attempts=st.lists(steps, min_size=100, max_size=300), files=st.sampled_from([7, 1000]))
@settings(deadline=None, max_examples=12)
def test_no_key_is_ever_held_twice(attempts: list[Step], files: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    anyio.run(run, tmp_path_factory.mktemp("claims") / "log", attempts, files)


@pytest.mark.parametrize("key", KEYS)
async def test_of_hundreds_one_gets_it(tmp_path: Path, key: str) -> None:
    async with SqliteLog.open(tmp_path / "log", SetClock()) as log:
        winners: list[int] = []

        async def take(number: int) -> None:
            event = ContainerCreated(container_id=str(number))
            try:
                await log.append([Append(stream=f"container/{number}", events=(event,), take=(key,))], cause=CAUSE)
            except ClaimTaken:
                return
            winners.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(take, number)
        assert len(winners) == 1
        assert await log.claim_holder(key) == f"container/{winners[0]}"
        assert log.head == 1


async def test_of_hundreds_who_decided_on_one_version_one_appends(tmp_path: Path) -> None:
    async with SqliteLog.open(tmp_path / "log", SetClock()) as log:
        conflicts = 0

        async def rename(number: int) -> None:
            nonlocal conflicts
            event = ContainerCreated(container_id=str(number))
            try:
                await log.append([Append(stream="container/a", events=(event,), expected=0)], cause=CAUSE)
            except VersionConflict:
                conflicts += 1

        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(rename, number)
        assert (conflicts, log.head) == (299, 1)
