"""What `shiplog` prints and ends with, against a real HTTP server that plays the engine."""

import json
import os
import struct
import sys
from typing import NamedTuple

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as some

from clients.cli import human
from clients.cli.output import Demultiplexer
from daemon.http.messages import Answer, Hijack, RawStream, Request, Response, StreamResponse
from daemon.http.stdcopy import frame
from events.errors import NotFound, SystemFailure
from tests.unit.daemon.http.serving import route, serving

LIMIT_S = 60


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


class Ended(NamedTuple):
    """A program that has ended."""

    code: int
    out: str
    err: str


async def shiplog(routes, *words: str) -> Ended:
    """Run the program against an engine."""
    async with serving(routes) as server:
        command = [sys.executable, "-m", "clients.cli", "--host", f"unix://{server.path}", *words]
        with anyio.fail_after(LIMIT_S):
            done = await anyio.run_process(command, check=False)
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


async def test_run_passes_output_and_exit_code_on():
    engine = Playing(exit_code=7)
    ended = await shiplog(engine.routes(), "run", "--name", "n1", "image", "sh", "-c", "exit 7")
    assert ended == (7, "to stdout\n", "WARNING: careful\nto stderr\n")
    assert engine.asked == ["create n1", "attach", "wait next-exit", "start"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ('exec: "/x": stat /x: no such file or directory: unknown', 127),
        ('exec: "/x": permission denied: unknown', 126),
        ("something else", 125),
    ],
)
async def test_a_start_that_fails_ends_as_a_shell_would(error, code):
    engine = Playing(start_error=error)
    ended = await shiplog(engine.routes(), "run", "--rm", "image")
    assert ended.code == code
    assert error in ended.err
    assert engine.asked[-1] == "remove"


async def test_run_without_the_image():
    ended = await shiplog(Playing().routes(), "run", "--pull", "never", "absent")
    assert ended == (125, "", "shiplog: Error response from daemon: No such image: absent:latest\n")


async def test_what_is_wrong_with_a_run_ends_with_125_and_with_other_commands_1():
    for words, code in ((("run",), 125), (("run", "--nope", "x"), 125), (("ps", "--nope"), 1), (("nope",), 1)):
        ended = await shiplog(Playing().routes(), *words)
        assert (ended.code, ended.out) == (code, "")
        assert "Usage:" in ended.err


async def test_an_engine_that_is_not_there_is_named():
    command = [sys.executable, "-m", "clients.cli", "--host", "unix:///nowhere/s.sock", "ps"]
    with anyio.fail_after(LIMIT_S):
        done = await anyio.run_process(command, check=False)
    assert done.returncode == 1
    assert b"cannot connect to the engine at unix:///nowhere/s.sock: is shiplogd running?" in done.stderr


async def test_what_the_engine_can_not_do_is_said_with_what_to_do_instead():
    ended = await shiplog(Playing().routes(), "build", "-t", "x", ".")
    assert (ended.code, ended.out) == (1, "")
    assert "docker build" in ended.err


async def test_an_engine_behind_ssh(tmp_path):
    """The other end is this host: what plays ssh joins its standard streams with the socket that it is told of."""
    asked = tmp_path / "asked"
    relay = (
        "import os,socket,sys,threading\n"
        "s=socket.socket(socket.AF_UNIX);s.connect(os.environ['FAR'])\n"
        "def up():\n"
        "    while data:=os.read(0,65536): s.sendall(data)\n"
        "    s.shutdown(socket.SHUT_WR)\n"
        "threading.Thread(target=up,daemon=True).start()\n"
        "while data:=s.recv(65536): os.write(1,data)\n"
    )
    (tmp_path / "relay.py").write_text(relay)
    (tmp_path / "ssh").write_text(f'#!/bin/sh\necho "$@" >{asked}\nexec {sys.executable} {tmp_path}/relay.py\n')
    (tmp_path / "ssh").chmod(0o755)

    async def version(_: Request) -> Answer:
        return Response(body=b'{"Version":"far away"}')

    async with serving([route(version, "GET", "/version")]) as server:
        command = [sys.executable, "-m", "clients.cli", "-H", "ssh://ann@far:2222", "version"]
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "FAR": str(server.path)}
        with anyio.fail_after(LIMIT_S):
            done = await anyio.run_process([*command, "-f", "{{.Server.Version}}"], env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, b"far away\n")
    assert asked.read_text() == "-l ann -p 2222 -- far docker system dial-stdio\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"stream":"Loaded image: a:b\\n"}\r\n', (0, "Loaded image: a:b\n", "")),
        (b'{"errorDetail":{"message":"bad"},"error":"bad"}\r\n', (1, "", "Error response from daemon: bad\n")),
    ],
)
async def test_load_shows_what_came_of_it(tmp_path, answer, expected):
    async def load(request: Request) -> Answer:
        assert await request.read() == b"archive"
        return Response(body=answer)

    (tmp_path / "image.tar").write_bytes(b"archive")
    routes = [route(load, "POST", "/images/load")]
    assert await shiplog(routes, "load", "--input", str(tmp_path / "image.tar")) == expected


