"""Endpoints that last: wait, logs, attach, exec and events."""

import anyio
import msgspec
import pytest

from daemon.api.answers import MULTIPLEXED_STREAM, RAW_STREAM
from daemon.http.stdcopy import STDERR, STDOUT, frame
from daemon.http.timestamps import InvalidTimestamp
from events.errors import Conflict, InvalidParameter, NotFound, Unsupported
from events.messages import container as c
from events.messages.exec import ExecConfig, StartExec
from handlers.exec.ports import LogQuery
from tests.unit.daemon.api.support import Api, MemorySession, Wire, WireRequest, lines
from tests.unit.daemon.story import NOON, SECOND, Story

WEB = "a3" * 32
LIMIT_S = 5


async def api_with(config=None, host=None, *, running=False):
    story = Story()
    more = {"host": host} if host else {}
    await story.container(WEB, "web", config=config or c.ContainerConfig(), **more)
    if running:
        await story.start(WEB)
    return Api(story)


# ---- wait


async def outcome_after(api, target, *steps):
    """The answer of a wait whose head is out before the steps happen."""
    answer = await api.stream("POST", target)
    found = []

    async def read():
        found.extend(await lines(answer))

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            for step in steps:
                await step()
    return found


async def test_wait_returns_at_once_for_what_does_not_run():
    api = await api_with(running=True)
    await api.story.die(WEB, 3)
    for target in ("/containers/web/wait", "/containers/web/wait?condition=not-running"):
        assert await lines(await api.stream("POST", target)) == [{"StatusCode": 3}]


async def test_wait_for_the_end_of_the_present_run():
    api = await api_with(running=True)

    async def die():
        await api.story.die(WEB, 137)

    assert await outcome_after(api, "/containers/web/wait", die) == [{"StatusCode": 137}]


async def test_next_exit_of_a_container_that_is_started_after_the_head():
    api = await api_with()

    async def run():
        await api.story.start(WEB)
        await api.story.die(WEB, 5)

    assert await outcome_after(api, "/containers/web/wait?condition=next-exit", run) == [{"StatusCode": 5}]


async def test_next_exit_is_the_first_one_however_fast_another_follows():
    api = await api_with()

    async def run_twice():
        await api.story.start(WEB)
        await api.story.die(WEB, 5)
        await api.story.start(WEB, run=2)

    assert await outcome_after(api, "/containers/web/wait?condition=next-exit", run_twice) == [{"StatusCode": 5}]


async def test_a_start_that_fails_ends_the_wait():
    api = await api_with()

    async def fail():
        await api.story.fail_to_start(WEB, "no such file")

    found = await outcome_after(api, "/containers/web/wait?condition=next-exit", fail)
    assert found == [{"StatusCode": 127, "Error": {"Message": "no such file"}}]


async def test_removed_waits_for_more_than_the_end():
    api = await api_with()
    done = []

    async def run():
        await api.story.start(WEB)
        await api.story.die(WEB, 4)
        await anyio.wait_all_tasks_blocked()
        done.append("died")

    async def remove():
        assert done == ["died"]
        await api.story.remove(WEB)

    assert await outcome_after(api, "/containers/web/wait?condition=removed", run, remove) == [{"StatusCode": 4}]


async def test_removed_without_having_run():
    api = await api_with()

    async def remove():
        await api.story.remove(WEB)

    assert await outcome_after(api, "/containers/web/wait?condition=removed", remove) == [{"StatusCode": 0}]


async def test_a_removal_that_fails_ends_the_wait_with_an_error():
    api = await api_with()

    async def fail():
        await api.story.tell(f"container/{WEB}", c.ContainerRemoveRequested(container_id=WEB, volumes=False))
        await api.story.tell(f"container/{WEB}", c.ContainerRemoveFailed(container_id=WEB, error="busy"))

    found = await outcome_after(api, "/containers/web/wait?condition=removed", fail)
    assert found == [{"StatusCode": 0, "Error": {"Message": "busy"}}]


async def test_what_cannot_be_waited_for():
    api = await api_with()
    with pytest.raises(InvalidParameter, match='invalid condition: "foo"'):
        await api.stream("POST", "/containers/web/wait?condition=foo")
    with pytest.raises(NotFound, match="No such container: nope"):
        await api.stream("POST", "/containers/nope/wait")


