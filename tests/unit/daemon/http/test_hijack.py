import anyio
import pytest

from daemon.http.messages import Answer, Hijack, RawStream, Request
from tests.unit.daemon.http.serving import get, hello, read_to_end, read_until, route, serving

RAW = "application/vnd.docker.raw-stream"
UPGRADE = ("Connection: Upgrade", "Upgrade: tcp")


async def shout(stream: RawStream) -> None:
    """Upper case of everything, and a farewell once the client has closed its side."""
    while data := await stream.receive():
        await stream.send(data.upper())
    assert await stream.receive() == b""
    await stream.send(b"bye")
    await stream.send_eof()


async def attach(request: Request) -> Answer:
    return Hijack(content_type=RAW, run=shout)


async def start(request: Request) -> Answer:
    body = await request.read()

    async def run(stream: RawStream) -> None:
        await stream.send(body + b"|")
        await shout(stream)

    return Hijack(content_type=RAW, run=run)


ROUTES = [route(attach, "POST", "/attach"), route(start, "POST", "/start"), route(hello)]


@pytest.mark.parametrize(
    "headers", [(), ("Content-Length: 0",), ("Content-Type: text/plain",), ("Transfer-Encoding: chunked",)]
)
@pytest.mark.parametrize("early", [b"", b"early "])
async def test_upgrade_with_half_close(headers: tuple[str, ...], early: bytes):
    body = b"0\r\n\r\n" if "Transfer-Encoding: chunked" in headers else b""
    async with serving(ROUTES) as run:
        async with await run.connect() as stream:
            await stream.send(get("/attach", *UPGRADE, *headers, method="POST", close=False) + body + early)
            head = await read_until(stream, early.upper() or b"\r\n\r\n")
            await stream.send(b"late")
            await stream.send_eof()
            rest = await read_to_end(stream)
        assert (await run.exchange(get())).endswith(b"hello")
    head, _, data = (head + rest).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 101 UPGRADED"
    assert {b"Connection: Upgrade", b"Upgrade: tcp", b"Content-Type: " + RAW.encode()} <= set(lines)
    assert b"Api-Version: 1.51" in lines
    assert data == early.upper() + b"LATEbye"


async def test_a_body_before_the_switch_and_bytes_behind_it():
    async with serving(ROUTES) as run:
        sent = get("/start", *UPGRADE, "Content-Length: 4", method="POST", close=False) + b"bodyearly"
        async with await run.connect() as stream:
            await stream.send(sent)
            await stream.send_eof()
            assert (await read_to_end(stream)).endswith(b"\r\n\r\nbody|EARLYbye")


async def test_the_protocol_that_was_asked_for():
    async with serving(ROUTES) as run:
        async with await run.connect() as stream:
            await stream.send(get("/attach", "Connection: Upgrade", "Upgrade: h2c", method="POST", close=False))
            assert b"\r\nUpgrade: h2c\r\n" in await read_until(stream, b"\r\n\r\n")


@pytest.mark.parametrize("early", [b"", b"early "])
async def test_without_upgrade_the_answer_is_200_without_framing(early: bytes):
    async with serving(ROUTES) as run:
        async with await run.connect() as stream:
            await stream.send(get("/attach", method="POST", close=False) + early)
            await stream.send(b"late")
            await stream.send_eof()
            answer = await read_to_end(stream)
    head, _, data = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: " + RAW.encode() in head
    assert b"chunked" not in head
    assert b"Content-Length" not in head
    assert data == early.upper() + b"LATEbye"


async def test_a_body_nobody_read_is_dropped_unless_it_is_large():
    async with serving(ROUTES) as run:
        async with await run.connect() as stream:
            await stream.send(get("/attach", *UPGRADE, "Content-Length: 4", method="POST", close=False) + b"bodyx")
            assert (await read_until(stream, b"X")).endswith(b"\r\n\r\nX")
        answer = await run.exchange(
            get("/attach", *UPGRADE, "Content-Length: 100000", method="POST", close=False) + b"x" * 100_000
        )
        assert answer.startswith(b"HTTP/1.1 400 ")


async def test_an_upgrade_that_nobody_wants_is_an_ordinary_request():
    async with serving(ROUTES) as run:
        answer = await run.exchange(get("/x", *UPGRADE, close=False) + get())
    assert answer.count(b"hello") == 2


async def test_the_end_reaches_a_client_that_goes_on_sending():
    async def deaf(request: Request) -> Answer:
        async def run(stream: RawStream) -> None:
            await stream.send(b"done")

        return Hijack(content_type=RAW, run=run)

    async with serving([route(deaf, "POST")]) as run:
        async with await run.connect() as stream:
            await stream.send(get("/x", *UPGRADE, method="POST", close=False) + b"y" * 10_000)
            with anyio.fail_after(5):
                received = b""
                try:
                    while True:
                        received += await stream.receive()
                        await stream.send(b"y" * 10_000)
                except anyio.EndOfStream:  # an end, not a reset
                    pass
    assert received.endswith(b"done")


async def test_the_client_leaves():
    failed, gone = anyio.Event(), anyio.Event()

    async def endpoint(request: Request) -> Answer:
        async def run(stream: RawStream) -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(until_gone)
                assert await stream.receive() == b""
                try:
                    while True:
                        await stream.send(b"x" * 10_000)
                except anyio.BrokenResourceError:
                    failed.set()

        async def until_gone() -> None:
            await request.wait_disconnect()
            gone.set()

        return Hijack(content_type=RAW, run=run)

    async with serving([route(endpoint, "POST")]) as run:
        async with await run.connect() as stream:
            await stream.send(get("/x", *UPGRADE, method="POST", close=False))
            await read_until(stream, b"\r\n\r\n")
        with anyio.fail_after(5):
            await failed.wait()
            await gone.wait()


async def test_on_tcp_a_half_close_is_no_leaving_while_hijacked():
    gone = anyio.Event()

    async def endpoint(request: Request) -> Answer:
        async def run(stream: RawStream) -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(until_gone)
                await shout(stream)
                group.cancel_scope.cancel()

        async def until_gone() -> None:
            await request.wait_disconnect()
            gone.set()

        return Hijack(content_type=RAW, run=run)

    async with serving([route(endpoint, "POST")], tcp=True) as run:
        async with await anyio.connect_tcp("127.0.0.1", run.port) as stream:
            await stream.send(get("/x", *UPGRADE, method="POST", close=False) + b"a")
            await stream.send_eof()
            assert (await read_to_end(stream)).endswith(b"Abye")
    assert not gone.is_set()


async def test_a_function_that_breaks_is_logged(caplog: pytest.LogCaptureFixture):
    async def endpoint(request: Request) -> Answer:
        async def run(stream: RawStream) -> None:
            raise ValueError("out of luck")

        return Hijack(content_type=RAW, run=run)

    async with serving([route(endpoint, "POST"), route(hello)]) as run:
        answer = await run.exchange(get("/x", *UPGRADE, method="POST", close=False))
        assert (await run.exchange(get())).endswith(b"hello")
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert "out of luck" in caplog.text


async def test_head_of_a_hijack_runs_nothing():
    ran: list[bool] = []

    async def endpoint(request: Request) -> Answer:
        async def run(stream: RawStream) -> None:
            ran.append(True)

        return Hijack(content_type=RAW, run=run)

    async with serving([route(endpoint)]) as run:
        assert (await run.exchange(get(method="HEAD"))).startswith(b"HTTP/1.1 200 ")
    assert ran == []
