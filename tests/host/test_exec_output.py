"""Output of real containers: complete, in order, and free of whoever reads it slowly."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

from events.messages.container import ContainerConfig
from handlers.exec.drivers import output
from handlers.exec.drivers.conmon import ConmonRuntime
from handlers.exec.drivers.output import BLOCK_BYTES
from handlers.exec.ports import LogQuery, ProcessPlan
from tests.fakes.processes import ProcessHost, exec_plan, make_rootfs, short_directory

pytestmark = pytest.mark.root
LIMIT_S = 30
TEN_MEGABYTES = 10_000_000
MANY_LINES = f"yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c {TEN_MEGABYTES}"


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("rootfs"))


@pytest.fixture
async def host(rootfs) -> AsyncIterator[ProcessHost]:
    with short_directory() as directory:
        made = ProcessHost(directory, rootfs)
        yield made
        await made.clean()


async def running(runtime: ConmonRuntime, host: ProcessHost, script: str, **config) -> ProcessPlan:
    plan = host.plan("/bin/sh", "-c", script, config=ContainerConfig(**config))
    await runtime.create(plan)
    await runtime.start(plan.container_id)
    return plan


def expected(size: int) -> bytes:
    line = b"0123456789abcdefghijklmnopqrstuvwxyz\n"
    return (line * (size // len(line) + 1))[:size]


async def test_ten_megabytes_arrive_whole_while_they_are_written(host):
    runtime = host.runtime()
    plan = await running(runtime, host, MANY_LINES)
    query = LogQuery(framed=False, follow=True)
    with anyio.fail_after(LIMIT_S):
        received = b"".join([chunk async for chunk in runtime.output(plan.container_id, query)])
    assert received == expected(TEN_MEGABYTES)


async def test_fast_output_comes_in_large_pieces(host, monkeypatch):
    """Who has just written is looked at a breath later, however often it writes: here one that lasts to the end."""
    monkeypatch.setattr(output, "BREATH_S", LIMIT_S)
    runtime = host.runtime()
    script = f"while read line; do echo $line; done; {MANY_LINES}"
    plan = await running(runtime, host, script, open_stdin=True, stdin_once=True)
    words = [b"%d\n" % number for number in range(20)]
    pieces: list[bytes] = []

    async def read() -> None:
        async for piece in runtime.output(plan.container_id, LogQuery(framed=False, follow=True)):
            pieces.append(piece)  # noqa: PERF401  # each as it comes

    with anyio.fail_after(LIMIT_S / 2):
        async with anyio.create_task_group() as tasks, aclosing(await runtime.open_stdin(plan.container_id)) as session:
            tasks.start_soon(read)
            for word in words:
                before = runtime.output_position(plan.container_id)
                await session.send(word)
                while runtime.output_position(plan.container_id) == before or not pieces:
                    await anyio.sleep(0.001)
            await session.send_eof()
    assert pieces[0] == words[0]
    assert pieces[1].startswith(b"".join(words[1:]) + expected(BLOCK_BYTES // 3))
    assert len(pieces) <= 3 * TEN_MEGABYTES / BLOCK_BYTES


async def test_a_reader_that_stands_still_holds_up_nobody(host):
    runtime = host.runtime()
    plan = await running(runtime, host, MANY_LINES)
    slow = runtime.output(plan.container_id, LogQuery(framed=False, follow=True))
    first = await anext(slow)
    with anyio.fail_after(LIMIT_S):
        assert (await runtime.wait(plan.container_id)).exit_code == 0
        await runtime.delete(plan.container_id)
        rest = [chunk async for chunk in slow]
    assert first + b"".join(rest) == expected(TEN_MEGABYTES)


async def test_binary_output_on_both_streams_is_unchanged(host):
    runtime = host.runtime()
    script = "head -c 300000 /bin/busybox; head -c 200000 /bin/busybox >&2"
    plan = await running(runtime, host, script)
    with anyio.fail_after(LIMIT_S):
        await runtime.wait(plan.container_id)
    program = Path(host.rootfs, "bin/busybox").read_bytes()  # noqa: ASYNC240  # a test's own file
    for query, size in (
        (LogQuery(framed=False, stderr=False), 300_000),
        (LogQuery(framed=False, stdout=False), 200_000),
    ):
        assert b"".join([chunk async for chunk in runtime.output(plan.container_id, query)]) == program[:size]


async def test_a_big_input_arrives_whole(host):
    runtime = host.runtime()
    plan = await running(runtime, host, "wc -c; md5sum /dev/null", open_stdin=True, stdin_once=True)
    session = await runtime.open_stdin(plan.container_id)
    with anyio.fail_after(LIMIT_S):
        await session.send(bytes(3_000_000))
        await session.send_eof()
        await runtime.wait(plan.container_id)
    await session.aclose()
    output = [chunk async for chunk in runtime.output(plan.container_id, LogQuery(framed=False))]
    assert b"".join(output).startswith(b"3000000\n")


async def test_a_big_exec_goes_both_ways(host):
    runtime = host.runtime()
    plan = await running(runtime, host, "sleep 100")
    inside = exec_plan(plan, "cat", stdin=True)
    session = await runtime.exec_session(inside.exec_id)
    await runtime.exec(inside)
    data = expected(3_000_000)
    received = []

    async def feed() -> None:
        await session.send(data)
        await session.send_eof()

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feed)
            received = [chunk async for _, chunk in session.output()]
        assert (await runtime.wait_exec(plan.container_id, inside.exec_id)).exit_code == 0
    await session.aclose()
    assert b"".join(received) == data


async def test_a_client_of_an_exec_that_does_not_read_stops_that_exec_alone(host):
    runtime = host.runtime()
    plan = await running(runtime, host, "sleep 100")
    noisy, quiet = exec_plan(plan, "sh", "-c", MANY_LINES), exec_plan(plan, "true", attached=False)
    session = await runtime.exec_session(noisy.exec_id)
    await runtime.exec(noisy)
    await runtime.exec(quiet)
    with anyio.fail_after(LIMIT_S):
        _, first = await anext(session.output())
        assert (await runtime.wait_exec(plan.container_id, quiet.exec_id)).exit_code == 0
        assert await runtime.find_exec(plan.container_id, noisy.exec_id) is not None
        codes = []

        async def wait() -> None:
            codes.append((await runtime.wait_exec(plan.container_id, noisy.exec_id)).exit_code)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await runtime.delete(plan.container_id)
        received = first + b"".join([chunk async for _, chunk in session.output()])
    await session.aclose()
    assert codes == [137]
    assert received == expected(len(received))


async def test_since_until_and_timestamps(host):
    runtime = host.runtime()
    plan = await running(runtime, host, "echo one; echo two >&2", open_stdin=True)
    await runtime.wait(plan.container_id)
    query = LogQuery(framed=False, timestamps=True)
    lines = b"".join([chunk async for chunk in runtime.output(plan.container_id, query)]).split(b"\n")
    assert sorted(line[31:] for line in lines if line) == [b"one", b"two"]
    assert all(line[29:31] == b"Z " for line in lines if line)
    early = LogQuery(framed=False, until_ns=1)
    late = LogQuery(framed=False, since_ns=4_000_000_000_000_000_000)
    for nothing in (early, late):
        assert [chunk async for chunk in runtime.output(plan.container_id, nothing)] == []


async def test_following_ends_at_its_bound(host):
    runtime = host.runtime()
    plan = await running(runtime, host, "sleep 100")
    with anyio.fail_after(LIMIT_S):
        query = LogQuery(follow=True, until_ns=1)
        assert [chunk async for chunk in runtime.output(plan.container_id, query)] == []
