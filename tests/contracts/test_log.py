"""What every `EventLog` keeps to, run on the one in memory and the one on disk."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from events import codec
from events.envelope import ENGINE, Actor, Cause, Recorded
from events.errors import InvalidParameter, Unavailable
from events.log import MAXIMUM_EVENT_BYTES, Append, ClaimTaken, EventLog, LogBroken, VersionConflict
from events.memory_log import MemoryLog
from events.messages.container import ContainerAccessed, ContainerCreated, ContainerCreateFailed
from events.messages.system import ClockJumped
from events.sqlite_log import SqliteLog
from events.tail import BUFFERED_EVENTS, PAGE_EVENTS
from tests.fakes.clock import SetClock

CAUSE = Cause(actor=Actor(kind="unix", uid=1000, user_agent="test"), command_id="command-1", correlation_id="request-1")
Opener = Callable[..., AbstractAsyncContextManager[EventLog]]


@asynccontextmanager
async def open_memory(_: Path, clock: SetClock) -> AsyncIterator[EventLog]:
    log = MemoryLog(clock)
    yield log
    await log.aclose()


def open_small_files(directory: Path, clock: SetClock) -> AbstractAsyncContextManager[EventLog]:
    return SqliteLog.open(directory, clock, segment_events=3)


@pytest.fixture(params=[open_memory, SqliteLog.open, open_small_files], ids=["memory", "sqlite", "many files"])
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    def opener(clock: SetClock | None = None) -> AbstractAsyncContextManager[EventLog]:
        opened: AbstractAsyncContextManager[EventLog] = request.param(tmp_path / "log", clock or SetClock())
        return opened

    return opener


def event(text: str = "x") -> ContainerCreated:
    return ContainerCreated(container_id=text)


def on(
    stream: str, *texts: str, expected: int | None = None, take: Sequence[str] = (), release: Sequence[str] = ()
) -> Append:
    events = tuple(event(text) for text in texts or ("x",))
    return Append(stream=stream, events=events, expected=expected, take=tuple(take), release=tuple(release))


async def everything(log: EventLog) -> list[Recorded]:
    return [recorded async for recorded in log.read(limit=0)]


async def test_an_empty_log(open_log: Opener) -> None:
    async with open_log() as log:
        assert log.head == 0
        assert len(log.id) == 32
        assert await everything(log) == []
        assert await log.reply_to("command-1") is None
        await log.verify()


async def test_append_returns_what_is_read_again(open_log: Opener) -> None:
    clock = SetClock()
    async with open_log(clock) as log:
        appended = await log.append(
            [on("container/a", "1", "2"), on("container/b", "3")], cause=CAUSE, reply=b'{"a":1}'
        )
        assert [(r.sequence, r.stream, r.version) for r in appended] == [
            (1, "container/a", 1),
            (2, "container/a", 2),
            (3, "container/b", 1),
        ]
        assert [r.event for r in appended] == [event("1"), event("2"), event("3")]
        assert [r.reply for r in appended] == [None, None, b'{"a":1}']
        assert {r.clock_ns for r in appended} == {clock.ns}
        assert all(r.cause == CAUSE for r in appended)
        assert list(appended) == await everything(log)
        assert log.head == 3


async def test_versions(open_log: Opener) -> None:
    async with open_log() as log:
        await log.append([on("container/a", expected=0)], cause=CAUSE)
        await log.append([on("container/a", expected=1)], cause=CAUSE)
        with pytest.raises(VersionConflict) as caught:
            await log.append([on("container/a", expected=1)], cause=CAUSE)
        assert (caught.value.stream, caught.value.expected, caught.value.actual) == ("container/a", 1, 2)
        await log.append([on("container/a")], cause=CAUSE)
        assert [r.version for r in await everything(log)] == [1, 2, 3]


async def test_versions_follow_one_another_within_a_batch(open_log: Opener) -> None:
    async with open_log() as log:
        appended = await log.append([on("a/1", "x", "y", expected=0), on("a/1", expected=2)], cause=CAUSE)
        assert [r.version for r in appended] == [1, 2, 3]
        with pytest.raises(VersionConflict):
            await log.append([on("a/1", expected=3), on("a/1", expected=3)], cause=CAUSE)
        assert log.head == 3


async def test_a_batch_is_all_or_nothing(open_log: Opener) -> None:
    async with open_log() as log:
        await log.append([on("a/1", take=["name/taken"])], cause=CAUSE)
        with pytest.raises(ClaimTaken):
            await log.append([on("a/2", take=["name/free"]), on("a/3", take=["name/taken"])], cause=CAUSE)
        with pytest.raises(VersionConflict):
            await log.append([on("a/2", take=["name/free"]), on("a/3", expected=7)], cause=CAUSE)
        assert log.head == 1
        assert await log.claim_holder("name/free") is None
        await log.append([on("a/2", expected=0)], cause=CAUSE)


async def test_a_claim_has_one_holder(open_log: Opener) -> None:
    async with open_log() as log:
        await log.append([on("a/1", take=["name/web"])], cause=CAUSE)
        with pytest.raises(ClaimTaken) as caught:
            await log.append([on("a/2", take=["name/web"])], cause=CAUSE)
        assert (caught.value.key, caught.value.holder) == ("name/web", "a/1")
        await log.append([on("a/1", take=["name/web"])], cause=CAUSE)  # its own again
        assert await log.claim_holder("name/web") == "a/1"


async def test_only_the_holder_releases(open_log: Opener) -> None:
    async with open_log() as log:
        await log.append([on("a/1", take=["name/web"])], cause=CAUSE)
        await log.append([on("a/2", release=["name/web", "name/unknown"])], cause=CAUSE)
        assert await log.claim_holder("name/web") == "a/1"
        await log.append([on("a/1", release=["name/web"])], cause=CAUSE)
        assert await log.claim_holder("name/web") is None
        await log.append([on("a/2", take=["name/web"])], cause=CAUSE)
        assert await log.claim_holder("name/web") == "a/2"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_claim_moves_between_streams_in_one_batch(open_log: Opener, order: tuple[int, int]) -> None:
    async with open_log() as log:
        await log.append([on("a/1", take=["name/web"])], cause=CAUSE)
        batch = [on("a/1", release=["name/web"]), on("a/2", take=["name/web"])]
        await log.append([batch[index] for index in order], cause=CAUSE)
        assert await log.claim_holder("name/web") == "a/2"


async def test_release_comes_before_take(open_log: Opener) -> None:
    async with open_log() as log:
        await log.append([on("a/1", take=["name/web"])], cause=CAUSE)
        await log.append([on("a/1", take=["name/web"], release=["name/web"])], cause=CAUSE)
        assert await log.claim_holder("name/web") == "a/1"
        with pytest.raises(ClaimTaken):
            await log.append([on("a/2", take=["name/new"]), on("a/3", take=["name/new"])], cause=CAUSE)


async def test_a_refused_append_fails_nobody_else(open_log: Opener) -> None:
    async with open_log() as log:
        outcomes: dict[int, object] = {}

        async def append(number: int) -> None:
            try:
                outcomes[number] = await log.append([on(f"a/{number}", take=["name/only"])], cause=CAUSE)
            except ClaimTaken as error:
                outcomes[number] = error

        async def unrelated() -> None:
            outcomes[-1] = await log.append([on("b/1")], cause=CAUSE)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(append, number)
            tasks.start_soon(unrelated)
        refused = [outcome for outcome in outcomes.values() if isinstance(outcome, ClaimTaken)]
        assert len(refused) == 19
        assert log.head == 2
        assert not isinstance(outcomes[-1], ClaimTaken)
        await log.verify()


async def test_listeners_hear_in_order_before_append_returns(open_log: Opener) -> None:
    heard: list[int] = []
    returned: list[bool] = []
    async with open_log() as log:
        log.listen(lambda batch: heard.extend(r.sequence for r in batch))

        async def append(number: int) -> None:
            appended = await log.append([on(f"a/{number % 3}", "x", "y")], cause=CAUSE)
            returned.append(appended[-1].sequence in heard)

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(append, number)
    assert heard == list(range(1, 61))
    assert returned == [True] * 30


async def test_a_listener_gets_one_batch_per_append(open_log: Opener) -> None:
    batches: list[list[int]] = []
    async with open_log() as log:
        await log.append([on("a/1")], cause=CAUSE)
        log.listen(lambda batch: batches.append([r.sequence for r in batch]))
        await log.append([on("a/1", "x", "y"), on("a/2")], cause=CAUSE)
        await log.append([on("a/1")], cause=CAUSE)
    assert batches == [[2, 3, 4], [5]]


async def test_reading_in_pages(open_log: Opener) -> None:
    async with open_log() as log:
        count = 2 * PAGE_EVENTS + 3
        await log.append([on("a/1", *map(str, range(count)))], cause=CAUSE)

        async def sequences(after: int, limit: int) -> list[int]:
            return [r.sequence async for r in log.read(after, limit=limit)]

        assert await sequences(0, 0) == list(range(1, count + 1))
        assert await sequences(0, 1) == [1]
        assert await sequences(PAGE_EVENTS - 1, PAGE_EVENTS + 1) == list(range(PAGE_EVENTS, 2 * PAGE_EVENTS + 1))
        assert await sequences(count, 10) == []
        assert await sequences(count - 1, 10) == [count]
        assert len([r async for r in log.read()]) == count


async def test_reading_a_stream(open_log: Opener) -> None:
    async with open_log() as log:
        for number in range(PAGE_EVENTS + 5):
            await log.append([on("a/1", str(number)), on("a/2")], cause=CAUSE)
        read = [r async for r in log.read_stream("a/1")]
        assert [r.version for r in read] == list(range(1, PAGE_EVENTS + 6))
        assert read[3].event == event("3")
        assert [r async for r in log.read_stream("a/3")] == []


async def test_the_first_answer_to_a_command_is_kept(open_log: Opener) -> None:
    async with open_log() as log:
        await log.append([on("a/1")], cause=CAUSE)
        assert await log.reply_to("command-1") is None
        await log.append([on("a/1", "x", "y")], cause=CAUSE, reply=b'{"sequence":0}')
        await log.append([on("a/1")], cause=CAUSE, reply=b"null")
        assert await log.reply_to("command-1") == b'{"sequence":0}'
        assert await log.reply_to("command-2") is None


async def test_subscribe_catches_up_then_follows(open_log: Opener) -> None:
    async with open_log() as log:
        await log.append([on("a/1", "1", "2", "3")], cause=CAUSE)
        async with log.subscribe(after=1) as events:
            assert (await anext(events)).sequence == 2
            await log.append([on("a/1", "4")], cause=CAUSE)
            assert [(await anext(events)).sequence for _ in range(2)] == [3, 4]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(append_one, log)
                with anyio.fail_after(5):
                    assert (await anext(events)).sequence == 5


async def append_one(log: EventLog) -> None:
    await log.append([on("a/9")], cause=CAUSE)


async def test_no_gap_and_no_duplicate_under_concurrent_appends(open_log: Opener) -> None:
    writers, each = 8, 40
    total = writers * each
    seen: list[list[int]] = [[], [], []]
    async with open_log() as log:

        async def follow(number: int) -> None:
            async with log.subscribe() as events:
                async for recorded in events:
                    seen[number].append(recorded.sequence)
                    if number == 1:
                        await anyio.lowlevel.checkpoint()  # a slow one
                    if recorded.sequence == total:
                        return

        async def append(number: int) -> None:
            for _ in range(each):
                await log.append([on(f"a/{number}")], cause=CAUSE)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow, 0)
                tasks.start_soon(follow, 1)
                for number in range(writers):
                    tasks.start_soon(append, number)
                await anyio.lowlevel.checkpoint()
                tasks.start_soon(follow, 2)
    assert seen == [list(range(1, total + 1))] * 3


async def test_a_subscriber_that_falls_behind_misses_nothing(open_log: Opener) -> None:
    async with open_log() as log, log.subscribe() as events:
        await log.append([on("a/1")], cause=CAUSE)
        assert (await anext(events)).sequence == 1
        total = 1 + 3 * BUFFERED_EVENTS
        for _ in range(3):
            await log.append([on("a/1", *["x"] * BUFFERED_EVENTS)], cause=CAUSE)
        assert [(await anext(events)).sequence for _ in range(total - 1)] == list(range(2, total + 1))
        await log.append([on("a/1")], cause=CAUSE)
        assert (await anext(events)).sequence == total + 1


async def test_closing_ends_subscriptions_and_refuses_appends(open_log: Opener) -> None:
    ended: list[int] = []
    async with open_log() as log:

        async def follow() -> None:
            async with log.subscribe() as events:
                async for recorded in events:
                    ended.append(recorded.sequence)
                    await log.aclose()
            ended.append(-1)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                await append_one(log)
        with pytest.raises(Unavailable):
            await append_one(log)
    assert ended == [1, -1]


async def test_time_never_runs_backwards(open_log: Opener) -> None:
    clock = SetClock(1_000_000_000_000)
    async with open_log(clock) as log:
        first = await log.append([on("a/1", "x", "y")], cause=CAUSE)
        clock.ns -= 500_000_000  # within the tolerance: slewing
        second = await log.append([on("a/1")], cause=CAUSE)
        assert [r.time_ns - 1_000_000_000_000 for r in (*first, *second)] == [0, 1, 2]
        assert second[0].clock_ns == clock.ns
        assert second[0].sequence == 3


async def test_a_jump_of_the_clock_is_an_event(open_log: Opener) -> None:
    clock = SetClock(1_000_000_000_000)
    heard: list[int] = []
    async with open_log(clock) as log:
        await log.append([on("a/1")], cause=CAUSE)
        clock.ns -= 3_600_000_000_000
        log.listen(lambda batch: heard.extend(r.sequence for r in batch))
        (appended,) = await log.append([on("a/1")], cause=CAUSE)
        jump = (await everything(log))[1]
        assert jump.event == ClockJumped(backwards_ns=3_600_000_000_000)
        assert (jump.stream, jump.version, jump.cause.actor) == ("system/engine", 1, ENGINE)
        assert (appended.sequence, appended.time_ns, appended.clock_ns) == (3, 1_000_000_000_002, clock.ns)
        await log.append([on("a/1")], cause=CAUSE)  # the same jump isn't told twice
        assert log.head == 4
    assert heard == [2, 3, 4]


async def test_what_makes_no_sense_is_refused(open_log: Opener) -> None:
    async with open_log() as log:
        for batch in ([], [Append(stream="a/1", events=())]):
            with pytest.raises(ValueError, match="at least one event"):
                await log.append(batch, cause=CAUSE)
        with pytest.raises(ValueError, match="JSON"):
            await log.append([on("a/1")], cause=CAUSE, reply=b"not json")
        with pytest.raises(InvalidParameter, match=r"container\.created has"):
            await log.append([on("a/1", "x" * MAXIMUM_EVENT_BYTES)], cause=CAUSE)
        with pytest.raises(InvalidParameter, match="JSON"):
            await log.append([on("a/1", "a lone surrogate \udc80")], cause=CAUSE)
        assert log.head == 0


async def test_a_cancelled_caller_leaves_the_event_behind(open_log: Opener) -> None:
    async with open_log() as log:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(append_one, log)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await log.append([on("a/1")], cause=CAUSE)
        assert [r.stream for r in await everything(log)] == ["a/9", "a/1"]


async def test_verify_over_ranges(open_log: Opener) -> None:
    async with open_log() as log:
        await log.append([on("a/1", *["x"] * (PAGE_EVENTS + 10))], cause=CAUSE)
        await log.verify()
        await log.verify(5, PAGE_EVENTS + 2)
        with pytest.raises(LogBroken, match=f"event {PAGE_EVENTS + 11} is missing"):
            await log.verify(1, PAGE_EVENTS + 11)
        with pytest.raises(LogBroken, match="is missing"):
            await log.verify(first=PAGE_EVENTS + 100)


async def test_maps_and_optional_fields_survive(open_log: Opener) -> None:
    events = (
        ContainerAccessed(container_id="a", action="top", attributes={"b": "2", "a": "1", "ü": "\n"}),
        ContainerCreateFailed(container_id="a", error="no \x00 such\u2028thing"),
    )
    async with open_log() as log:
        await log.append([Append(stream="container/a", events=events)], cause=CAUSE)
        assert [r.event for r in await everything(log)] == list(events)


async def test_events_as_their_bytes(open_log: Opener) -> None:
    async with open_log() as log:
        assert list(await log.stored(0, 10)) == []
        appended = await log.append([on("container/a", "1", "2", "3")], cause=CAUSE)
        found = await log.stored(1, 1)
        assert [(sequence, digest) for sequence, _, digest in found] == [(2, appended[1].hash)]
        assert [codec.recorded(record, digest) for _, record, digest in await log.stored(0, 10)] == list(appended)
        assert list(await log.stored(3, 10)) == []
