import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from anyio.streams.tls import TLSStream

from daemon.http.limits import Limits
from daemon.http.messages import Answer, Hijack, RawStream, Request, Response
from tests.unit.daemon.http.certificates import Authority
from tests.unit.daemon.http.serving import get, hello, read_to_end, read_until, route, serving


async def who(request: Request) -> Answer:
    return Response(body=f"{request.actor.kind} {request.actor.subject} {request.actor.address}".encode())


async def connect(port: int, context: ssl.SSLContext) -> TLSStream:
    return await anyio.connect_tcp("127.0.0.1", port, ssl_context=context, tls_standard_compatible=False)


async def ask(port: int, context: ssl.SSLContext) -> bytes:
    """The first bytes of the answer; with TLS 1.3 a refused client learns of it only then."""
    async with await connect(port, context) as stream:
        await stream.send(get())
        return await stream.receive()


async def test_a_verified_client_is_served_by_name(tmp_path: Path):
    authority = Authority(tmp_path)
    async with serving([route(who)], tls=authority.server()) as run:
        async with await connect(run.port, authority.client(*authority.issue("me"))) as stream:
            await stream.send(get())
            port = stream.extra(anyio.abc.SocketAttribute.local_port)
            answer = await read_to_end(stream)
    assert answer.endswith(f"tls CN=me,O=Shiplog\\, Inc. 127.0.0.1:{port}".encode())


async def test_strangers_are_not(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory):
    authority, other = Authority(tmp_path), Authority(tmp_path_factory.mktemp("other"), "other")
    async with serving([route(hello)], tls=authority.server()) as run:
        for identity in ((), other.issue("me")):
            with pytest.raises((OSError, anyio.BrokenResourceError, anyio.EndOfStream)):
                await ask(run.port, authority.client(*identity))
        async with await anyio.connect_tcp("127.0.0.1", run.port) as plain:
            await plain.send(get())
            assert b"hello" not in await read_to_end(plain)
        assert (await ask(run.port, authority.client(*authority.issue("me")))).endswith(b"hello")


async def test_old_protocols_are_refused(tmp_path: Path):
    authority = Authority(tmp_path)
    old = authority.client(*authority.issue("me"))
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    async with serving([route(hello)], tls=authority.server()) as run:
        with pytest.raises((OSError, anyio.BrokenResourceError, anyio.EndOfStream)):
            await connect(run.port, old)


async def test_a_handshake_that_never_comes(tmp_path: Path):
    authority = Authority(tmp_path)
    async with serving([route(hello)], tls=authority.server(), limits=Limits(head_timeout_s=0.05)) as run:
        async with await anyio.connect_tcp("127.0.0.1", run.port) as silent:
            assert await read_to_end(silent) == b""


async def test_the_server_closes_although_somebody_is_shaking_hands(tmp_path: Path):
    authority = Authority(tmp_path)
    async with serving([route(hello)], tls=authority.server()) as run:
        async with await anyio.connect_tcp("127.0.0.1", run.port) as silent:
            await anyio.wait_all_tasks_blocked()
            await run.server.close(0)
            assert await read_to_end(silent) == b""


async def test_hijacked_under_tls(tmp_path: Path):
    async def attach(request: Request) -> Answer:
        async def run(stream: RawStream) -> None:
            await stream.send((await stream.receive()).upper())
            assert await stream.receive() == b""  # the client has said goodbye; it can still be answered
            await stream.send(b"bye")
            await stream.send_eof()

        return Hijack(content_type="application/vnd.docker.raw-stream", run=run)

    authority = Authority(tmp_path)
    async with serving([route(attach, "POST")], tls=authority.server()) as run:
        context = authority.client(*authority.issue("me"))
        async with await connect(run.port, context) as stream:
            await stream.send(get("/x", "Connection: Upgrade", "Upgrade: tcp", method="POST", close=False) + b"abc")
            assert (await read_until(stream, b"ABC")).startswith(b"HTTP/1.1 101 UPGRADED")


async def test_one_too_many_under_tls(tmp_path: Path):
    authority = Authority(tmp_path)
    async with serving([route(hello)], tls=authority.server(), limits=Limits(connections=0)) as run:
        answer = await ask(run.port, authority.client(*authority.issue("me")))
    assert answer.startswith(b"HTTP/1.1 503 ")


async def test_strangers_who_say_nothing_take_nobody_s_place(tmp_path: Path):
    authority = Authority(tmp_path)
    limits = Limits(connections=1, handshakes=2)
    async with serving([route(hello)], tls=authority.server(), limits=limits) as run, AsyncExitStack() as silent:
        strangers = [await silent.enter_async_context(await anyio.connect_tcp("127.0.0.1", run.port)) for _ in range(3)]
        assert await read_to_end(strangers[-1]) == b""  # one too many even here: the door of the listener is full
        assert (await run.exchange(get())).endswith(b"hello")


async def test_a_place_at_the_door_comes_back(tmp_path: Path):
    authority = Authority(tmp_path)
    me = authority.client(*authority.issue("me"))
    async with serving([route(hello)], tls=authority.server(), limits=Limits(handshakes=1)) as run:
        for _ in range(2):
            async with await connect(run.port, me) as held:  # shaken hands: the door is free, as long as this lasts
                await held.send(get(close=False))
                await read_until(held, b"hello")
                assert (await ask(run.port, me)).endswith(b"hello")