# ---- logs


async def test_logs_pass_the_query_on():
    api = await api_with(running=True)
    api.streams.write(WEB, b"out")
    query = "stdout=1&follow=1&timestamps=1&tail=5&since=100&until=2026-11-23T17:00:00Z"
    answer = await api.stream("GET", f"/containers/web/logs?{query}")
    assert answer.content_type == MULTIPLEXED_STREAM
    assert [chunk async for chunk in answer.chunks] == [b"out"]
    assert api.streams.queries == [
        LogQuery(stderr=False, since_ns=100 * SECOND, until_ns=NOON, tail=5, timestamps=True, follow=True, by_line=True)
    ]


async def test_logs_of_what_does_not_run_are_not_followed():
    api = await api_with()
    answer = await api.stream("GET", "/containers/web/logs?stdout=1&follow=1")
    assert [chunk async for chunk in answer.chunks] == []
    assert api.streams.queries[0].follow is False


async def test_logs_of_a_run_that_ends_before_it_is_followed_are_read_to_their_end():
    """There is nobody left to follow then, and the next run isn't meant."""
    api = await api_with(running=True)
    began, plain = anyio.Event(), api.streams.output

    async def output(container_id, query):
        if query.follow:
            began.set()
            await anyio.sleep_forever()
        async for chunk in plain(container_id, query):
            yield chunk

    api.streams.output = output
    api.streams.write(WEB, b"out")
    found: list[bytes] = []
    with anyio.fail_after(LIMIT_S):
        answer = await api.stream("GET", "/containers/web/logs?stdout=1&follow=1")
        async with anyio.create_task_group() as group:
            group.start_soon(_collect, answer, found)
            await began.wait()
            assert found == []
            await api.story.die(WEB)
            await api.story.remove(WEB)
    assert found == [b"out"]


async def _collect(answer, found) -> None:
    async for chunk in answer.chunks:
        found.append(chunk)


@pytest.mark.parametrize(("tail", "expected"), [("all", -1), ("", -1), ("zz", -1), ("-3", -1), ("0", 0), ("7", 7)])
async def test_tails(tail, expected):
    api = await api_with()
    answer = await api.stream("GET", f"/containers/web/logs?stderr=1&tail={tail}")
    assert [chunk async for chunk in answer.chunks] == []
    assert (api.streams.queries[0].tail, api.streams.queries[0].stdout) == (expected, False)


@pytest.mark.parametrize(
    ("version", "tty", "kind"),
    [("v1.41", False, RAW_STREAM), ("v1.42", False, MULTIPLEXED_STREAM), ("v1.51", True, RAW_STREAM)],
)
async def test_the_kind_of_stream(version, tty, kind):
    api = await api_with(c.ContainerConfig(tty=tty))
    assert (await api.stream("GET", f"/{version}/containers/web/logs?stdout=1")).content_type == kind


async def test_logs_that_cannot_be():
    api = await api_with()
    with pytest.raises(InvalidParameter, match="must specify at least one of 'stdout' or 'stderr'"):
        await api.stream("GET", "/containers/web/logs")
    with pytest.raises(InvalidTimestamp) as caught:
        await api.stream("GET", "/containers/web/logs?stdout=1&since=bad")
    text = 'invalid value for "since": invalid timestamp "bad": invalid seconds "bad": invalid syntax'
    assert str(caught.value) == text
    none = c.HostConfig(network_mode="none", log_config=c.LogConfig(type="none"))
    with pytest.raises(Unsupported, match="does not support reading"):
        await (await api_with(host=none)).stream("GET", "/containers/web/logs?stdout=1")


# ---- attach

INPUT = c.ContainerConfig(open_stdin=True, stdin_once=True)
ALL = "stream=1&stdout=1&stderr=1"


class Connected:
    """A hijacked connection that runs beside the test."""

    def __init__(self, group, hijack, request):
        self.wire, self.request, self.done = Wire(), request, anyio.Event()
        group.start_soon(self._run, hijack)

    async def _run(self, hijack):
        await hijack.run(self.wire)
        self.wire.close()
        self.done.set()


async def connect(group, api, target, body=None):
    hijack, request = await api.hijack(target, body)
    return Connected(group, hijack, request)


