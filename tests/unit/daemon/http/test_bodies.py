from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from daemon.http.limits import Limits
from daemon.http.messages import Answer, Request, Response, StreamResponse
from events.errors import InvalidParameter, SystemFailure
from handlers.kernel.mounts import mount, unmount
from tests.unit.daemon.http.serving import echo, get, hello, read_to_end, read_until, route, serving

POST = route(echo, "POST")
CHUNKED = b"POST /x HTTP/1.1\r\nHost: d\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(body: bytes, *headers: str, close: bool = True) -> bytes:
    return get("/x", f"Content-Length: {len(body)}", *headers, method="POST", close=close) + body


async def test_length_and_chunks():
    async with serving([POST]) as run:
        assert (await run.exchange(post(b"abc"))).endswith(b"\r\n\r\nabc")
        assert (await run.exchange(CHUNKED + b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\nT: v\r\n\r\n")).endswith(b"\r\n\r\nabc")
        assert (await run.exchange(post(b""))).endswith(b"Content-Length: 0\r\nConnection: close\r\n\r\n")


async def test_a_large_body_byte_for_byte():
    body = bytes(range(256)) * 4096
    async with serving([POST]) as run:
        assert (await run.exchange(post(body))).endswith(body)


async def test_continue_is_sent_when_the_body_is_read_and_only_then():
    async with serving([POST, route(hello, "POST", "/y")]) as run:
        async with await run.connect() as stream:
            await stream.send(get("/x", "Content-Length: 2", "Expect: 100-continue", method="POST", close=False))
            assert await read_until(stream, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await stream.send(b"ab")
            await read_until(stream, b"ab")
        answer = await run.exchange(get("/y", "Content-Length: 2", "Expect: 100-continue", method="POST", close=False))
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"Connection: close" in answer


async def test_a_small_unread_body_is_dropped_and_a_large_one_costs_the_connection():
    async with serving([route(hello, "POST")]) as run:
        answer = await run.exchange(post(b"a" * 1000, close=False) + post(b"b"))
        assert answer.count(b"hello") == 2
        answer = await run.exchange(post(b"a" * 100_000, close=False) + post(b"b"))
        assert answer.count(b"hello") == 1
        assert b"Connection: close" in answer
        answer = await run.exchange(
            CHUNKED.replace(b"close", b"keep-alive") + b"18000\r\n" + b"a" * 0x18000 + b"\r\n0\r\n\r\n"
        )
        assert answer.count(b"hello") == 1


async def test_more_than_the_endpoint_takes_is_refused():
    async def little(request: Request) -> Answer:
        return Response(body=await request.read(limit_bytes=10))

    async with serving([route(little, "POST")]) as run:
        for sent in (post(b"a" * 11), CHUNKED + b"b\r\n" + b"a" * 11 + b"\r\n0\r\n\r\n"):
            answer = await run.exchange(sent)
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"request body is larger than 10 bytes" in answer


@pytest.mark.parametrize(
    "sent", [post(b"abc")[:-1], CHUNKED + b"5\r\nab", CHUNKED + b"zz\r\n", CHUNKED + b"3\r\nabc\r\n", CHUNKED]
)
async def test_a_body_that_is_cut_off(sent: bytes):
    raised: list[BaseException] = []

    async def twice(request: Request) -> Answer:
        for _ in range(2):
            try:
                await request.read()
            except InvalidParameter as error:
                raised.append(error)
        raise raised[0]

    async with serving([route(twice, "POST")]) as run:
        async with await run.connect() as stream:
            await stream.send(sent)
            await stream.send_eof()
            answer = await read_to_end(stream)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"request body is incomplete" in answer
    assert len(raised) == 2


async def test_a_body_that_stalls():
    async with serving([POST], limits=Limits(body_idle_timeout_s=0.05, linger_timeout_s=0.05)) as run:
        async with await run.connect() as stream:
            await stream.send(post(b"abc", close=False)[:-1])
            answer = await read_to_end(stream)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in answer


async def test_a_body_that_arrives_slowly_but_steadily():
    async with serving([POST], limits=Limits(body_idle_timeout_s=1)) as run:
        async with await run.connect() as stream:
            sent = post(b"abcdef")
            for at in range(len(sent)):
                await stream.send(sent[at : at + 1])
            assert (await read_to_end(stream)).endswith(b"abcdef")


async def test_an_unread_stalled_body_is_not_waited_for_long():
    async with serving([route(hello, "POST")], limits=Limits(drain_timeout_s=0.05, linger_timeout_s=0.05)) as run:
        async with await run.connect() as stream:
            await stream.send(post(b"abc", close=False)[:-1])
            assert (await read_to_end(stream)).endswith(b"hello")


async def test_spool(tmp_path: Path):
    async def spool(request: Request) -> Answer:
        return Response(body=str(await request.spool(tmp_path / "body")).encode())

    body, parts = bytes(range(256)) * 12288, list[tuple[int, int]]()
    told = lambda _, offset, size: parts.append((offset, size))  # noqa: E731
    async with serving([route(spool, "POST")], on_spooled=told) as run:
        assert (await run.exchange(post(body))).endswith(b"%d" % len(body))
    assert [offset for offset, _ in parts] == [sum(size for _, size in parts[:n]) for n in range(len(parts))]
    assert sum(size for _, size in parts) == len(body)
    assert (tmp_path / "body").read_bytes() == body
    assert (tmp_path / "body").stat().st_mode & 0o777 == 0o600


async def test_spool_leaves_no_half_file(tmp_path: Path):
    async def spool(request: Request) -> Answer:
        return Response(body=str(await request.spool(tmp_path / "body")).encode())

    async with serving([route(spool, "POST")]) as run:
        async with await run.connect() as stream:
            await stream.send(post(b"abc")[:-1])
            await stream.send_eof()
            assert (await read_to_end(stream)).startswith(b"HTTP/1.1 400 ")
    assert not (tmp_path / "body").exists()


@pytest.mark.root
async def test_spool_onto_a_full_disk_leaves_nothing_and_is_told(tmp_path: Path):
    mount("tmpfs", str(tmp_path), filesystem="tmpfs", options="size=2M")
    try:

        async def spool(request: Request) -> Answer:
            with pytest.raises(SystemFailure, match="No space left"):
                await request.spool(tmp_path / "body")
            assert [path async for path in anyio.Path(tmp_path).iterdir()] == []
            return Response()

        async with serving([route(spool, "POST")]) as run:
            async with await run.connect() as stream:
                await stream.send(post(bytes(8 * 1024**2), close=False)[: 7 * 1024**2])
                assert (await read_until(stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    finally:
        unmount(str(tmp_path))


async def test_spool_over_something_is_refused(tmp_path: Path):
    (tmp_path / "body").symlink_to(tmp_path / "elsewhere")

    async def spool(request: Request) -> Answer:
        with pytest.raises(SystemFailure):
            await request.spool(tmp_path / "body")
        return Response()

    async with serving([route(spool, "POST")]) as run:
        assert (await run.exchange(post(b"abc"))).startswith(b"HTTP/1.1 200 ")
    assert not (tmp_path / "elsewhere").exists()


async def test_progress_is_streamed_while_the_body_is_read():
    async def load(request: Request) -> Answer:
        async def progress() -> AsyncIterator[bytes]:
            async for piece in request.chunks():
                yield b"<" + piece + b">"

        return StreamResponse(chunks=progress())

    async with serving([route(load, "POST")]) as run:
        async with await run.connect() as stream:
            await stream.send(CHUNKED.replace(b"Connection: close", b"Expect: 100-continue"))
            await read_until(stream, b"\r\n\r\n")
            await stream.send(b"1\r\na\r\n")
            await read_until(stream, b"<a>\r\n")
            await stream.send(b"1\r\nb\r\n0\r\n\r\n")
            await read_until(stream, b"<b>\r\n0\r\n\r\n")
            await stream.send(CHUNKED + b"0\r\n\r\n")
            with anyio.fail_after(5):
                assert (await read_to_end(stream)).endswith(b"\r\n\r\n0\r\n\r\n")
