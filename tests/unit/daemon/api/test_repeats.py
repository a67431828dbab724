"""A request that comes again by its key gets its first answer, and nothing happens twice."""

import anyio
import anyio.lowlevel
import pytest

from daemon.api.repeats import AnswerDestroyed, KeyMalformed, KeyUsed, Repeats, StreamOver
from daemon.http.errors import BodyCutOff
from daemon.http.messages import Hijack, Response, StreamResponse
from events.envelope import Actor
from events.errors import Conflict, NotFound, SystemFailure
from events.messages import container as c
from events.messages import volume as v
from events.messages.system import RequestAnswered, RequestBegun
from tests.unit.daemon.api.support import Api, WireRequest
from tests.unit.daemon.story import BUSYBOX, CLIENT, IMAGE, Story

KEY = {"idempotency-key": "k1"}
RENAME = "/containers/web/rename?name=shop"


@pytest.fixture
async def api():
    story = Story()
    await story.predefined_networks()
    await story.image(IMAGE, BUSYBOX, layers=("base",))
    return Api(story)


async def requests_of(api):
    return [
        type(recorded.event) async for recorded in api.story.log.read(limit=0) if recorded.stream.startswith("request/")
    ]


async def ask(api, target=RENAME, body=b"", *, method="POST", actor=CLIENT, **headers):
    request = WireRequest(method, target, body, {**({"content-type": "application/json"} if body else {}), **headers})
    request.actor = actor
    return await api.call(request)


async def test_without_a_key_nothing_is_kept(api):
    await ask(api)
    await ask(api)
    assert len(api.desk.taken) == 2
    assert await requests_of(api) == []


async def test_a_repeat_is_answered_and_not_carried_out(api):
    first, again = await ask(api, **KEY), await ask(api, **KEY)
    assert (first.status, first.headers, first.body) == (again.status, again.headers, again.body)
    assert len(api.desk.taken) == 1
    assert await requests_of(api) == [RequestBegun, RequestAnswered]


async def test_another_engine_on_the_same_log_knows_it(api):
    first = await ask(api, **KEY)
    later = Api(api.story)
    assert (await ask(later, **KEY)).headers == first.headers
    assert later.desk.taken == []


async def test_a_refusal_is_an_answer(api):
    async def refuse(_command):
        raise Conflict("taken")

    api.desk.agree(c.RenameContainer, refuse)
    with pytest.raises(Conflict):
        await ask(api, **KEY)
    again = await ask(api, **KEY)
    assert (again.status, again.body) == (409, b'{"message":"taken"}\n')
    assert len(api.desk.taken) == 1


async def test_what_of_a_refusal_may_be_a_secret_is_not_kept(api):
    async def refuse(_command):
        raise Conflict("no hunter2", recorded="no")

    api.desk.agree(c.RenameContainer, refuse)
    with pytest.raises(Conflict, match="hunter2"):
        await ask(api, **KEY)
    assert (await ask(api, **KEY)).body == b'{"message":"no"}\n'


@pytest.mark.parametrize("error", [SystemFailure("disk"), BodyCutOff("gone")])
async def test_what_may_work_the_next_time_is_tried_again(api, error):
    async def fail(_command):
        raise error

    api.desk.agree(c.RenameContainer, fail)
    with pytest.raises(type(error)):
        await ask(api, **KEY)
    with pytest.raises(type(error)):
        await ask(api, **KEY)
    assert len(api.desk.taken) == 2
    assert len(set(api.desk.ids)) == 1  # the command goes by one id: the dispatcher makes it one


@pytest.mark.parametrize(
    ("target", "body", "method"),
    [
        ("/containers/web/rename?name=other", b"", "POST"),
        ("/containers/other/rename?name=shop", b"", "POST"),
        ("/containers/web", b"", "DELETE"),
        ("/volumes/create", b'{"Name":"x"}', "POST"),
    ],
)
async def test_a_key_is_for_one_request(api, target, body, method):
    await ask(api, **KEY)
    with pytest.raises(KeyUsed):
        await ask(api, target, body, method=method, **KEY)
    assert len(api.desk.taken) == 1


