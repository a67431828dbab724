"""The client against a real HTTP server: JSON, streams, files, takeovers, and what goes wrong."""

import msgspec
import pytest

from clients.api import ApiError, Client, EngineUnreachable
from clients.cli.answers import Created
from daemon.http.messages import Answer, Hijack, RawStream, Request, Response, StreamResponse
from events.errors import NotFound
from tests.unit.daemon.http.serving import echo, route, serving


async def test_json_both_ways():
    async def create(request: Request) -> Answer:
        body = msgspec.json.decode(await request.read())
        query = {key: values[0] for key, values in request.query.items()}
        return Response(body=msgspec.json.encode({"Id": f"{body['Image']} {query['name']} {query['force']}"}))

    async with serving([route(create, "POST")]) as server:
        client = Client(f"unix://{server.path}")
        answer = await client.post("/x", Created, {"name": "a b&c", "force": True}, {"Image": "ü"})
        assert answer.id == "ü a b&c true"


async def test_tcp_works_too():
    async def answer(_: Request) -> Answer:
        return Response(body=b'{"Id":"1"}')

    async with serving([route(answer)], tcp=True) as server:
        client = Client(f"tcp://127.0.0.1:{server.port}")
        assert (await client.get("/x", Created)).id == "1"


async def test_an_error_has_status_and_message():
    async def refuse(_: Request) -> Answer:
        raise NotFound("No such thing: x")

    async with serving([route(refuse), route(refuse, "POST")]) as server:
        client = Client(f"unix://{server.path}")
        with pytest.raises(ApiError, match="No such thing: x") as caught:
            await client.get("/x", Created)
        assert caught.value.status == 404
        with pytest.raises(ApiError, match="No such thing: x"):
            async with client.attach("/x"):
                pass


async def test_a_stream_comes_as_it_is_sent():
    async def pieces():
        yield b"one"
        yield b"two"

    async def answer(_: Request) -> Answer:
        return StreamResponse(chunks=pieces())

    async with serving([route(answer)]) as server:
        async with Client(f"unix://{server.path}").stream("GET", "/x") as chunks:
            assert [chunk async for chunk in chunks] == [b"one", b"two"]


async def test_a_stream_that_breaks_off_is_no_end():
    async def pieces():
        yield b"one"
        raise NotFound("gone")

    async def answer(_: Request) -> Answer:
        return StreamResponse(chunks=pieces())

    async with serving([route(answer)]) as server:
        with pytest.raises(EngineUnreachable):
            await Client(f"unix://{server.path}").act("GET", "/x")


async def test_a_file_is_sent_whole(tmp_path):
    content = bytes(range(256)) * 4096
    (tmp_path / "file").write_bytes(content)
    async with serving([route(echo, "POST")]) as server:
        client = Client(f"unix://{server.path}")
        async with client.stream("POST", "/x", file=tmp_path / "file") as chunks:
            assert b"".join([chunk async for chunk in chunks]) == content


async def test_a_takeover_goes_both_ways_and_ends_by_halves():
    async def converse(stream: RawStream) -> None:
        await stream.send(b"hello ")
        received = b""
        while data := await stream.receive():
            received += data
        await stream.send(received.upper())

    async def answer(_: Request) -> Answer:
        return Hijack(content_type="application/vnd.docker.raw-stream", run=converse)

    async with serving([route(answer, "POST")]) as server:
        async with Client(f"unix://{server.path}").attach("/x") as attached:
            await attached.send(b"wor")
            await attached.send(b"ld")
            await attached.send_eof()
            assert b"".join([chunk async for chunk in attached.chunks()]) == b"hello WORLD"


async def test_a_refused_takeover_is_said():
    async with serving([route(echo, "POST")]) as server:
        with pytest.raises(EngineUnreachable, match="didn't hand the connection over"):
            async with Client(f"unix://{server.path}").attach("/x"):
                pass


async def test_an_answer_that_makes_no_sense_is_said():
    async with serving([route(echo, "POST")]) as server:
        with pytest.raises(EngineUnreachable, match="can't be read"):
            await Client(f"unix://{server.path}").post("/x", Created, body={"Id": 1})


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("unix:///absent/socket", "is shiplogd running?"),
        ("tcp://127.0.0.1:1", "is shiplogd running?"),
        ("http://x", "neither unix://PATH nor tcp://HOST:PORT"),
    ],
)
async def test_nobody_there(host, message):
    with pytest.raises(EngineUnreachable) as caught:
        await Client(host).get("/version", Created)
    assert message in str(caught.value)
