"""Readers of a real engine's log: the past, the reasons, the stream and the relay, over a daemon that is killed."""

import json
import sys

import anyio
import anyio.to_thread
import msgspec
import pytest

from clients.api import ApiError, Client
from clients.subscribe.position import Position
from clients.subscribe.subscriber import Subscriber
from tests.engines import ROOT, EngineUnderTest, wait_until
from tests.nats_servers import NatsServer

TIMEOUT_S = 120


async def fetched(engine: EngineUnderTest, path: str, **query: str):
    return await Client(f"unix://{engine.socket}").get(path, msgspec.Raw, query)


def get(engine: EngineUnderTest, path: str, **query: str):
    return json.loads(bytes(anyio.run(lambda: fetched(engine, path, **query))))


def head(engine: EngineUnderTest) -> int:
    return int(get(engine, "/shiplog/log")["events"])


# ---- what has no past


def test_changes_have_no_past(engine):
    async def act() -> None:
        await Client(f"unix://{engine.socket}").act("POST", "/containers/none/start", {"at": "1"})

    with pytest.raises(ApiError, match="can be told of the past") as caught:
        anyio.run(act)
    assert caught.value.status == 400
    with pytest.raises(ApiError, match="is not in the log, which ends with event"):
        get(engine, "/containers/json", at="99999999")


# ---- the past


def test_what_is_gone_is_shown_as_it_was(engine):
    engine.docker("run", "--name", "once", "--label", "a=b", "busybox", "sh", "-c", "exit 3", check=False)
    wait_until(lambda: engine.inspect("once")["State"]["Status"] == "exited", "it has ended")
    then, known = head(engine), get(engine, "/containers/once/json")
    engine.docker("rename", "once", "later")
    engine.docker("rm", "later")
    past = get(engine, "/containers/once/json", at=str(then))
    assert {**past, "Config": None, "Path": None, "Args": None} == {**known, "Config": None, "Path": None, "Args": None}
    assert past["Config"]["Cmd"] == ["(destroyed)"]  # secrets went with the container
    assert past["Config"]["Labels"] == {"a": "b"}
    told = get(engine, "/shiplog/diff", **{"from": str(then)})["differences"]
    assert ("container", "once", "removed") in [(each["kind"], each["name"], each["difference"]) for each in told]


def test_reasons_are_told_also_of_what_is_gone(engine):
    engine.docker("run", "--rm", "--name", "why-not", "busybox", "sh", "-c", "exit 3", check=False)
    wait_until(lambda: engine.docker("inspect", "why-not", check=False).returncode != 0, "it is removed")
    told = get(engine, "/shiplog/why", object="why-not")
    deeds = {deed["command"]: deed for deed in told["deeds"]}
    assert next(iter(deeds)) == "container.create"
    start = deeds["container.start"]
    assert start["actor"]["uid"] == 0
    assert start["actor"]["executable"].endswith("docker")
    assert start["outcome"] == "done"
    assert "network.connect_sandbox" in [step["command"] for step in start["led_to"]]
    whole = json.dumps(told)
    assert "container.remove" in whole
    assert '"exit_code": 3' in whole
    assert told["image"]["deeds"]


# ---- following


def test_a_subscriber_goes_on_over_a_killed_daemon(engine):
    first = head(engine)
    log = str(get(engine, "/shiplog/log")["id"])
    found: list[int] = []

    async def follow() -> None:
        client = Client(f"unix://{engine.socket}")
        async for line in Subscriber(client, position=Position(log=log, sequence=first)):
            found.append(line.sequence)
            if b'"volume.removed"' in bytes(line.record):
                return

    async def all_of_it() -> None:
        with anyio.fail_after(TIMEOUT_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                for _ in range(2):
                    await anyio.to_thread.run_sync(lambda: engine.docker("volume", "create", "followed"))
                    await anyio.to_thread.run_sync(engine.restart)
                await anyio.to_thread.run_sync(lambda: engine.docker("volume", "rm", "followed"))

    anyio.run(all_of_it)
    assert found == list(range(first + 1, found[-1] + 1))


def test_the_log_leaves_the_machine_exactly_once():
    engine = EngineUnderTest()
    inside = ("nsenter", f"--net=/run/netns/{engine.namespace}")
    nats_server = NatsServer(engine.directory / "nats", surrounded_by=inside)
    try:
        nats_server.start()
        anyio.run(nats_server.ready)
        relay = ("--nats-url", nats_server.url)
        for number in range(3):
            engine.start(*relay)
            engine.docker("volume", "create", f"data-{number}")
            if number == 1:
                nats_server.kill()
                nats_server.start()
            engine.kill()
        engine.start(*relay)
        wait_until(lambda: get(engine, "/shiplog/log")["relay"]["relayed"] == head(engine), "all is relayed", TIMEOUT_S)
        facts = get(engine, "/shiplog/log")
        command = (sys.executable, "-m", "tests.nats_servers", nats_server.url, facts["relay"]["stream"])
        listed = engine.inside("env", f"PYTHONPATH={ROOT}", *command, timeout_s=TIMEOUT_S).stdout
        ids = json.loads(listed)
        assert ids == [f"{facts['id']}-{sequence}" for sequence in range(1, len(ids) + 1)]
        assert len(ids) >= int(facts["relay"]["relayed"])
    finally:
        nats_server.kill()
        engine.close()