async def test_attached_before_the_start_it_sees_everything():
    api = await api_with()
    api.streams.write(WEB, b"of an earlier run")
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, f"/containers/web/attach?{ALL}")
            client.wire.hang_up()  # the docker CLI closes its side when it has no input
            await api.story.start(WEB)
            api.streams.write(WEB, b"hello")
            await api.story.die(WEB)
            api.streams.end(WEB)
            await client.done.wait()
    assert client.wire.sent == b"hello"
    assert client.wire.eof.is_set()
    assert [type(event.event).__name__ async for event in api.story.log.read_stream(f"container/{WEB}")][2] == (
        "ContainerAccessed"
    )


async def test_with_logs_it_begins_at_the_beginning():
    api = await api_with(running=True)
    api.streams.write(WEB, b"before ")
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, f"/containers/web/attach?logs=1&{ALL}")
            api.streams.write(WEB, b"after")
            api.streams.end(WEB)
            await client.done.wait()
    assert client.wire.sent == b"before after"


async def test_logs_alone_end_with_what_there_is():
    api = await api_with(running=True)
    api.streams.write(WEB, b"before")
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, "/containers/web/attach?logs=1&stdout=1")
            await client.done.wait()
    assert client.wire.sent == b"before"


async def test_nothing_asked_is_nothing_done():
    api = await api_with(running=True)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, "/containers/web/attach?stdout=1")
            await client.done.wait()
    assert client.wire.sent == b""


async def test_stdin_waits_for_the_start_and_ends_with_the_client():
    api = await api_with(INPUT)
    session = api.streams.sessions[WEB] = MemorySession()
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, f"/containers/web/attach?stdin=1&{ALL}")
            client.wire.type(b"early ")
            await anyio.wait_all_tasks_blocked()
            assert session.received == b""
            await api.story.start(WEB)
            client.wire.type(b"late")
            client.wire.hang_up()
            await session.ended.wait()
            assert session.received == b"early late"
            assert not client.done.is_set()
            api.streams.write(WEB, b"answer")
            await api.story.die(WEB)
            api.streams.end(WEB)
            await client.done.wait()
    assert client.wire.sent == b"answer"
    assert session.closed


async def test_without_stdin_once_the_end_of_input_is_the_end_of_the_attachment():
    api = await api_with(c.ContainerConfig(open_stdin=True), running=True)
    session = api.streams.sessions[WEB] = MemorySession()
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, f"/containers/web/attach?stdin=1&{ALL}")
            client.wire.type(b"x")
            client.wire.hang_up()
            await client.done.wait()
    assert session.received == b"x"
    assert not session.ended.is_set()


async def test_input_is_dropped_where_none_is_wanted():
    api = await api_with(running=True)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, f"/containers/web/attach?stdin=1&{ALL}")
            client.wire.type(b"nobody reads this")
            await anyio.wait_all_tasks_blocked()
            api.streams.end(WEB)
            await client.done.wait()
    assert client.wire.eof.is_set()


async def test_stdin_without_output_stays_until_the_end_of_the_run():
    api = await api_with(INPUT, running=True)
    session = api.streams.sessions[WEB] = MemorySession()
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, "/containers/web/attach?stdin=1&stream=1")
            client.wire.type(b"x")
            await anyio.wait_all_tasks_blocked()
            assert not client.done.is_set()
            await api.story.die(WEB)
            await client.done.wait()
    assert session.received == b"x"


async def test_input_after_the_end_of_the_process_cuts_no_output():
    api = await api_with(c.ContainerConfig(open_stdin=True, tty=True), running=True)
    session = api.streams.sessions[WEB] = MemorySession()
    session.closed = True
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, f"/containers/web/attach?stdin=1&{ALL}")
            client.wire.type(b"x")
            await anyio.wait_all_tasks_blocked()
            api.streams.write(WEB, b"last words")
            api.streams.end(WEB)
            await client.done.wait()
    assert client.wire.sent == b"last words"


async def test_detach_keys_leave_the_process_alone():
    api = await api_with(c.ContainerConfig(open_stdin=True, stdin_once=True, tty=True), running=True)
    session = api.streams.sessions[WEB] = MemorySession()
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, f"/containers/web/attach?stdin=1&{ALL}&detachKeys=ctrl-a,b")
            client.wire.type(b"ls\x01")
            client.wire.type(b"bmore")
            await client.done.wait()
    assert session.received == b"ls"
    assert session.closed
    assert not session.ended.is_set()
    assert [command.action for command in api.desk.taken] == ["attach", "detach"]


