from collections.abc import AsyncIterator

import anyio
import pytest

from daemon.http.messages import Answer, Hijack, RawStream, Request, Response, StreamResponse
from daemon.http.server import Server
from daemon.http.sockets import Opening, open_listeners
from tests.unit.daemon.http.serving import COMMON, get, hello, read_to_end, read_until, route, serving


async def test_a_running_request_is_finished_and_idle_connections_end():
    began, finish = anyio.Event(), anyio.Event()

    async def slow(request: Request) -> Answer:
        began.set()
        await finish.wait()
        return Response(body=b"done")

    async with serving([route(slow), route(hello, pattern="/y")]) as run:
        async with await run.connect() as stream, await run.connect() as idle, anyio.create_task_group() as group:
            await idle.send(get("/y", close=False))
            await read_until(idle, b"hello")
            await stream.send(get(close=False))
            await began.wait()
            group.start_soon(run.server.close, 5)
            assert await read_to_end(idle) == b""
            with pytest.raises(OSError, match=r".*"):
                await run.connect()
            assert not run.path.exists()
            finish.set()
            answer = await read_to_end(stream)
    assert answer.endswith(b"done")
    assert b"Connection: close" in answer


async def test_streams_and_hijacked_connections_are_cut():
    async def endless(request: Request) -> Answer:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"x"
            await anyio.sleep_forever()

        return StreamResponse(chunks=chunks())

    async def attach(request: Request) -> Answer:
        async def run(stream: RawStream) -> None:
            await stream.send(b"x")
            await anyio.sleep_forever()

        return Hijack(content_type="a/b", run=run)

    async with serving([route(endless), route(attach, "POST")]) as run:
        async with await run.connect() as stream, await run.connect() as raw:
            await stream.send(get())
            await read_until(stream, b"x\r\n")
            await raw.send(get(method="POST"))
            await read_until(raw, b"x")
            with anyio.fail_after(2):
                await run.server.close(10)
            assert await read_to_end(stream) == b""
            assert await read_to_end(raw) == b""


async def test_a_request_that_outlasts_the_grace_is_cut_and_one_that_turns_into_a_stream_too():
    began, turn = anyio.Event(), anyio.Event()

    async def stuck(request: Request) -> Answer:
        began.set()
        await anyio.sleep_forever()
        return Response()

    async def turning(request: Request) -> Answer:
        async def chunks() -> AsyncIterator[bytes]:
            await anyio.sleep_forever()
            yield b""

        await turn.wait()
        return StreamResponse(chunks=chunks())

    async with serving([route(stuck), route(turning, pattern="/y")]) as run:
        async with await run.connect() as first, await run.connect() as second, anyio.create_task_group() as group:
            await second.send(get("/y"))
            await first.send(get())
            await began.wait()
            group.start_soon(run.server.close, 0.2)
            await anyio.wait_all_tasks_blocked()
            turn.set()
            assert b"\r\n0\r\n" not in await read_to_end(second)
            assert await read_to_end(first) == b""


async def test_serve_returns_after_close_and_the_socket_file_is_gone(tmp_path):
    listeners = open_listeners([f"unix://{tmp_path}/s"], Opening(), environment={})
    server = Server([route(hello)], common_headers=COMMON)
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, listeners)
        await anyio.wait_all_tasks_blocked()
        await server.close(1)
        with anyio.fail_after(1):
            await server.close(1)  # once more harms nothing
    assert list(tmp_path.iterdir()) == []


async def test_close_before_serve(tmp_path):
    listeners = open_listeners([f"unix://{tmp_path}/s"], Opening(), environment={})
    server = Server([route(hello)], common_headers=COMMON)
    await server.close(1)
    with anyio.fail_after(1):
        await server.serve(listeners)
    assert list(tmp_path.iterdir()) == []


async def test_cancelling_serve_ends_everything(tmp_path):
    listeners = open_listeners([f"unix://{tmp_path}/s"], Opening(), environment={})
    server = Server([route(hello)], common_headers=COMMON)
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, listeners)
        await anyio.wait_all_tasks_blocked()
        async with await anyio.connect_unix(tmp_path / "s") as stream:
            await stream.send(get(close=False))
            await read_until(stream, b"hello")
            group.cancel_scope.cancel()
    assert list(tmp_path.iterdir()) == []
