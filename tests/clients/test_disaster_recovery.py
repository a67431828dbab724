"""A host is lost; from its log and a key export another one serves the same containers, as they were."""

import base64
import json
import subprocess
from pathlib import Path

import anyio
import pytest

from clients.api import Client
from clients.audit.export import export
from clients.audit.sources import open_source
from clients.errors import Unusable
from clients.replay.identity import make_identity, read_export, read_identity
from clients.replay.plan import plan
from clients.replay.rebuild import compare, rebuild
from clients.replay.takeover import Outcome, TakeOver
from clients.subscribe.file_sink import FileSink
from tests.engines import EngineUnderTest, busybox_archive, wait_until

BRIDGE = "--bip=10.203.91.1/24"


def serve(text: str) -> str:
    return f"mkdir -p /www && echo {text} > /www/index.html && exec httpd -f -p 80 -h /www"


def fetched(engine: EngineUnderTest, url: str) -> str:
    """What the host of an engine gets."""
    got = engine.inside("wget", "-T", "5", "-qO-", url, check=False)
    return got.stdout.decode().strip()


def facts(engine: EngineUnderTest, name: str) -> dict[str, object]:
    """What is to be the same on both hosts."""
    told = engine.inspect(name)
    network = told["NetworkSettings"]
    return {
        "image": told["Image"],
        "environment": told["Config"]["Env"],
        "command": told["Config"]["Cmd"],
        "labels": told["Config"]["Labels"],
        "mounts": [(mount["Name"], mount["Destination"]) for mount in told["Mounts"] if mount["Type"] == "volume"],
        "address": network["Networks"]["bridge"]["IPAddress"],
        "hardware address": network["Networks"]["bridge"]["MacAddress"],
        "ports": network["Ports"],
        "running": told["State"]["Running"],
        "paused": told["State"]["Paused"],
    }