async def test_without_a_terminal_there_are_no_detach_keys():
    api = await api_with(INPUT, running=True)
    session = api.streams.sessions[WEB] = MemorySession()
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, f"/containers/web/attach?stdin=1&{ALL}")
            client.wire.type(b"\x10\x11")
            client.wire.hang_up()
            await session.ended.wait()
            api.streams.end(WEB)
            await client.done.wait()
    assert session.received == b"\x10\x11"


async def test_a_client_that_is_gone_is_noticed():
    api = await api_with(running=True)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, f"/containers/web/attach?{ALL}")
            client.request.gone.set()
            await client.done.wait()


async def test_a_client_that_breaks_off_is_noticed_when_written_to():
    api = await api_with(running=True)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, f"/containers/web/attach?{ALL}")
            client.wire.broken = True
            api.streams.write(WEB, b"x")
            api.streams.end(WEB)
            await client.done.wait()


@pytest.mark.parametrize("what", ["fails", "removed"])
async def test_a_run_that_never_begins_ends_the_attachment(what):
    api = await api_with()
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, f"/containers/web/attach?{ALL}")
            if what == "fails":
                await api.story.fail_to_start(WEB, "no such file")
            else:
                await api.story.remove(WEB)
            await client.done.wait()
    assert client.wire.sent == b""


async def test_what_cannot_be_attached_to():
    api = await api_with(running=True)
    with pytest.raises(InvalidParameter, match=r"Invalid detach keys \(zz-zz\) provided"):
        await api.hijack("/containers/web/attach?stream=1&stdout=1&detachKeys=zz-zz")
    stream = f"container/{WEB}"
    await api.story.tell(stream, c.ContainerPauseRequested(container_id=WEB), c.ContainerPaused(container_id=WEB))
    with pytest.raises(Conflict, match="container web is paused, unpause the container before attach"):
        await api.hijack("/containers/web/attach?stream=1&stdout=1")


# ---- exec


async def exec_with(**config):
    api = await api_with(running=True)
    await api.story.exec("e1", WEB, "cat", config=ExecConfig(**config))
    session = api.streams.sessions["e1"] = MemorySession()

    async def start(command):
        assert api.streams.announced == ["e1"]
        await api.story.start_exec("e1")

    api.desk.agree(StartExec, start)
    return api, session


async def test_exec_carries_both_directions_until_its_exit_is_known():
    api, session = await exec_with(attach_stdin=True, attach_stdout=True, attach_stderr=True)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, "/exec/e1/start", {"Detach": False, "Tty": False})
            client.wire.type(b"in")
            client.wire.hang_up()
            await session.ended.wait()
            await session.write(STDOUT, b"out")
            await session.write(STDERR, b"err")
            session.end()
            await anyio.wait_all_tasks_blocked()
            assert not client.done.is_set()
            await api.story.end_exec("e1", 3)
            await client.done.wait()
    assert session.received == b"in"
    assert session.closed
    assert client.wire.sent == frame(STDOUT, b"out") + frame(STDERR, b"err")


async def test_exec_sends_only_what_was_attached():
    api, session = await exec_with(attach_stderr=True)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, "/exec/e1/start", {})
            await session.write(STDOUT, b"out")
            await session.write(STDERR, b"err")
            session.end()
            await api.story.end_exec("e1")
            await client.done.wait()
    assert client.wire.sent == frame(STDERR, b"err")


async def test_exec_with_a_terminal_is_raw_and_can_be_left():
    api, session = await exec_with(attach_stdin=True, attach_stdout=True, tty=True)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, "/exec/e1/start", {"Tty": True})
            await session.write(STDOUT, b"$ ")
            await anyio.wait_all_tasks_blocked()
            client.wire.type(b"ls\x10\x11")
            await client.done.wait()
    assert (client.wire.sent, session.received) == (b"$ ", b"ls")
    assert session.closed
    record = api.desk.taken[-1]
    assert (record.action, record.attributes) == ("exec_detach", {"execID": "e1"})


