from collections.abc import AsyncIterator

import anyio
import pytest

from daemon.http.messages import Answer, Request, Response, StreamResponse
from tests.unit.daemon.http.serving import chunked, get, hello, read_to_end, read_until, route, serving, split


class Endless:
    """A stream that a test drives: chunks go in, and its end is seen."""

    def __init__(self) -> None:
        self.send, self._receive = anyio.create_memory_object_stream[bytes](10)
        self.closed = anyio.Event()

    def discard(self) -> None:
        self.send.close()
        self._receive.close()

    async def endpoint(self, request: Request) -> Answer:
        return StreamResponse(chunks=self.chunks())

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._receive:
                yield chunk
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            self.discard()
            self.closed.set()


async def three(request: Request) -> Answer:
    async def chunks() -> AsyncIterator[bytes]:
        for chunk in (b"a", b"", b"bc"):
            yield chunk

    return StreamResponse(status=201, content_type="text/plain", headers={"X-A": "b"}, chunks=chunks())


async def test_chunks_then_the_next_request():
    async with serving([route(three)]) as run:
        answer = await run.exchange(get(close=False) + get())
    first, second = answer.split(b"HTTP/1.1 201 Created")[1:]
    assert chunked(split(first)[2]) == b"abc"
    assert chunked(split(second)[2]) == b"abc"
    assert b"X-A: b\r\n" in first
    assert b"Content-Type: text/plain\r\n" in first


async def test_http_1_0_is_delimited_by_the_end():
    async with serving([route(three)]) as run:
        answer = await run.exchange(b"GET /x HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nabc")
    assert b"chunked" not in answer


async def test_head_gets_no_chunk_and_the_iterator_is_closed():
    endless = Endless()
    async with serving([route(endless.endpoint), route(hello, pattern="/y")]) as run:
        answer = await run.exchange(get(method="HEAD", close=False) + get("/y"))
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.endswith(b"hello")
    endless.discard()


async def test_the_head_goes_out_before_the_first_chunk_and_each_chunk_at_once():
    endless = Endless()
    async with serving([route(endless.endpoint)]) as run:
        async with await run.connect() as stream:
            await stream.send(get())
            await read_until(stream, b"\r\n\r\n")
            for _ in range(3):
                await endless.send.send(b"{}\n")
                assert await read_until(stream, b"\n\r\n") == b"3\r\n{}\n\r\n"
            endless.send.close()
            assert await read_to_end(stream) == b"0\r\n\r\n"
    assert endless.closed.is_set()


@pytest.mark.parametrize("tcp", [False, True])
async def test_the_iterator_is_closed_when_the_client_leaves(tcp: bool):
    endless = Endless()
    async with serving([route(endless.endpoint)], tcp=tcp) as run:
        stream = await (anyio.connect_tcp("127.0.0.1", run.port) if tcp else run.connect())
        await stream.send(get(close=False))
        await read_until(stream, b"\r\n\r\n")
        await stream.aclose()
        with anyio.fail_after(5):
            await endless.closed.wait()


async def test_a_half_close_on_a_unix_socket_is_not_leaving():
    endless = Endless()
    async with serving([route(endless.endpoint)]) as run:
        async with await run.connect() as stream:
            await stream.send(get(close=False))
            await stream.send_eof()
            await read_until(stream, b"\r\n\r\n")
            await endless.send.send(b"ab")
            await read_until(stream, b"ab\r\n")
            endless.send.close()
            assert await read_to_end(stream) == b"0\r\n\r\n"


async def test_a_client_that_leaves_while_it_owes_reading():
    closed = anyio.Event()

    async def flood(request: Request) -> Answer:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 65536
            finally:
                closed.set()

        return StreamResponse(chunks=chunks())

    async with serving([route(flood)]) as run:
        async with await run.connect() as stream:
            await stream.send(get())
            await stream.receive(1000)
        with anyio.fail_after(5):
            await closed.wait()


@pytest.mark.parametrize("leaves", [True, False])
async def test_an_iterator_with_tasks_of_its_own_is_closed_in_order(leaves: bool, caplog: pytest.LogCaptureFixture):
    events: list[str] = []
    done = anyio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                try:
                    for _ in range(20):
                        yield b"x" * 65536  # the client doesn't read, so it leaves while this is being sent
                finally:
                    await anyio.lowlevel.checkpoint()  # not shielded: cleaning up gets its time
                    events.append("cleaned up")
                    group.cancel_scope.cancel()
        finally:
            done.set()

    async def endpoint(request: Request) -> Answer:
        return StreamResponse(chunks=chunks())

    async with serving([route(endpoint), route(hello, pattern="/y")]) as run:
        async with await run.connect() as stream:
            await stream.send(get())
            if not leaves:
                assert len(chunked(split(await read_to_end(stream))[2])) == 65536 * 20
            else:
                await stream.receive(100)
        with anyio.fail_after(5):
            await done.wait()
        assert (await run.exchange(get("/y"))).endswith(b"hello")
    assert events == ["cleaned up"]
    assert caplog.text == ""


async def test_an_iterator_that_breaks_leaves_the_stream_without_its_end(caplog: pytest.LogCaptureFixture):
    async def endpoint(request: Request) -> Answer:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"ab"
            raise ValueError("out of luck")

        return StreamResponse(chunks=chunks())

    async with serving([route(endpoint), route(hello, pattern="/y")]) as run:
        answer = await run.exchange(get(close=False))
        assert (await run.exchange(get("/y"))).endswith(b"hello")
    assert answer.endswith(b"\r\n\r\n2\r\nab\r\n")
    assert "out of luck" in caplog.text


async def test_a_malformed_head_closes_the_iterator():
    closed = anyio.Event()

    class Chunks:
        def __aiter__(self) -> "Chunks":
            return self

        async def __anext__(self) -> bytes:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            closed.set()

    async def endpoint(request: Request) -> Answer:
        return StreamResponse(headers={"X-A": "\n"}, chunks=Chunks())

    async with serving([route(endpoint)]) as run:
        assert (await run.exchange(get())).startswith(b"HTTP/1.1 500 ")
    assert closed.is_set()


async def test_wait_disconnect_returns_when_the_client_leaves_and_not_for_waiting_bytes():
    began, left = anyio.Event(), anyio.Event()

    async def endpoint(request: Request) -> Answer:
        began.set()
        await request.wait_disconnect()
        left.set()
        return Response()

    async with serving([route(endpoint)]) as run:
        async with await run.connect() as stream:
            await stream.send(get(close=False) + get())
            await began.wait()
            await stream.send_eof()
            await anyio.wait_all_tasks_blocked()
            assert not left.is_set()
        with anyio.fail_after(5):
            await left.wait()


async def test_wait_disconnect_can_be_called_off():
    async def endpoint(request: Request) -> Answer:
        with anyio.move_on_after(0.01) as waiting:
            await request.wait_disconnect()
        return Response(body=str(waiting.cancelled_caught).encode())

    async with serving([route(endpoint)]) as run:
        assert (await run.exchange(get(close=False) + get())).count(b"True") == 2
