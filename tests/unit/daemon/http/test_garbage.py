"""Whatever a client sends, in whatever pieces: the server answers or closes, and serves the next client."""

from itertools import pairwise

import anyio
import hypothesis.strategies as st
from hypothesis import given, settings

from daemon.http.limits import Limits
from daemon.http.messages import Answer, Hijack, RawStream, Request, StreamResponse
from tests.unit.daemon.http.serving import Serving, echo, get, hello, read_to_end, route, serving

_SHORT = Limits(
    head_timeout_s=0.5, idle_timeout_s=0.5, body_idle_timeout_s=0.5, drain_timeout_s=0.5, linger_timeout_s=0.5
)


async def stream(request: Request) -> Answer:
    return StreamResponse(chunks=request.chunks())


async def attach(request: Request) -> Answer:
    async def run(raw: RawStream) -> None:
        while data := await raw.receive():
            await raw.send(data)

    return Hijack(content_type="a/b", run=run)


ROUTES = [route(hello), route(echo, "POST"), route(stream, "PUT"), route(attach, "POST", "/attach")]

_PIECES = st.sampled_from(
    [
        *(b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b" ", b" /x", b" /attach", b" /v1.99/x", b" *", b"?a=%zz&b"),
        *(
            b" HTTP/1.1",
            b" HTTP/1.0",
            b" HTTP/2",
            b"\r\n",
            b"\n",
            b"\r",
            b"\0",
            b"Host: d\r\n",
            b"Content-Length: 3\r\n",
        ),
        *(
            b"Content-Length: 9999999999999999999999\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Expect: 100-continue\r\n",
        ),
        *(b"Connection: Upgrade\r\nUpgrade: tcp\r\n", b"Connection: close\r\n", b"User-Agent: \xff\r\n", b"abc"),
        *(b"3\r\nabc\r\n", b"0\r\n\r\n", b"ffffffffffffffffffff\r\n", get(close=False), get("/attach", method="POST")),
    ]
)


async def send_and_see_it_end(run: Serving, pieces: list[bytes]) -> bytes:
    async with await run.connect() as client:
        try:
            for piece in pieces:
                await client.send(piece)
                await anyio.lowlevel.checkpoint()
            await client.send_eof()
        except (OSError, anyio.BrokenResourceError):
            pass  # the server has had enough
        return await read_to_end(client)


async def survives(pieces: list[bytes]) -> None:
    async with serving(ROUTES, limits=_SHORT) as run:
        answer = await send_and_see_it_end(run, [piece for piece in pieces if piece])
        assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
        assert (await run.exchange(get())).endswith(b"hello")


@settings(max_examples=150, deadline=None)
@given(st.lists(_PIECES, max_size=12).map(b"".join), st.lists(st.integers(0, 300), max_size=5))
async def test_nearly_http(sent: bytes, cuts: list[int]):
    bounds = [0, *sorted(cuts), len(sent)]
    await survives([sent[begin:end] for begin, end in pairwise(bounds)])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=5))
async def test_noise(pieces: list[bytes]):
    await survives(pieces)


_VALID = (
    get(close=False)
    + get("/x", "Content-Length: 5", method="POST", close=False)
    + b"hello"
    + get("/x", "Transfer-Encoding: chunked", method="POST", close=False)
    + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    + get()
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, len(_VALID) - 1), max_size=12))
async def test_valid_requests_in_any_pieces(cuts: list[int]):
    bounds = [0, *sorted(set(cuts)), len(_VALID)]
    async with serving(ROUTES, limits=_SHORT) as run:
        answer = await send_and_see_it_end(run, [_VALID[a:b] for a, b in pairwise(bounds)])
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    assert answer.count(b"\r\n\r\nhello") == 4