@pytest.mark.parametrize(("tty", "told"), [(True, b"no such\r\n"), (False, frame(STDOUT, b"no such\r\n"))])
async def test_an_exec_that_does_not_start_says_so_on_its_stream(tty, told):
    api, session = await exec_with(attach_stdout=True, tty=tty)

    async def fail(command):
        raise InvalidParameter("no such")

    api.desk.agree(StartExec, fail)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            client = await connect(group, api, "/exec/e1/start", {"Tty": tty})
            await client.done.wait()
    assert client.wire.sent == told
    assert client.wire.eof.is_set()
    assert session.closed


# ---- events


async def test_the_past_is_told_when_asked_for_and_ends_with_it():
    api = await api_with(running=True)
    await api.story.die(WEB)
    await api.story.remove(WEB)
    api.story.clock.pass_s(10)
    answer = await api.stream("GET", f"/events?since={NOON // SECOND}&until={NOON // SECOND + 5}")
    assert answer.content_type == "application/json"
    found = await lines(answer)
    assert [event["Action"] for event in found] == ["create", "start", "die", "destroy"]
    assert found[-1]["Actor"]["Attributes"] == {"image": "busybox", "name": "web"}
    assert found[-1]["status"] == "destroy"


async def test_since_cuts_but_names_are_still_known():
    api = await api_with(running=True)
    api.story.clock.pass_s(10)
    await api.story.die(WEB, 1)
    api.story.clock.pass_s(10)
    answer = await api.stream("GET", "/events?since=15s&until=1s")
    (die,) = await lines(answer)
    assert (die["Action"], die["Actor"]["Attributes"]["name"]) == ("die", "web")


async def next_event(answer):
    with anyio.fail_after(LIMIT_S):
        return msgspec.json.decode(await anext(aiter(answer.chunks)))


async def test_live_events_know_what_was_before():
    api = await api_with()
    answer = await api.stream("GET", "/events")
    await api.story.start(WEB)
    event = await next_event(answer)
    assert (event["Action"], event["Actor"]["Attributes"]["name"]) == ("start", "web")
    assert len(api.engine.listeners) == 1
    await answer.chunks.aclose()
    assert not api.engine.listeners


async def test_zero_is_a_time_like_any_other():
    """`--since 0` is all that ever happened, and until then nothing had."""
    api = await api_with(running=True)
    api.story.clock.pass_s(10)
    found = await lines(await api.stream("GET", f"/events?since=0&until={NOON // SECOND + 5}"))
    assert [event["Action"] for event in found] == ["create", "start"]
    with anyio.fail_after(LIMIT_S):
        assert await lines(await api.stream("GET", "/events?until=0")) == []


async def test_since_goes_on_live():
    api = await api_with()
    answer = await api.stream("GET", f"/events?since={NOON // SECOND}&filters=%s" % '{"event":["start"],"odd":["x"]}')
    await api.story.start(WEB)
    assert (await next_event(answer))["Action"] == "start"
    await answer.chunks.aclose()


async def test_until_ends_it():
    api = await api_with()
    api.story.clock.pass_s(0.95)
    with anyio.fail_after(LIMIT_S):
        answer = await api.stream("GET", f"/events?until={NOON // SECOND + 1}")
        assert [event["Action"] for event in await lines(answer)] == ["create"]


async def test_kinds_of_event_streams():
    api = await api_with()
    query = f"/events?since={NOON // SECOND}&until={NOON // SECOND}"
    request = WireRequest("GET", query, headers={"accept": "application/json-seq"})
    answer = await api.call(request)
    assert answer.content_type == "application/json-seq"
    assert [chunk[:1] async for chunk in answer.chunks] == [b"\x1e"]
    request = WireRequest("GET", query, headers={"accept": "text/html, application/x-ndjson;q=0.9"})
    assert (await api.call(request)).content_type == "application/x-ndjson"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("since=bad", 'invalid value for \'since\': invalid timestamp "bad": invalid seconds "bad": invalid syntax'),
        ("until=bad", 'invalid value for \'until\': invalid timestamp "bad": invalid seconds "bad": invalid syntax'),
        ("since=5&until=3", "`since` time (5) cannot be after `until` time (3)"),
        ("filters=x", "invalid filter"),
    ],
)
async def test_events_that_cannot_be_asked_for(query, text):
    api = await api_with()
    with pytest.raises(InvalidParameter) as caught:
        await api.stream("GET", f"/events?{query}")
    assert str(caught.value) == text