async def test_a_platform_to_push_is_sent_as_docker_does():
    async def push(request: Request) -> Answer:
        assert request.query["platform"] == ['{"os":"linux","architecture":"arm64"}']
        return Response(body=b'{"errorDetail":{"message":"not here"},"error":"not here"}\r\n')

    ended = await shiplog([route(push, "POST", "/images/{name}/push")], "push", "--platform", "linux/arm64", "team:1")
    assert (ended.code, ended.err) == (1, "Error response from daemon: not here\n")


async def test_events_are_shown_a_line_each():
    async def lines():
        yield b'{"Type":"container","Action":"start","time":1,"timeNano":1000000002,'
        yield b'"Actor":{"ID":"c1","Attributes":{"name":"web","image":"i"}}}\n'
        yield b'{"Type":"network","Action":"x","time":1}\n'

    async def events(request: Request) -> Answer:
        assert request.query["since"] == ["0"]
        return StreamResponse(chunks=lines())

    ended = await shiplog([route(events, pattern="/events")], "events", "--since", "0")
    first, second = ended.out.splitlines()
    assert first.split(" ", 1)[1] == "container start c1 (image=i, name=web)"
    assert ".000000002" in first
    assert second.split(" ", 1)[1] == "network x "


async def test_a_moment_of_the_past_goes_along_with_every_question_and_every_change():
    async def told(request: Request) -> Answer:
        assert request.query["at"] == ["1200"]
        return Response(body=b"[]")

    routes = [route(told, pattern="/containers/json"), route(told, "DELETE", "/images/{name}")]
    assert await shiplog(routes, "--at", "1200", "ps", "-q") == (0, "", "")
    assert await shiplog(routes, "--at", "1200", "rmi", "x") == (0, "", "")


async def test_reasons_are_told_as_a_tree_with_times_and_durations():
    began = 1_700_000_000
    deed = {"outcome": "done", "duration_ns": 2_500_000, "actor": {"kind": "unix", "uid": 0, "pid": 7}}
    step = {"sequence": 9, "type": "image.acquired"}
    led_to = {**deed, "began_ns": (began + 1) * 10**9, "command": "image.acquire", "events": [step], "duration_ns": 0}
    started = {"sequence": 8, "type": "container.started", "fields": {"pid": 12}}
    start = {**deed, "began_ns": began * 10**9, "command": "container.start", "events": [started], "led_to": [led_to]}
    kill = {**start, "command": "container.kill", "events": [], "led_to": [], "outcome": "failed", "reason": "gone"}

    async def why(request: Request) -> Answer:
        assert request.query == {"object": ["web"], "kind": ["container"]}
        return Response(body=json.dumps({"kind": "container", "id": "c1", "deeds": [start, kill]}).encode())

    ended = await shiplog([route(why, pattern="/shiplog/why")], "why", "--kind", "container", "web")
    first, second = human.moment(began), human.moment(began + 1)
    assert ended.out.splitlines() == [
        "container c1",
        f"├─ {first}  container.start by uid 0 pid 7: done in 2.5 ms",
        "│  ├─ 8 container.started (pid=12)",
        f"│  └─ {second}  image.acquire by uid 0 pid 7: done",
        "│     └─ 9 image.acquired",
        f"└─ {first}  container.kill by uid 0 pid 7: failed: gone in 2.5 ms",
    ]


async def test_a_host_that_is_none():
    ended = await shiplog([], "-H", "ftp://far", "ps")
    assert (ended.code, ended.out) == (1, "")
    assert "ftp://far is no engine: use unix://PATH" in ended.err


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
