import gc

import anyio
import pytest

from daemon.http.limits import Limits
from daemon.http.messages import Answer, Request, Response
from events.errors import Conflict, NotModified
from tests.unit.daemon.http.serving import (
    COMMON,
    echo,
    get,
    hello,
    read_to_end,
    read_until,
    route,
    serving,
    split,
)


async def test_answers_with_length_and_common_headers():
    async with serving([route(hello)]) as run:
        status, headers, body = split(await run.exchange(get()))
    assert status == "HTTP/1.1 200 OK"
    assert body == b"hello"
    assert headers["Content-Length"] == "5"
    assert headers["Content-Type"] == "text/plain"
    assert headers["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert COMMON.items() <= headers.items()


async def test_keeps_the_connection_and_answers_pipelined_requests_in_order():
    async def name(request: Request) -> Answer:
        return Response(body=request.parameters["name"].encode())

    async with serving([route(name, pattern="/{name}/x".replace("/{name}", "/a/{name}"))]) as run:
        answer = await run.exchange(get("/a/one/x", close=False) + get("/a/two/x", close=False) + get("/a/three/x"))
    assert [answer.index(word) for word in (b"one", b"two", b"three")] == sorted(
        answer.index(word) for word in (b"one", b"two", b"three")
    )
    assert answer.count(b"HTTP/1.1 200 OK") == 3


async def test_who_sends_requests_ahead_leaves_others_their_turn():
    calls: list[str] = []

    async def note(request: Request) -> Answer:
        name = request.parameters["name"]
        if not calls:
            await other.send(get("/a/other"))
        calls.append(name)
        return Response(body=b"x")

    async with serving([route(note, pattern="/a/{name}")]) as run, await run.connect() as other:
        await run.exchange(get("/a/greedy", close=False) * 200 + get("/a/greedy"))
        assert (await read_to_end(other)).endswith(b"x")
    assert calls.index("other") < 100


STATUSES = (200, 201, 204, 304, 404, 500)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("body", [b"", b"hello", b"x" * 1_000_000])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_kept_connections_answers_are_those_of_one_that_closes(status: int, body: bytes, method: str):
    async def say(request: Request) -> Answer:
        return Response(status=status, body=body, headers={"ostype": "plan9", "X-Own": "a: b"})

    async with serving([route(say)]) as run:
        closing = await run.exchange(get(method=method))
        both = await run.exchange(get(method=method, close=False) + get(method=method))
    assert both.endswith(closing)
    kept_head, _, kept_body = both[: -len(closing)].partition(b"\r\n\r\n")
    closing_head, _, closing_body = closing.partition(b"\r\n\r\n")
    assert sorted([*kept_head.split(b"\r\n"), b"Connection: close"]) == sorted(closing_head.split(b"\r\n"))
    assert kept_body == closing_body


async def test_http_1_0_closes():
    async with serving([route(hello)]) as run:
        answer = await run.exchange(b"GET /x HTTP/1.0\r\n\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\nhello")


async def test_head_is_served_by_get_without_a_body():
    async with serving([route(hello)]) as run:
        status, headers, body = split(await run.exchange(get(method="HEAD")))
    assert (status, headers["Content-Length"], body) == ("HTTP/1.1 200 OK", "5", b"")


@pytest.mark.parametrize("target", ["/nosuch", "*", "/v1.99/x"])
async def test_options_is_always_fine(target: str):
    async with serving([route(hello)]) as run:
        status, headers, body = split(await run.exchange(get(target, method="OPTIONS")))
    assert (status, headers["Content-Length"], body) == ("HTTP/1.1 200 OK", "0", b"")


@pytest.mark.parametrize(("method", "path"), [("GET", "/nosuch"), ("DELETE", "/x"), ("GET", "/"), ("GET", "/x/")])
async def test_unknown_page(method: str, path: str):
    async with serving([route(hello)]) as run:
        status, headers, body = split(await run.exchange(get(path, method=method)))
    assert status == "HTTP/1.1 404 Not Found"
    assert body == b'{"message":"page not found"}\n'
    assert COMMON.items() <= headers.items()
    assert headers["Content-Type"] == "application/json"


async def test_absolute_target():
    async with serving([route(hello)]) as run:
        assert (await run.exchange(get("http://docker/x?a=1"))).endswith(b"hello")


async def test_what_the_endpoint_is_told():
    told: list[Request] = []

    async def keep(request: Request) -> Answer:
        told.append(request)
        return Response(status=204)

    async with serving([route(keep, pattern="/images/{name:path}/json")]) as run:
        sent = get(
            "/v1.41/images/a%2Fb/c/json?x=1&x=%C3%A9&y=&z=a+b", "User-Agent: Docker-Client/28", "X-A: 1", "X-A: 2"
        )
        status, headers, body = split(await run.exchange(sent))
    (request,) = told
    assert (status, body) == ("HTTP/1.1 204 No Content", b"")
    assert "Content-Type" not in headers
    assert "Content-Length" not in headers
    assert request.method == "GET"
    assert request.path == "/images/a/b/c/json"
    assert request.parameters == {"name": "a/b/c"}
    assert request.query == {"x": ["1", "é"], "y": [""], "z": ["a b"]}
    assert request.headers["x-a"] == "1, 2"
    assert request.version == (1, 41)
    assert request.actor.kind == "unix"
    assert request.actor.user_agent == "Docker-Client/28"
    assert not request.wants_upgrade


async def test_errors_have_their_status_and_text():
    async def conflict(request: Request) -> Answer:
        raise Conflict('container "a" is not running')

    async with serving([route(conflict)]) as run:
        status, _, body = split(await run.exchange(get()))
    assert status == "HTTP/1.1 409 Conflict"
    assert body == b'{"message":"container \\"a\\" is not running"}\n'


async def test_not_modified_has_no_body():
    async def unchanged(request: Request) -> Answer:
        raise NotModified("x")

    async with serving([route(unchanged)]) as run:
        status, _, body = split(await run.exchange(get()))
    assert (status, body) == ("HTTP/1.1 304 Not Modified", b"")


async def test_an_endpoint_that_breaks_is_logged_and_the_server_goes_on(caplog: pytest.LogCaptureFixture):
    async def broken(request: Request) -> Answer:
        raise KeyError("secret \ud800")

    async with serving([route(broken), route(hello, pattern="/y")]) as run:
        answer = await run.exchange(get(close=False) + get("/y"))
    assert b"HTTP/1.1 500 Internal Server Error" in answer
    assert b'{"message":"internal error: KeyError' in answer
    assert answer.endswith(b"hello")
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "\u20ac"])
async def test_a_malformed_header_of_an_endpoint_is_an_error(value: str):
    async def broken(request: Request) -> Answer:
        return Response(headers={"X-A": value})

    async with serving([route(broken)]) as run:
        answer = await run.exchange(get(close=False) + get())
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert answer.count(b"HTTP/1.1 500 ") == 2
    assert b"Set-Cookie: b\r\n" not in answer


