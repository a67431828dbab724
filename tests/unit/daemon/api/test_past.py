"""Queries of the past answer as the engine answered then; changes and live data have no past."""

from typing import Any

import pytest

from events.errors import InvalidParameter, NotFound
from events.messages import container as c
from tests.unit.daemon.api.support import Api
from tests.unit.daemon.story import BUSYBOX, IMAGE, Story

WEB, JOB = "a" * 64, "d" * 64
QUERIES = (
    "/containers/json?all=1",
    f"/containers/{WEB}/json",
    "/containers/web/json",
    "/images/json",
    "/images/busybox/json",
    "/images/busybox/history",
    "/networks",
    "/networks/bridge",
    "/volumes",
    "/volumes/data",
    "/shiplog/state",
    "/shiplog/why?object=web",
)


async def answers(api: Api, at: int | None = None) -> dict[str, Any]:
    """What every query says, or that there is no such thing."""
    found: dict[str, Any] = {}
    for query in QUERIES:
        target = query if at is None else f"{query}{'&' if '?' in query else '?'}at={at}"
        try:
            found[query] = await api.get(target)
        except NotFound as error:
            found[query] = str(error)
    return found


class Witness:
    """Tells a story and remembers what the engine answered after each of its events."""

    def __init__(self) -> None:
        self.story = Story()
        self.api = Api(self.story)
        self.seen: dict[int, dict[str, Any]] = {}

    async def look(self) -> None:
        self.seen[self.story.log.head] = await answers(self.api)
        self.story.clock.pass_s(61)

    async def whole_life(self) -> None:
        story = self.story
        await story.predefined_networks()
        await self.look()
        await story.image(IMAGE, BUSYBOX)
        await self.look()
        await story.volume("data")
        await story.container(WEB, "web")
        await self.look()
        await story.start(WEB)
        await self.look()
        await story.container(JOB, "job", secrets=c.ContainerSecrets(env=("SECRET=1",), cmd=("true",)))
        await story.tell(f"container/{WEB}", c.ContainerRenamed(container_id=WEB, old_name="web", name="www"))
        await self.look()
        await story.tell(f"container/{JOB}", c.ContainerRenamed(container_id=JOB, old_name="job", name="web"))
        await story.die(WEB, 3)
        await self.look()
        await story.remove(WEB)
        await self.look()


async def test_every_past_answer_is_the_one_that_was_given():
    witness = Witness()
    await witness.whole_life()
    for sequence, seen in witness.seen.items():
        past = await answers(witness.api, sequence)
        for query in QUERIES:
            assert past[query] == seen[query], (sequence, query)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/containers/web/start?at=1"),
        ("POST", "/containers/create?name=x&at=1"),
        ("DELETE", "/containers/web?at=1"),
        ("POST", "/volumes/create?at=1"),
        ("GET", "/info?at=1"),
        ("GET", "/events?at=1"),
        ("GET", "/containers/web/logs?stdout=1&at=1"),
        ("GET", "/containers/web/top?at=1"),
        ("GET", "/system/df?at=1"),
    ],
)
async def test_what_has_no_past_refuses_it(method, target):
    witness = Witness()
    await witness.whole_life()
    before = witness.story.log.head
    with pytest.raises(InvalidParameter, match="can be told of the past"):
        await witness.api.send(method, target, {} if method == "POST" else None)
    assert witness.api.desk.taken == []
    assert witness.story.log.head == before + (method != "GET")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("at=", "'at' is missing"),
        ("at=0", "event 0 is not in the log"),
        ("at=1000", "event 1000 is not in the log, which ends with event"),
        ("at=1999-01-01", "is before the log begins"),
        ("at=soon", "neither an event's sequence"),
        ("size=1&at=1", "what something took on disk"),
    ],
)
async def test_moments_that_are_not_there(query, text):
    witness = Witness()
    await witness.whole_life()
    with pytest.raises(InvalidParameter, match=text):
        await witness.api.send("GET", f"/containers/json?{query}")


async def test_a_time_is_a_moment_too():
    witness = Witness()
    await witness.whole_life()
    names = [entry["Names"] for entry in await witness.api.get("/containers/json?all=1&at=2026-11-23T17:04:30Z")]
    assert names == [["/job"], ["/www"]]
    (entry,) = await witness.api.get("/containers/json?at=2026-11-23T17:04:30Z")
    assert entry["Status"] == "Up About a minute"


async def test_what_differs_between_two_moments():
    witness = Witness()
    await witness.whole_life()
    moments = list(witness.seen)
    told = await witness.api.get(f"/shiplog/diff?from={moments[2]}&to={moments[4]}")
    assert told["from"] == {"sequence": moments[2], "time": "2026-11-23T17:02:02Z"}
    found = {(each["kind"], each["name"]): each for each in told["differences"]}
    assert found["container", "job"]["difference"] == "added"
    changes = {each["field"]: (each["before"], each["after"]) for each in found["container", "www"]["changes"]}
    assert changes["name"] == ("web", "www")
    assert changes["status"] == ("created", "running")
    assert changes["sandbox.status"] == (None, "connected")
    assert set(found) == {("container", "job"), ("container", "www")}
    gone = await witness.api.get(f"/shiplog/diff?from={moments[5]}")
    assert [(each["id"], each["difference"]) for each in gone["differences"]] == [(WEB, "removed")]
    assert (await witness.api.get(f"/shiplog/diff?from={moments[0]}&to={moments[0]}"))["differences"] == []


async def test_objects_of_every_kind_differ():
    witness = Witness()
    await witness.whole_life()
    told = await witness.api.get("/shiplog/diff?from=1")
    found = {(each["kind"], each["name"], each["difference"]) for each in told["differences"]}
    assert found >= {
        ("container", "web", "added"),
        ("image", BUSYBOX, "added"),
        ("network", "host", "added"),
        ("volume", "data", "added"),
    }


@pytest.mark.parametrize(
    ("query", "text"),
    [("from=5&to=4", "exchange them"), ("", "'from' is missing"), ("from=1&to=1000", "event 1000 is not in the log")],
)
async def test_a_difference_that_makes_no_sense(query, text):
    witness = Witness()
    await witness.whole_life()
    with pytest.raises(InvalidParameter, match=text):
        await witness.api.send("GET", f"/shiplog/diff?{query}")


async def test_digests_tell_equal_states():
    witness = Witness()
    await witness.whole_life()
    last = witness.story.log.head
    now = await witness.api.get("/shiplog/state?objects=0")
    then = await witness.api.get(f"/shiplog/state?at={last}")
    assert now["digest"] == then["digest"]
    assert now.keys() == {"log", "sequence", "digest"}
    assert (await witness.api.get(f"/shiplog/state?at={last - 1}"))["digest"] != now["digest"]
    assert "SECRET" not in str(then)
