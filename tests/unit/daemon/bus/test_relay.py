"""The log in JetStream, each event exactly once: over deaths of both sides, long outages, strangers and a cluster."""

import json
from contextlib import asynccontextmanager

import anyio
import nats.js.errors
import pytest
from nats.js.api import StreamConfig

from daemon.bus.relay import Relay, message_id, token
from daemon.feed import Feed
from events.envelope import ENGINE, Cause
from events.lines import read_line
from events.log import Append
from events.memory_log import MemoryLog
from events.messages.container import ContainerAccessed
from tests.fakes.clock import SetClock
from tests.nats_servers import ANSWER_S, PATIENCE_S, answered, cluster_members, connected, server, stored_ids

CAUSE = Cause(actor=ENGINE, command_id="c", correlation_id="c")


async def append(log: MemoryLog, count: int, action: str = "top") -> None:
    event = ContainerAccessed(container_id="a", action=action)
    for _ in range(count):
        await log.append((Append(stream="container/a", events=(event,)),), cause=CAUSE)


@asynccontextmanager
async def relaying(log: MemoryLog, *urls: str):
    relay = Relay(Feed(log), urls, "host")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(relay.run)
        yield relay
        tasks.cancel_scope.cancel()


async def until(holds, timeout_s: float = PATIENCE_S) -> None:
    with anyio.fail_after(timeout_s):
        while not holds():
            await anyio.sleep(0.02)


def expected(log: MemoryLog, last: int, first: int = 1) -> list[str]:
    return [message_id(log.id, sequence) for sequence in range(first, last + 1)]


@pytest.mark.parametrize(
    ("text", "written"),
    [("web", "web"), ("sha256:ab", "sha256:ab"), ("a.b *", "a%2Eb%20%2A"), ("\u00e9", "%C3%A9"), ("", "%")],
)
def test_any_text_is_one_token(text, written):
    assert token(text) == written


async def test_a_server_that_is_away_holds_up_nothing(tmp_path):
    log = MemoryLog(SetClock())
    async with relaying(log, "nats://127.0.0.1:1") as relay:
        await append(log, 5)
        await until(lambda: relay.status().problem)
        assert relay.status().relayed == 0
        assert not relay.status().connected


async def test_an_event_that_the_server_does_not_take_is_told_and_waited_with(tmp_path):
    log = MemoryLog(SetClock())
    async with server(tmp_path / "nats") as nats_server, relaying(log, nats_server.url) as relay:
        await append(log, 2)
        await append(log, 1, "x" * 1_100_000)
        await until(lambda: "max_payload" in relay.status().problem)
        assert relay.status().relayed == 2
        assert "event 3 has" in relay.status().problem


async def test_a_log_that_lost_its_end_is_not_relayed(tmp_path):
    log, shorter = MemoryLog(SetClock()), MemoryLog(SetClock())
    shorter._id = log.id
    async with server(tmp_path / "nats") as nats_server:
        await append(log, 3)
        async with relaying(log, nats_server.url) as relay:
            await until(lambda: relay.status().relayed == 3)
        await append(shorter, 2)
        async with relaying(shorter, nats_server.url) as relay:
            await until(lambda: "has lost its end" in relay.status().problem)


async def test_every_event_has_its_subject_and_its_proof(tmp_path):
    log = MemoryLog(SetClock())
    await append(log, 3)
    async with server(tmp_path / "nats") as nats_server, relaying(log, nats_server.url) as relay:
        await until(lambda: relay.status().relayed == 3)
        async with connected(nats_server.url) as client:
            message = await client.jetstream().get_msg(relay.stream, seq=2)
            config = (await client.jetstream().stream_info(relay.stream)).config
    assert relay.stream == "shiplog-host"
    assert message.subject == "shiplog.host.evt.container.a.accessed"
    line = read_line(message.data or b"")
    ((_, record, digest),) = await log.stored(1, 1)
    assert (line.log, line.sequence, line.hash, bytes(line.record)) == (log.id, 2, digest.hex(), record)
    assert config.deny_delete
    assert config.deny_purge
    with pytest.raises(nats.js.errors.Error):
        async with server(tmp_path / "nats") as again, connected(again.url) as client:
            await client.jetstream().purge_stream(relay.stream)


