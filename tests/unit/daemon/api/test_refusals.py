"""What was to change something and was refused is in the log, once, with who asked."""

import pytest

from events.envelope import Cause
from events.errors import Conflict, InvalidParameter, NotFound
from events.log import Append
from events.messages import container as c
from events.messages.system import CommandRefused
from tests.unit.daemon.api.support import Api
from tests.unit.daemon.story import BUSYBOX, CLIENT, IMAGE, Story


@pytest.fixture
async def api():
    story = Story()
    await story.predefined_networks()
    await story.image(IMAGE, BUSYBOX, layers=("base",))
    return Api(story)


async def refusals(api):
    return [recorded async for recorded in api.story.log.read(limit=0) if isinstance(recorded.event, CommandRefused)]


@pytest.mark.parametrize(
    ("method", "target", "body", "error", "expected"),
    [
        (
            "POST",
            "/containers/create?name=web",
            b"{bad",
            InvalidParameter,
            CommandRefused(
                command="POST /containers/create",
                target="web",
                kind="invalid_parameter",
                reason="invalid JSON: invalid character 'b' looking for beginning of object key string",
            ),
        ),
        (
            "POST",
            "/containers/a/b/resize?h=x&w=1",
            None,
            InvalidParameter,
            CommandRefused(
                command="POST /containers/{id:path}/resize",
                target="a/b",
                kind="invalid_parameter",
                reason='strconv.Atoi: parsing "x": invalid syntax',
            ),
        ),
        (
            "DELETE",
            "/networks/nosuch",
            None,
            NotFound,
            CommandRefused(
                command="DELETE /networks/{id}", target="nosuch", kind="not_found", reason="network nosuch not found"
            ),
        ),
        (
            "POST",
            "/images/create?fromSrc=ftp://x/y&repo=mine",
            None,
            InvalidParameter,
            CommandRefused(
                command="POST /images/create",
                target="mine",
                kind="invalid_parameter",
                reason='Get "ftp://x/y": unsupported protocol scheme "ftp"',
            ),
        ),
    ],
)
async def test_a_request_that_no_handler_hears_of(api, method, target, body, error, expected):
    with pytest.raises(error):
        await api.send(method, target, body)
    (recorded,) = await refusals(api)
    assert recorded.event == expected
    assert recorded.cause.actor == CLIENT
    assert recorded.stream == f"command/{recorded.cause.command_id}"
    assert recorded.reply is None
    assert api.desk.taken == []


async def test_what_the_dispatcher_has_recorded_is_not_recorded_again(api):
    async def refuse(_):
        cause = Cause(actor=CLIENT, command_id=api.desk.ids[-1], correlation_id="x")
        event = CommandRefused(command="container.start", target="web", kind="conflict", reason="no")
        append = Append(stream=f"command/{cause.command_id}", events=(event,))
        await api.story.log.append((append,), cause=cause, reply=b"{}")
        raise Conflict("no")

    api.desk.agree(c.StartContainer, refuse)
    with pytest.raises(Conflict):
        await api.send("POST", "/containers/web/start")
    (recorded,) = await refusals(api)
    assert recorded.event.command == "container.start"


async def test_a_command_that_never_arrived_is_recorded_under_its_id(api):
    async def lose(_):
        raise InvalidParameter("the request is too large")

    api.desk.agree(c.StartContainer, lose)
    with pytest.raises(InvalidParameter):
        await api.send("POST", "/containers/web/start")
    (recorded,) = await refusals(api)
    assert recorded.cause.command_id == api.desk.ids[-1]
    assert recorded.event.reason == "the request is too large"


async def test_a_fault_of_ours_is_recorded_too(api):
    async def break_down(_):
        raise ZeroDivisionError("oops")

    api.desk.agree(c.StartContainer, break_down)
    with pytest.raises(ZeroDivisionError):
        await api.send("POST", "/containers/web/start")
    (recorded,) = await refusals(api)
    assert (recorded.event.kind, recorded.event.reason) == ("system", "ZeroDivisionError: oops")


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/containers/nosuch/json"), ("POST", "/containers/nosuch/wait")]
)
async def test_queries_are_nobodys_business(api, method, target):
    with pytest.raises(NotFound):
        await api.send(method, target)
    assert await refusals(api) == []


async def test_what_a_client_quotes_fills_no_log(api):
    with pytest.raises(InvalidParameter):
        await api.send("POST", f"/containers/{'x' * 1000}/resize?h={'y' * 10_000}&w=1")
    (recorded,) = await refusals(api)
    assert len(recorded.event.target) == 256
    assert len(recorded.event.reason) == 4096