async def test_an_endpoints_header_takes_the_place_of_a_common_one():
    async def own(request: Request) -> Answer:
        return Response(headers={"ostype": "windows"})

    async with serving([route(own)]) as run:
        answer = await run.exchange(get())
    assert b"ostype: windows\r\n" in answer
    assert b"linux\r\nDate" not in answer.partition(b"Ostype")[2]
    assert b"Ostype" not in answer


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"GET /x\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /x HTTP/1.1\r\nHost: d\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: d\r\nA b: c\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /" + b"x" * 70_000, 431),
        (b"GET /x HTTP/1.1\r\nHost: d\r\n" + b"A: b\r\n" * 20_000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 400),  # TLS on a plain socket
    ],
)
async def test_what_is_not_http_is_refused_and_the_server_goes_on(sent: bytes, status: int):
    async with serving([route(hello)]) as run:
        answer = await run.exchange(sent)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"Connection: close" in answer
        assert (await run.exchange(get())).endswith(b"hello")


async def test_silence_is_closed_silently_and_a_slow_head_with_408():
    limits = Limits(head_timeout_s=0.05, idle_timeout_s=0.05, linger_timeout_s=0.05)
    async with serving([route(hello)], limits=limits) as run:
        async with await run.connect() as silent, await run.connect() as slow, await run.connect() as idle:
            await slow.send(b"GET /x HT")
            await idle.send(get(close=False))
            assert await read_to_end(silent) == b""
            assert (await read_to_end(slow)).startswith(b"HTTP/1.1 408 ")
            assert (await read_to_end(idle)).endswith(b"hello")


async def test_one_client_too_many_gets_503_and_room_comes_back():
    async with serving([route(hello)], limits=Limits(connections=1)) as run:
        async with await run.connect() as first:
            await first.send(get(close=False))
            await read_until(first, b"hello")
            answer = await run.exchange(b"")
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert answer.endswith(b'{"message":"too many connections"}\n')
        with anyio.fail_after(5):
            while not (await run.exchange(get())).endswith(b"hello"):
                await anyio.lowlevel.checkpoint()


async def test_clients_that_leave_in_the_middle_of_anything_harm_nobody():
    async with serving([route(hello), route(echo, "POST")]) as run:
        for sent in (b"", b"GET", get(), get()[:-2], b"POST /x HTTP/1.1\r\nHost: d\r\nContent-Length: 9\r\n\r\nab"):
            async with await run.connect() as stream:
                if sent:
                    await stream.send(sent)
        assert (await run.exchange(get())).endswith(b"hello")
    gc.collect()  # an unclosed socket would warn here


async def test_many_at_once():
    async with serving([route(hello)]) as run:
        answers: list[bytes] = []

        async def one() -> None:
            answers.append(await run.exchange(get()))

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(one)
    assert len([answer for answer in answers if answer.endswith(b"hello")]) == 50


async def test_tcp_has_a_source_address():
    async def address(request: Request) -> Answer:
        return Response(body=f"{request.actor.kind} {request.actor.address}".encode())

    async with serving([route(address)], tcp=True) as run:
        async with await anyio.connect_tcp("127.0.0.1", run.port) as stream:
            await stream.send(get())
            own = stream.extra(anyio.abc.SocketAttribute.local_port)
            assert (await read_to_end(stream)).endswith(f"tcp 127.0.0.1:{own}".encode())