async def test_both_sides_die_and_come_back(tmp_path):
    log = MemoryLog(SetClock())
    async with server(tmp_path / "nats") as nats_server:
        for round_ in range(4):
            async with relaying(log, nats_server.url) as relay:
                await append(log, 150)
                if round_ % 2:
                    await until(lambda relay=relay, least=150 * round_: relay.status().relayed > least)
                nats_server.kill()
                await append(log, 50)
                nats_server.start()
                await nats_server.ready()
        async with relaying(log, nats_server.url) as relay, connected(nats_server.url) as client:
            await until(lambda: relay.status().relayed == log.head)
            assert await stored_ids(client, relay.stream) == expected(log, log.head)


async def test_an_outage_longer_than_the_duplicate_window(tmp_path):
    log = MemoryLog(SetClock())
    async with server(tmp_path / "nats") as nats_server:
        async with connected(nats_server.url) as client:
            config = StreamConfig(name="shiplog-host", subjects=["shiplog.host.evt.>"], duplicate_window=0.1)
            await client.jetstream().add_stream(config)
        for _ in range(3):
            async with relaying(log, nats_server.url) as relay:
                await append(log, 20)
                await until(lambda relay=relay: relay.status().relayed == log.head)
                nats_server.kill()
                await append(log, 20)
            await anyio.sleep(0.3)  # the window has to pass: it is the server's clock
            nats_server.start()
            await nats_server.ready()
        async with relaying(log, nats_server.url) as relay, connected(nats_server.url) as client:
            await until(lambda: relay.status().relayed == log.head)
            assert await stored_ids(client, relay.stream) == expected(log, 120)


async def test_a_strangers_message_in_between_costs_a_session_and_no_event(tmp_path):
    log = MemoryLog(SetClock())
    async with server(tmp_path / "nats") as nats_server, relaying(log, nats_server.url) as relay:
        await append(log, 10)
        await until(lambda: relay.status().relayed == 10)
        async with connected(nats_server.url) as client:
            await client.jetstream().publish("shiplog.host.evt.x.y.z", b"stranger")
            await append(log, 10)
            await until(lambda: relay.status().relayed == 20)
            ids = await stored_ids(client, relay.stream)
    assert ids == [*expected(log, 10), "", *expected(log, 20, 11)]


async def test_another_log_follows_in_the_same_stream(tmp_path):
    first, second = MemoryLog(SetClock()), MemoryLog(SetClock())
    await append(first, 3)
    await append(second, 2)
    async with server(tmp_path / "nats") as nats_server, connected(nats_server.url) as client:
        for log in (first, second):
            async with relaying(log, nats_server.url) as relay:
                await until(lambda relay=relay, log=log: relay.status().relayed == log.head)
        assert await stored_ids(client, "shiplog-host") == [*expected(first, 3), *expected(second, 2)]


async def test_a_cluster_of_three_loses_its_leader(tmp_path):
    log = MemoryLog(SetClock())
    members = list(cluster_members(tmp_path))
    urls = [member.url for member in members]
    try:
        for member in members:
            member.start()
        for member in members:
            await member.ready()
        async with relaying(log, *urls) as relay:
            await append(log, 100)
            await until(lambda: relay.status().relayed == 100)
            async with connected(*urls) as client:
                context = client.jetstream(timeout=ANSWER_S)
                info = await answered(lambda: context.stream_info(relay.stream))  # its leader answers
            assert info.config.num_replicas == 3
            assert info.cluster is not None
            assert info.cluster.leader is not None
            leader = members[int(info.cluster.leader.removeprefix("n"))]
            await append(log, 100)
            leader.kill()
            await append(log, 100)
            await until(lambda: relay.status().relayed == 300)
            leader.start()
            await leader.ready()
            await append(log, 100)
            await until(lambda: relay.status().relayed == 400)
            async with connected(*urls) as client:
                assert await stored_ids(client, relay.stream) == expected(log, 400)
    finally:
        for member in members:
            member.kill()


async def test_what_is_sealed_stays_sealed(tmp_path):
    log = MemoryLog(SetClock())
    await append(log, 1)
    async with server(tmp_path / "nats") as nats_server, relaying(log, nats_server.url) as relay:
        await until(lambda: relay.status().relayed == 1)
        async with connected(nats_server.url) as client:
            message = await client.jetstream().get_msg(relay.stream, seq=1)
    assert json.loads(message.data or b"")["record"] == json.loads((await log.stored(0, 1))[0][1])