class Lost:
    """What is left of a host: its log, as it was exported, its keys, and what its containers looked like."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log, self.keys, self.identity = directory / "log.jsonl", directory / "keys", directory / "identity"
        self.archive = directory / "images.tar"
        self.facts: dict[str, dict[str, object]] = {}


async def export_log(engine: EngineUnderTest, path: Path) -> None:
    async with open_source(f"unix://{engine.socket}") as source:
        with FileSink(path) as sink:
            await export(source, sink)


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory):
    """A host with a life behind it, which then goes away with all that was on it."""
    left = Lost(tmp_path_factory.mktemp("lost"))
    recipient = make_identity(left.identity)
    left.archive.write_bytes(busybox_archive())
    engine = EngineUnderTest(BRIDGE)
    try:
        engine.start()
        engine.load_busybox()
        engine.docker("run", "-d", "--name", "gone", "busybox", "sleep", "600")
        engine.docker("volume", "create", "--label", "of=web", "data")
        web = ("--env", "PASSWORD=open sesame", "--label", "role=front", "-v", "data:/data", "-p", "8080:80")
        engine.docker("run", "-d", "--name", "web", *web, "busybox", "sh", "-c", serve("hello"))
        engine.docker("run", "-d", "--name", "chosen", "-p", "80", "busybox", "sh", "-c", serve("chosen"))
        engine.docker("run", "-d", "--name", "frozen", "busybox", "sleep", "600")
        engine.docker("pause", "frozen")
        engine.docker("create", "--name", "waiting", "busybox", "true")
        engine.docker("rm", "-f", "gone")
        left.facts = {name: facts(engine, name) for name in ("web", "chosen", "frozen")}
        body = json.dumps({"recipient": recipient})
        left.keys.write_bytes(anyio.run(post, engine, "/shiplog/keys/export", body))
        anyio.run(export_log, engine, left.log)
        engine.docker("unpause", "frozen")
        yield left
    finally:
        engine.close()


async def post(engine: EngineUnderTest, path: str, body: str) -> bytes:
    client = Client(f"unix://{engine.socket}")
    async with client.stream("POST", path, body=json.loads(body)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def take_over(left: Lost, engine: EngineUnderTest, *, with_keys: bool = True) -> list[Outcome]:
    async with open_source(left.log) as source:
        state = await rebuild(source)
        keys = read_export(left.keys, read_identity(left.identity), source.log) if with_keys else {}
    run = TakeOver(Client(f"unix://{engine.socket}"), plan(state, keys), [left.archive])
    return [outcome async for outcome in run.run()]


# ---- what can't be done is told


def test_a_wrong_key_opens_nothing(lost, tmp_path):
    make_identity(tmp_path / "other")
    with pytest.raises(Unusable, match="use the one that the export was made for"):
        read_export(lost.keys, read_identity(tmp_path / "other"), json.loads(lost.keys.read_bytes())["log"])
    with pytest.raises(Unusable, match="belong to the log"):
        read_export(lost.keys, read_identity(lost.identity), "another")
    changed = json.loads(lost.keys.read_bytes())
    changed["sequence"] += 1
    (tmp_path / "changed").write_text(json.dumps(changed))
    with pytest.raises(Unusable, match="was changed or is damaged"):
        read_export(tmp_path / "changed", read_identity(lost.identity), changed["log"])


def test_another_subnet_is_refused_before_anything_is_made(lost):
    other = EngineUnderTest("--bip=10.203.92.1/24")
    try:
        other.start()
        with pytest.raises(
            Unusable, match=r"had addresses of 10\.203\.91\.0/24 .* this engine's has 10\.203\.92\.0/24"
        ):
            anyio.run(take_over, lost, other)
        assert other.out("ps", "-aq") == ""
        assert other.out("images", "-q") == ""
    finally:
        other.close()


# ---- and what can


def test_another_host_serves_the_same(lost):
    engine = EngineUnderTest(BRIDGE)
    try:
        engine.start()
        outcomes = anyio.run(take_over, lost, engine)
        assert [outcome for outcome in outcomes if outcome.outcome == "failed"] == []
        assert {(each.kind, each.name) for each in outcomes if each.outcome == "made"} == {
            ("archive", "images.tar"),
            ("volume", "data"),
            ("container", "web"),
            ("container", "chosen"),
            ("container", "frozen"),
            ("container", "waiting"),
        }
        assert {name: facts(engine, name) for name in lost.facts} == lost.facts
        assert engine.inspect("waiting")["State"]["Status"] == "created"
        wait_until(lambda: fetched(engine, "http://127.0.0.1:8080/") == "hello", "the published port serves", 60)
        address = str(lost.facts["web"]["address"])
        wait_until(lambda: fetched(engine, f"http://{address}/") == "hello", "the address serves", 60)
        assert json.loads(engine.out("volume", "inspect", "data"))[0]["Labels"] == {"of": "web"}
        again = anyio.run(take_over, lost, engine)
        assert {each.outcome for each in again if each.kind != "archive"} == {"kept"}
        engine.docker("unpause", "frozen")
    finally:
        engine.close()


def test_without_keys_nothing_secret_is_made_up(lost):
    engine = EngineUnderTest(BRIDGE)
    try:
        engine.start()
        outcomes = {
            (each.kind, each.name): each for each in anyio.run(lambda: take_over(lost, engine, with_keys=False))
        }
        assert outcomes["container", "web"].outcome == "failed"
        assert "can't be opened" in outcomes["container", "web"].detail
        assert outcomes["volume", "data"].outcome == "made"
        assert engine.out("ps", "-aq") == ""
    finally:
        engine.close()


def test_a_rebuilt_state_is_the_engines_own(engine, tmp_path):
    async def differing(path: Path | str) -> int:
        async with open_source(path) as source:
            state = await rebuild(source)
            return len(await compare(state, source.log, Client(f"unix://{engine.socket}")))

    engine.docker("run", "--name", "compared", "-p", "80", "busybox", "true")
    anyio.run(export_log, engine, tmp_path / "log.jsonl")
    assert anyio.run(differing, tmp_path / "log.jsonl") == 0
    assert anyio.run(differing, f"unix://{engine.socket}") == 0
    subprocess.run(["cp", "-r", engine.data_root / "log", tmp_path / "copy"], check=True)
    assert anyio.run(differing, tmp_path / "copy") == 0
    engine.docker("rm", "compared")


def test_an_export_is_in_the_log_before_anybody_has_it(engine, tmp_path):
    recipient = make_identity(tmp_path / "identity")
    content = json.loads(anyio.run(post, engine, "/shiplog/keys/export", json.dumps({"recipient": recipient})))
    assert base64.b64decode(content["recipient"]) == base64.b64decode(recipient)
    anyio.run(export_log, engine, tmp_path / "log.jsonl")
    told = [json.loads(line)["record"] for line in (tmp_path / "log.jsonl").read_bytes().splitlines()]
    (exported,) = [record for record in told if record["type"] == "system.keys_exported"]
    assert exported["cause"]["actor"]["uid"] == 0
    keys = read_export_of(content, tmp_path)
    assert len(keys) == exported["data"]["owners"]


def read_export_of(content: dict[str, object], directory: Path) -> dict[str, bytes]:
    (directory / "keys").write_text(json.dumps(content))
    return read_export(directory / "keys", read_identity(directory / "identity"), str(content["log"]))
