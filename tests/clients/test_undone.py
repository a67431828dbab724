"""A create or a start that fails at some step is undone; who wanted it and why it failed is in the log."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from events.envelope import Recorded
from events.messages.container import ContainerCreateFailed, ContainerStartFailed, ContainerStartRequested
from events.messages.system import CommandRefused
from events.sqlite_log import SqliteLog
from handlers.context import SystemClock
from tests.clients.raw import RawClient
from tests.engines import EngineUnderTest, wait_until

pytestmark = pytest.mark.root

RUNTIMES = {
    "mute": "exit 1",
    "loud": 'echo "no containers today" >&2; exit 1',
    "idle": "exit 0",  # says that it has done everything, and has done nothing
    "halfway": 'case "$*" in *start*) echo "no start today" >&2; exit 1;; *) exec runc "$@";; esac',
    "cut": 'case "$*" in *create*) kill -9 $PPID;; *) exec runc "$@";; esac',  # its conmon dies under it
}
REFUSED = "failed to create task for container: failed to create shim task: OCI runtime create failed: "
NO_NETWORK = {"NetworkMode": "none"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """A running engine that knows runtimes which fail."""
    directory = tmp_path_factory.mktemp("runtimes")
    arguments = []
    for name, script in RUNTIMES.items():
        path = directory / name
        path.write_text(f'#!/bin/sh\ncase "$*" in *--version*) echo "{name} version 1"; exit 0;; esac\n{script}\n')
        path.chmod(0o755)
        arguments += ["--add-runtime", f"{name}={path}"]
    subject = EngineUnderTest(*arguments)
    try:
        subject.start()
        subject.load_busybox()
        yield subject
        assert subject.stop() == 0
        assert subject.leftovers() == []
    finally:
        subject.close()


@pytest.fixture(scope="module")
def client(engine):
    with RawClient(engine.socket, timeout_s=90.0) as connection:
        yield connection


@pytest.fixture
def nothing_left(engine, client):
    """After the test there is on the host what was there before, and no container."""
    before = set(engine.present())
    yield
    for container in client.ask("GET", "/containers/json?all=1").json:
        assert client.ask("DELETE", f"/containers/{container['Id']}?v=1").status == 204
    wait_until(lambda: set(engine.present()) <= before, f"nothing is left but {before}: {engine.present()}")


def facts(engine) -> list[Recorded]:
    """The whole log, from a copy."""
    directory = engine.directory / "copy"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    (source,) = (engine.data_root / "log").glob("log-*.sqlite")
    with sqlite3.connect(source) as live, sqlite3.connect(directory / source.name) as copy:
        live.backup(copy)
    live.close()
    copy.close()

    async def read() -> list[Recorded]:
        async with SqliteLog.open(directory, SystemClock()) as log:
            return [recorded async for recorded in log.read(limit=0)]

    return anyio.run(read)


def make(client, *, host=NO_NETWORK, **config) -> str:
    body = {"Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": dict(host)} | config
    answer = client.ask("POST", "/containers/create?name=subject", body)
    assert answer.status == 201, answer.body
    identity: str = answer.json["Id"]
    return identity


def expect_failed_start(engine, client, identity: str, status: int, text: str, kept: str = "") -> None:
    """It fails, says why, changes nothing on the host, and is written down with who asked.

    `kept` is what is written down of the reason where a runtime gave it: that may quote the command.
    """
    kept_files = engine.data_root / "containers" / identity  # output and names: until the container is removed
    before = {*engine.present(), str(kept_files)}
    answer = client.ask("POST", "/containers/subject/start")
    assert (answer.status, text in answer.message) == (status, True), answer.body
    wait_until(lambda: set(engine.present()) <= before, f"undone: {set(engine.present()) - before}")
    state = client.ask("GET", "/containers/subject/json").json["State"]
    assert (state["Status"], state["Running"], state["Pid"]) == ("created", False, 0)
    assert state["Error"] == (kept or answer.message)
    told = [recorded for recorded in facts(engine) if recorded.stream == f"container/{identity}"]
    requested, failed = told[-2], told[-1]
    assert isinstance(requested.event, ContainerStartRequested)
    assert isinstance(failed.event, ContainerStartFailed)
    assert failed.event.error == state["Error"]
    for recorded in (requested, failed):
        actor = recorded.cause.actor
        assert (actor.kind, actor.uid, actor.pid) == ("unix", os.getuid(), os.getpid())


def start_and_end(client) -> None:
    assert client.ask("POST", "/containers/subject/start").status == 204
    assert client.ask("POST", "/containers/subject/kill").status == 204


@pytest.mark.parametrize(
    ("config", "status", "text", "kept"),
    [
        ({"User": "nosuch"}, 500, "unable to find user nosuch", ""),
        ({"WorkingDir": "/etc/passwd"}, 500, "Cannot mkdir: /etc/passwd is not a directory", ""),
        ({"Cmd": ["/nosuch"]}, 400, "stat /nosuch: no such file or directory", "exec: no such file or directory"),
        ({"host": {"NetworkMode": "nosuch"}}, 404, "network nosuch not found", ""),
        (
            {"host": NO_NETWORK | {"Sysctls": {"kernel.nosuch": "1"}}},
            500,
            'sysctl "kernel.nosuch" is not in a separate',
            "sysctl: is not in a separate kernel namespace",
        ),
        (
            {"host": NO_NETWORK | {"CgroupParent": "no\nsuch"}},
            500,
            "unable to apply cgroup configuration",
            "cgroup: invalid argument",
        ),
        (
            {"host": NO_NETWORK | {"Tmpfs": {"/x": "size=zz"}}},
            500,
            'error mounting "tmpfs" to rootfs at "/x"',
            "error mounting: invalid argument",
        ),
        (
            {"host": NO_NETWORK | {"Binds": ["/tmp:/etc/passwd"]}},
            400,
            'to rootfs at "/etc/passwd"',
            "error mounting: not a directory",
        ),
        (
            {"host": NO_NETWORK | {"Devices": [{"PathOnHost": "/dev/nosuch", "PathInContainer": "/dev/x"}]}},
            500,
            "error gathering device information while adding custom device",
            "",
        ),
        ({"host": {"PortBindings": {"80/foo": [{}]}}}, 400, "invalid proto: foo", ""),
        ({"MacAddress": "zz", "host": {}}, 400, "invalid MAC address: zz", ""),
    ],
    ids=str,
)
def test_a_start_that_cannot_succeed(engine, client, nothing_left, config, status, text, kept):
    identity = make(client, **config)
    expect_failed_start(engine, client, identity, status, text, kept and REFUSED + kept)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_that_fails(engine, client, nothing_left, runtime):
    identity = make(client, host={"Runtime": runtime})
    said = {"loud": "no containers today", "halfway": "no start today"}
    text = said.get(runtime, "conmon ended before it could tell what became of the process")
    kept = {
        "loud": f"{REFUSED}the runtime: why was told to the client alone",
        "halfway": f"halfway start {identity}: exit 1",
    }
    expect_failed_start(engine, client, identity, 500, text, kept.get(runtime, f"{REFUSED}the runtime: {text}"))


@contextmanager
def out_of_the_way(path: Path):
    """A file or directory that isn't where it should be."""
    aside = path.with_name(path.name + "-aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


def layers_of_images(engine) -> list[Path]:
    found = [path for path in (engine.data_root / "overlay2").iterdir() if (path / "diff" / "bin").is_dir()]
    assert found
    return found


def test_an_images_layer_that_is_gone(engine, client, nothing_left):
    identity = make(client)
    (layer,) = layers_of_images(engine)
    with out_of_the_way(layer):
        expect_failed_start(engine, client, identity, 500, f"mount container-{identity}/merged: no such file")
    start_and_end(client)


def test_a_bind_whose_source_went_away(engine, client, nothing_left, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    mount = {"Type": "bind", "Source": str(source), "Target": "/x"}
    identity = make(client, host=NO_NETWORK | {"Mounts": [mount]})
    with out_of_the_way(source):
        expect_failed_start(engine, client, identity, 400, f"bind source path does not exist: {source}")
    start_and_end(client)


def test_a_port_that_somebody_else_has(engine, client, nothing_left):
    identity = make(client, host={"PortBindings": {"80/tcp": [{"HostPort": "18080"}]}})
    program = "import socket,sys;s=socket.create_server(('0.0.0.0',18080));print(flush=True);sys.stdin.read()"
    command = ["nsenter", f"--net=/run/netns/{engine.namespace}", "python3", "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"\n"
        expect_failed_start(engine, client, identity, 500, "failed to bind host port for 0.0.0.0:18080:")
        holder.stdin.close()
    start_and_end(client)


def test_a_network_of_a_container_that_does_not_run(engine, client, nothing_left):
    assert client.ask("POST", "/containers/create?name=other", {"Image": "busybox"}).status == 201
    identity = make(client, host={"NetworkMode": "container:other"})
    text = "cannot join network namespace of a non running container: container other is created"
    expect_failed_start(engine, client, identity, 409, text)


def test_a_volume_that_cannot_be_mounted(engine, client, nothing_left):
    options = {"type": "ext4", "device": "/dev/nosuch"}
    assert client.ask("POST", "/volumes/create", {"Name": "broken", "DriverOpts": options}).status == 201
    mounts = [
        {"Type": "volume", "Target": "/fine"},
        {"Type": "volume", "Source": "broken", "Target": "/x", "VolumeOptions": {"NoCopy": True}},
    ]
    identity = make(client, host=NO_NETWORK | {"Mounts": mounts})
    expect_failed_start(engine, client, identity, 500, "/dev/nosuch")
    assert client.ask("DELETE", "/containers/subject?v=1").status == 204
    assert client.ask("DELETE", "/volumes/broken").status == 204


def expect_failed_create(engine, client, body, status: int, text: str) -> None:
    before = set(engine.present())
    volumes = client.ask("GET", "/volumes").json["Volumes"]
    answer = client.ask("POST", "/containers/create?name=subject", {"Image": "busybox"} | body)
    assert (answer.status, text in answer.message) == (status, True), answer.body
    assert client.ask("GET", "/containers/json?all=1").json == []
    assert client.ask("GET", "/volumes").json["Volumes"] == volumes
    wait_until(lambda: set(engine.present()) <= before, "undone")
    failed = facts(engine)[-2]  # the last says that the command was refused
    assert isinstance(failed.event, ContainerCreateFailed)
    assert failed.event.error == answer.message
    assert (failed.cause.actor.uid, failed.cause.actor.pid) == (os.getuid(), os.getpid())


def test_a_create_without_the_images_layer(engine, client, nothing_left):
    (layer,) = layers_of_images(engine)
    with out_of_the_way(layer):
        body: dict[str, object] = {"Volumes": {"/a": {}, "/b": {}}}
        expect_failed_create(engine, client, body, 500, "make layer")
    make(client)  # the name is free again


def test_a_create_with_a_volume_that_cannot_be_made(engine, client, nothing_left):
    occupied = engine.data_root / "volumes" / "occupied"
    occupied.parent.mkdir(exist_ok=True)
    occupied.write_text("in the way")
    try:
        body: dict[str, object] = {"Volumes": {"/a": {}}, "HostConfig": {"Binds": ["occupied:/x"]}}
        expect_failed_create(engine, client, body, 500, f"create {occupied}: file exists")
    finally:
        occupied.unlink()


@pytest.mark.parametrize(
    ("method", "target", "body", "kind", "command", "reason"),
    [
        ("POST", "/containers/nosuch/start", None, "not_found", "container.start", "No such container: nosuch"),
        ("DELETE", "/volumes/nosuch", None, "not_found", "volume.remove", "get nosuch: no such volume"),
        (
            "POST",
            "/containers/create?name=nosuch",
            b"{bad",
            "invalid_parameter",
            "POST /containers/create",
            "invalid JSON: invalid character 'b' looking for beginning of object key string",
        ),
    ],
)
def test_a_refusal_is_written_down(engine, client, nothing_left, method, target, body, kind, command, reason):
    asked = client.ask(method, target, body)
    refused = facts(engine)[-1]
    assert refused.event == CommandRefused(command=command, target="nosuch", kind=kind, reason=reason)
    assert refused.event.reason == asked.message
    assert (refused.cause.actor.uid, refused.cause.actor.pid) == (os.getuid(), os.getpid())


@contextmanager
def full(directory: Path):
    """A file system without a free byte."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    try:
        yield
    finally:
        filler.unlink()


def test_a_full_exec_root():
    engine = EngineUnderTest()
    engine.exec_root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", engine.exec_root], check=True)
    try:
        engine.start()
        engine.load_busybox()
        with RawClient(engine.socket, timeout_s=90.0) as client:
            identity = make(client, host={})
            with full(engine.exec_root):
                expect_failed_start(engine, client, identity, 500, "no space left on device")
            start_and_end(client)
            assert client.ask("DELETE", "/containers/subject").status == 204
        assert engine.stop() == 0
    finally:
        engine.close()
