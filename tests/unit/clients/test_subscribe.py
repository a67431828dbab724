"""Subscribers: every event once over restarts, positions kept with the output, sinks that fail."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

from clients.api import ApiError, EngineUnreachable
from clients.errors import LogChanged, SinkFailed, Unusable
from clients.subscribe.file_sink import FileSink, as_line
from clients.subscribe.filters import Filters, is_caller, is_object
from clients.subscribe.position import Position, read_position, write_position
from clients.subscribe.sinks import deliver
from clients.subscribe.subscriber import Subscriber
from clients.subscribe.webhook import WebhookSink
from daemon.http.messages import Answer, Request, Response
from events.envelope import Actor
from events.lines import Line
from tests.unit.clients.served import served
from tests.unit.daemon.http.serving import route, serving


async def collect(subscriber: Subscriber, count: int | None = None) -> list[int]:
    found: list[int] = []
    async for line in subscriber:
        found.append(line.sequence)
        if count is not None and len(found) >= count:
            break
    return found


def sequences(path: Path) -> list[int]:
    return [msgspec.json.decode(line)["sequence"] for line in path.read_bytes().splitlines()]


# ---- positions that are no good


async def test_a_position_of_another_log_is_refused_and_kept(tmp_path):
    async with served() as engine:
        await engine.tell(3)
        path = tmp_path / "out"
        path.write_bytes(b'{"log":"other","sequence":2,"hash":"00","record":{}}\n')
        before = path.read_bytes()
        with FileSink(path) as sink, pytest.raises(LogChanged, match="your position is in other"):
            await deliver(engine.client, sink)
        assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"hello\n", "doesn't end with an event in this format"), (b"binary", "holds something else than events")],
)
async def test_somebody_elses_file_is_left_alone(tmp_path, content, text):
    path = tmp_path / "out"
    path.write_bytes(content)
    with FileSink(path) as sink, pytest.raises(Unusable, match=text):
        await sink.position()
    assert path.read_bytes() == content


def test_a_file_has_one_writer(tmp_path):
    with FileSink(tmp_path / "out"), pytest.raises(SinkFailed, match="being written by another process"):
        with FileSink(tmp_path / "out"):
            pass
    with pytest.raises(SinkFailed, match="can't be opened"), FileSink(tmp_path / "none" / "out"):
        pass


def test_a_damaged_position_is_told(tmp_path):
    path = tmp_path / "position"
    assert read_position(path) is None
    write_position(path, Position(log="a", sequence=7))
    assert read_position(path) == Position(log="a", sequence=7)
    path.write_bytes(b"{")
    with pytest.raises(Unusable, match="remove the file to begin anew"):
        read_position(path)


async def test_moments_that_are_not_there_end_it():
    async with served() as engine:
        await engine.tell(3)
        for begin, end in (("9", ""), ("1", "7"), ("2001-01-01", "")):
            with pytest.raises(ApiError, match="log"):
                await collect(Subscriber(engine.client, begin=begin, end=end))


async def test_an_engine_that_stays_away():
    async with served() as engine:
        await engine.stop()
        with pytest.raises(EngineUnreachable):
            await collect(Subscriber(engine.client, begin="1", attempts=2))


# ---- following


async def test_from_the_beginning_to_an_end():
    async with served() as engine:
        await engine.tell(700)
        subscriber = Subscriber(engine.client, begin="1", end="699")
        assert await collect(subscriber) == list(range(1, 700))
        assert subscriber.position == Position(log=engine.story.log.id, sequence=699)


async def test_the_engine_goes_away_in_between():
    async with served() as engine:
        await engine.tell(500)
        found: list[int] = []

        async def follow() -> None:
            found.extend(await collect(Subscriber(engine.client, begin="1"), 900))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            for _ in range(4):
                await engine.tell(50)
                await engine.restart()
                await engine.tell(50)
        assert found == list(range(1, 901))


async def test_what_happens_from_now_on_although_the_first_connection_is_lost():
    async with served() as engine:
        await engine.tell(5)
        subscriber = Subscriber(engine.client)
        found: list[int] = []

        async def follow() -> None:
            found.extend(await collect(subscriber, 2))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            with anyio.fail_after(30):
                while subscriber.position is None:
                    await anyio.sleep(0.01)
            await engine.restart()
            await engine.tell(2)
        assert found == [6, 7]


async def test_filters_leave_out_and_move_on():
    async with served() as engine:
        await engine.tell(3)
        await engine.story.volume("data")
        await engine.tell(2)
        for filters, expected in (
            (Filters(types=("volume.*",)), [4, 5]),
            (Filters(objects=("volume/data",)), [4, 5]),
            (Filters(types=("*.created", "container.accessed"), callers=("1000",)), [1, 2, 3, 5, 6, 7]),
            (Filters(callers=("0",)), []),
        ):
            subscriber = Subscriber(engine.client, begin="1", end="7", filters=filters)
            assert await collect(subscriber) == expected
            assert subscriber.position is not None
            assert subscriber.position.sequence == 7


@pytest.mark.parametrize(
    ("wanted", "is_meant"),
    [
        ("1000", True),
        ("100", False),
        ("docker", True),
        ("unix", True),
        ("uid=1000", True),
        ("uid=10*", True),
        ("executable=/usr/bin/*", True),
        ("executable=docker", False),
        ("engine", False),
        ("", False),
    ],
)
def test_callers(wanted, is_meant):
    actor = Actor(kind="unix", uid=1000, executable="/usr/bin/docker", login_uid=7)
    assert is_caller(actor, wanted) is is_meant


def test_objects():
    stream = "image/sha256:abcdef"
    assert all(is_object(stream, wanted) for wanted in ("image", "image/*", "sha256:abc", "abcdef", "*def", stream))
    assert not any(is_object(stream, wanted) for wanted in ("container", "bcd", "image/x"))


# ---- sinks


async def test_a_file_goes_on_where_it_stands(tmp_path):
    path = tmp_path / "out"
    async with served() as engine:
        for count in (3, 4, 500):
            await engine.tell(count)
            with FileSink(path) as sink:
                await deliver(engine.client, sink, end=str(engine.story.log.head))
            with path.open("ab") as file:
                file.write(b'{"log":"torn')
    path.write_bytes(path.read_bytes().removesuffix(b'{"log":"torn'))
    assert sequences(path) == list(range(1, 508))
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_full_disk_keeps_what_is_whole(tmp_path):
    path = tmp_path / "out"
    async with served() as engine:
        await engine.tell(3)
        with FileSink(path) as sink:
            await deliver(engine.client, sink, end="3")
            broken = os.open("/dev/full", os.O_WRONLY)
            kept, sink._descriptor = sink._descriptor, broken
            with pytest.raises(SinkFailed, match="No space left"):
                await sink.write([line async for line in Subscriber(engine.client, begin="1", end="1")])
            sink._descriptor = kept
            os.close(broken)
        assert sequences(path) == [1, 2, 3]


async def test_a_file_that_can_not_grow_takes_nothing_of_many_lines(tmp_path):
    path = tmp_path / "out"
    lines = [Line(log="a", sequence=number, hash="0", record=msgspec.Raw(b"{}")) for number in range(1, 4000)]
    with FileSink(path) as sink:
        await sink.write(lines[:3])
        before = path.read_bytes()
        with largest_file(len(as_line(lines[1000])) * 2500), pytest.raises(SinkFailed, match="File too large"):
            await sink.write(lines[3:])
        assert path.read_bytes() == before
        await sink.write(lines[3:])
    assert sequences(path) == list(range(1, 4000))


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """This process can't write beyond."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_webhook_gets_each_event_until_it_takes_it(tmp_path):
    taken: list[tuple[str, int]] = []
    answers = [503, 200, 429, 200, 200]

    async def hook(request: Request) -> Answer:
        status = answers.pop(0)
        if status == 200:
            key = request.headers["idempotency-key"]
            taken.append((key, msgspec.json.decode(await request.read())["sequence"]))
        return Response(status=status, body=b"x")

    async with served() as engine, serving([route(hook, "POST", "/hook")], tcp=True) as receiver:
        await engine.tell(3)
        sink = WebhookSink(f"http://127.0.0.1:{receiver.port}/hook", tmp_path / "position")
        await deliver(engine.client, sink, end="3")
        log = engine.story.log.id
    assert taken == [(f"{log}-1", 1), (f"{log}-2", 2), (f"{log}-3", 3)]
    assert read_position(tmp_path / "position") == Position(log=log, sequence=3)


@pytest.mark.parametrize(("status", "text"), [(500, "the position is kept"), (404, "correct the address")])
async def test_a_webhook_that_fails_keeps_the_position(tmp_path, status, text):
    seen: list[int] = []

    async def hook(request: Request) -> Answer:
        seen.append(msgspec.json.decode(await request.read())["sequence"])
        return Response(status=status if len(seen) > 1 else 200, body=b"x")

    async with served() as engine, serving([route(hook, "POST", "/hook")], tcp=True) as receiver:
        await engine.tell(3)
        sink = WebhookSink(f"http://127.0.0.1:{receiver.port}/hook", tmp_path / "position", attempts=2)
        with pytest.raises(SinkFailed, match=text):
            await deliver(engine.client, sink, end="3")
    position = read_position(tmp_path / "position")
    assert position is not None
    assert position.sequence == 1


def test_a_webhook_needs_an_address(tmp_path):
    with pytest.raises(Unusable, match="is no web address"):
        WebhookSink("ftp://x", tmp_path / "position")
