"""What `shiplog` prints and ends with, against a real HTTP server that plays the engine."""

import struct

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as some

from clients.api import Client
from clients.cli.__main__ import parser
from clients.cli.output import Demultiplexer
from daemon.http.messages import Answer, Hijack, RawStream, Request, Response, StreamResponse
from daemon.http.stdcopy import frame
from events.errors import NotFound, SystemFailure
from tests.unit.daemon.http.serving import route, serving


class Playing:
    """An engine with one container: what it was asked, and how it ends."""

    def __init__(self, *, start_error: str = "", exit_code: int = 0) -> None:
        self.asked: list[str] = []
        self.start_error, self.exit_code = start_error, exit_code
        self.started = anyio.Event()

    async def create(self, request: Request) -> Answer:
        body = await request.read()
        if b"absent" in body:
            raise NotFound("No such image: absent:latest")
        self.asked.append(f"create {request.query.get('name', [''])[0]}")
        return Response(status=201, body=b'{"Id":"c1","Warnings":["careful"]}')

    async def attach(self, _: Request) -> Answer:
        self.asked.append("attach")
        return Hijack(content_type="application/vnd.docker.multiplexed-stream", run=self._output)

    async def wait(self, request: Request) -> Answer:
        self.asked.append(f"wait {request.query['condition'][0]}")
        return StreamResponse(chunks=self._end())

    async def start(self, _: Request) -> Answer:
        self.asked.append("start")
        if self.start_error:
            raise SystemFailure(self.start_error)
        self.started.set()
        return Response(status=204)

    async def remove(self, _: Request) -> Answer:
        self.asked.append("remove")
        return Response(status=204)

    async def _output(self, stream: RawStream) -> None:
        await self.started.wait()
        await stream.send(frame(1, b"to stdout\n") + frame(2, b"to stderr\n"))

    async def _end(self):
        await self.started.wait()
        yield b'{"StatusCode":%d}' % self.exit_code

    def routes(self):
        return [
            route(self.create, "POST", "/containers/create"),
            route(self.attach, "POST", "/containers/{id}/attach"),
            route(self.wait, "POST", "/containers/{id}/wait"),
            route(self.start, "POST", "/containers/{id}/start"),
            route(self.remove, "DELETE", "/containers/{id}"),
        ]


async def shiplog(routes, *words: str) -> int:
    """Run a command line against an engine."""
    async with serving(routes) as server:
        arguments = parser().parse_args(words)
        code: int = await arguments.act(Client(f"unix://{server.path}"), arguments)
        return code


async def test_run_passes_output_and_exit_code_on(capfdbinary):
    engine = Playing(exit_code=7)
    assert await shiplog(engine.routes(), "run", "--name", "n1", "image", "sh", "-c", "exit 7") == 7
    assert capfdbinary.readouterr() == (b"to stdout\n", b"warning: careful\nto stderr\n")
    assert engine.asked == ["create n1", "attach", "wait next-exit", "start"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ('exec: "/x": stat /x: no such file or directory: unknown', 127),
        ('exec: "/x": permission denied: unknown', 126),
        ("something else", 125),
    ],
)
async def test_a_start_that_fails_ends_as_a_shell_would(capsys, error, code):
    engine = Playing(start_error=error)
    assert await shiplog(engine.routes(), "run", "--rm", "image") == code
    assert error in capsys.readouterr().err
    assert engine.asked[-1] == "remove"


async def test_run_without_the_image(capsys):
    assert await shiplog(Playing().routes(), "run", "absent") == 125
    assert capsys.readouterr().err == "shiplog: No such image: absent:latest\n"


async def test_ps_has_aligned_columns(capsys):
    async def containers(request: Request) -> Answer:
        assert request.query["all"] == ["true"]
        row = b'{"Id":"%s","Image":"img","Command":"sh","Status":"Up 2 seconds","Names":["/one"]}' % (b"f" * 64)
        return Response(body=b"[%s]" % row)

    assert await shiplog([route(containers, pattern="/containers/json")], "ps", "-a") == 0
    assert capsys.readouterr().out.splitlines() == [
        "CONTAINER ID   IMAGE   COMMAND   STATUS         NAMES",
        'ffffffffffff   img     "sh"      Up 2 seconds   one',
    ]


@pytest.mark.parametrize(
    ("answer", "code", "out", "err"),
    [
        (b'{"stream":"Loaded image: a:b\\n"}\r\n', 0, "Loaded image: a:b\n", ""),
        (b'{"errorDetail":{"message":"bad"},"error":"bad"}\r\n', 1, "", "shiplog: bad\n"),
    ],
)
async def test_load_shows_what_came_of_it(capsys, tmp_path, answer, code, out, err):
    async def load(request: Request) -> Answer:
        assert await request.read() == b"archive"
        return Response(body=answer)

    (tmp_path / "image.tar").write_bytes(b"archive")
    routes = [route(load, "POST", "/images/load")]
    assert await shiplog(routes, "load", str(tmp_path / "image.tar")) == code
    assert capsys.readouterr() == (out, err)


async def test_events_are_shown_a_line_each(capsys):
    async def lines():
        yield b'{"Type":"container"}\n'
        yield b'{"Type":"network"}\n'

    async def events(request: Request) -> Answer:
        assert request.query["since"] == ["0"]
        return StreamResponse(chunks=lines())

    assert await shiplog([route(events, pattern="/events")], "events", "--since", "0") == 0
    assert capsys.readouterr().out == '{"Type":"container"}\n{"Type":"network"}\n'


async def test_version_shows_all_components(capsys):
    async def version(_: Request) -> Answer:
        components = b'[{"Name":"Engine","Version":"1.0"},{"Name":"runc","Version":"1.1.5"}]'
        return Response(body=b'{"Components":%s,"ApiVersion":"1.51","MinAPIVersion":"1.24"}' % components)

    assert await shiplog([route(version, pattern="/version")], "version") == 0
    assert capsys.readouterr().out.split() == "Engine 1.0 runc 1.1.5 API 1.24 to 1.51".split()


@given(
    some.lists(some.tuples(some.sampled_from([1, 2]), some.binary(min_size=1, max_size=50)), max_size=8),
    some.lists(some.integers(min_value=1, max_value=20), min_size=1),
)
def test_frames_survive_any_split(frames, sizes):
    wire = b"".join(struct.pack(">BxxxI", stream, len(data)) + data for stream, data in frames)
    demultiplexer, position, got = Demultiplexer(), 0, {1: b"", 2: b""}
    while position < len(wire):
        size = sizes[position % len(sizes)]
        for stream, data in demultiplexer.feed(wire[position : position + size]):
            got[stream] += data
        position += size
    assert got == {number: b"".join(data for stream, data in frames if stream == number) for number in (1, 2)}