async def test_a_body_counts_too(api):
    await api.story.volume("x")
    api.desk.agree(v.CreateVolume, _created)
    await ask(api, "/volumes/create", b'{"Name":"x"}', **KEY)
    with pytest.raises(KeyUsed):
        await ask(api, "/volumes/create", b'{"Name":"y"}', **KEY)


async def test_callers_have_keys_of_their_own(api):
    other = Actor(kind="unix", uid=1001, gid=1001, pid=7)
    await ask(api, **KEY)
    await ask(api, actor=other, **KEY)
    assert len(set(api.desk.ids)) == 2


async def test_a_caller_by_tcp_may_come_from_another_port(api):
    for port in (1, 2):
        await ask(api, actor=Actor(kind="tcp", address=f"10.0.0.1:{port}"), **KEY)
    assert len(api.desk.taken) == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "é"])
async def test_a_key_that_is_none_is_refused(api, key):
    with pytest.raises(KeyMalformed):
        await ask(api, **{"idempotency-key": key})
    assert api.desk.taken == []


async def test_who_comes_meanwhile_waits_for_the_answer(api):
    gate, answers = anyio.Event(), []

    async def slow(_command):
        await gate.wait()

    async def one():
        answers.append(await ask(api, **KEY))

    api.desk.agree(c.RenameContainer, slow)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(one)
            while not api.desk.taken:  # nobody announces it
                await anyio.lowlevel.checkpoint()
            gate.set()
    assert len(api.desk.taken) == 1
    assert len({answer.headers["X-Shiplog-Command"] for answer in answers}) == 1


async def test_an_answer_with_options_is_sealed_and_gone_with_its_volume(api):
    await api.story.volume("x", secret_options={"o": "password=hunter2"})
    api.desk.agree(v.CreateVolume, _created)
    first = await ask(api, "/volumes/create", b'{"Name":"x"}', **KEY)
    assert b"hunter2" in first.body
    assert (await ask(api, "/volumes/create", b'{"Name":"x"}', **KEY)).body == first.body
    stored = [recorded.event async for recorded in api.story.log.read(limit=0)]
    (kept,) = (event for event in stored if isinstance(event, RequestAnswered))
    assert (kept.body, kept.sealed is None) == ("", False)
    await api.story.keyring.destroy("volume/x")
    with pytest.raises(AnswerDestroyed):
        await ask(api, "/volumes/create", b'{"Name":"x"}', **KEY)


async def _created(command):
    return v.CreatedVolume(name=command.name, created=True)


async def test_a_stream_is_not_given_again(api):
    await api.story.container("c1", "web")
    target = "/containers/web/attach?stream=1&stdout=1"
    assert isinstance(await ask(api, target, **KEY), Hijack)
    with pytest.raises(StreamOver):
        await ask(api, target, **KEY)


async def test_progress_that_has_ended_is_given_again():
    begun = []

    async def endpoint(_engine, _request):
        begun.append(1)

        async def chunks():
            yield b'{"status":"1"}'
            yield b'{"status":"2"}'

        return StreamResponse(chunks=chunks())

    story = Story()
    engine = Api(story).engine
    ask_once = Repeats().once("POST", "/images/create", endpoint)
    request = WireRequest("POST", "/images/create", headers=KEY)
    first = await ask_once(engine, request)
    assert isinstance(first, StreamResponse)
    body = b"".join([chunk async for chunk in first.chunks])
    again = await ask_once(engine, request)
    assert isinstance(again, Response)
    assert (again.status, again.body) == (200, body)
    assert begun == [1]


async def test_queries_take_no_notice_of_a_key(api):
    for target in ("/containers/json", "/containers/json?all=1"):
        await ask(api, target, method="GET", **KEY)
    with pytest.raises(NotFound):
        await ask(api, "/containers/nosuch/json", method="GET", **KEY)
    assert await requests_of(api) == []
