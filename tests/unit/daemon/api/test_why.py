"""The commands behind an object, with callers, outcomes and durations, also of objects that are gone."""

import pytest

from events.envelope import ENGINE, Actor, Cause
from events.errors import InvalidParameter, NotFound
from events.log import Append
from events.messages import container as c
from events.messages import exec as x
from events.messages import image as i
from events.messages import network as n
from events.messages import system as s
from tests.unit.daemon.api.support import Api
from tests.unit.daemon.story import BUSYBOX, IMAGE, SECOND, Story

WEB, OTHER = "a" * 64, "c" * 64
ANN, BOB = Actor(kind="unix", uid=1000), Actor(kind="unix", uid=1001)


async def append(story: Story, actor: Actor, command_id: str, stream: str, *events, causation: int = 0) -> int:
    cause = Cause(actor=actor, command_id=command_id, correlation_id=command_id.partition(".")[0], causation=causation)
    recorded = await story.log.append((Append(stream=stream, events=events),), cause=cause)
    story.clock.pass_s(1)
    return recorded[-1].sequence


async def told() -> Story:
    """Ann makes and starts a container, something unrelated happens meanwhile, it ends, and a policy settles that."""
    story = Story()
    await story.image(IMAGE, BUSYBOX)
    await story.container(WEB, "web")
    await append(story, ANN, "start", f"container/{WEB}", c.ContainerStartRequested(container_id=WEB, run=1))
    await append(
        story,
        ANN,
        "start.3",
        f"sandbox/{WEB}",
        n.SandboxRequested(container_id=WEB, mode="none", endpoints=(), ports=()),
    )
    await append(story, ANN, "start.2", f"image/{IMAGE}", i.ImageAcquired(image_id=IMAGE, container_id=WEB))
    await append(story, BOB, "else", f"container/{OTHER}", c.ContainerAccessed(container_id=OTHER, action="top"))
    await append(story, ANN, "start.5", f"sandbox/{WEB}", n.SandboxConnected(container_id=WEB))
    await append(story, ANN, "start", f"container/{WEB}", c.ContainerStarted(container_id=WEB, pid=7, started_at_ns=1))
    exited = x.ProcessExited(container_id=WEB, run=1, exit_code=3, oom_killed=False, finished_at_ns=2)
    ended = await append(story, ENGINE, "", f"process/{WEB}", exited)
    observed = c.ContainerExitObserved(container_id=WEB, exit_code=3, oom_killed=False, finished_at_ns=2)
    policy = f"policy-{ended}-0-0"
    await append(story, ENGINE, policy, f"container/{WEB}", observed, causation=ended)
    await append(
        story,
        ENGINE,
        policy,
        f"container/{WEB}",
        c.ContainerDied(container_id=WEB, exit_code=3, run_s=1),
        causation=ended,
    )
    return story


async def test_a_container_is_told_as_a_tree():
    story = await told()
    answer = await Api(story).get("/shiplog/why?object=web")
    assert (answer["kind"], answer["id"]) == ("container", WEB)
    start = next(deed for deed in answer["deeds"] if deed["command"] == "container.start")
    assert start["actor"] == {"kind": "unix", "uid": 1000}
    assert start["outcome"] == "done"
    assert round(start["duration_ns"] / SECOND) == 5
    assert [step["type"] for step in start["events"]] == ["container.start_requested", "container.started"]
    told_of = {deed["command"]: (deed["outcome"], len(deed["events"])) for deed in start["led_to"]}
    assert told_of == {"network.connect_sandbox": ("done", 2), "image.acquire": ("done", 1)}
    assert len(start["led_to"]) == 2  # one step opened the sandbox, another one connected it: that is one matter
    exited = next(deed for deed in answer["deeds"] if deed["command"] == "process.exit")
    assert exited["events"][0]["fields"]["exit_code"] == 3
    (settled,) = exited["led_to"]
    assert settled["command"] == "container.settle_exit"
    assert settled["outcome"] == "done"
    assert settled["actor"] == {"kind": "engine"}
    assert "else" not in str(answer)
    assert answer["image"]["id"] == IMAGE
    assert answer["image"]["deeds"][0]["command"] == "image.create"


async def test_objects_of_every_kind_have_reasons():
    story = await told()
    await story.predefined_networks()
    await story.volume("data")
    api = Api(story)
    created = {
        kind: [deed["command"] for deed in (await api.get(f"/shiplog/why?object={name}&kind={kind}"))["deeds"]][:1]
        for kind, name in (("container", "web"), ("image", "busybox"), ("network", "bridge"), ("volume", "data"))
    }
    assert created == {kind: [f"{kind}.create"] for kind in created}


async def test_the_past_knows_only_what_had_happened():
    story = await told()
    answer = await Api(story).get("/shiplog/why?object=web&at=5")
    assert [deed["command"] for deed in answer["deeds"]] == ["container.create"]


async def test_what_is_gone_is_found_by_its_last_name_and_id():
    story = await told()
    await append(
        story, BOB, "rename", f"container/{WEB}", c.ContainerRenamed(container_id=WEB, old_name="web", name="w2")
    )
    await story.remove(WEB)
    api = Api(story)
    for name in ("web", "w2", "/w2", WEB, WEB[:12]):
        assert (await api.get(f"/shiplog/why?object={name}"))["id"] == WEB


async def test_failures_tell_their_reason():
    story = await told()
    failed = c.ContainerStartFailed(container_id=WEB, exit_code=127, error="no such file")
    await append(story, BOB, "again", f"container/{WEB}", c.ContainerStartRequested(container_id=WEB, run=2), failed)
    answer = await Api(story).get("/shiplog/why?object=web")
    assert (answer["deeds"][-1]["outcome"], answer["deeds"][-1]["reason"]) == ("failed", "no such file")
    await append(story, BOB, "open", f"container/{WEB}", c.ContainerStartRequested(container_id=WEB, run=3))
    answer = await Api(story).get("/shiplog/why?object=web")
    assert answer["deeds"][-1]["outcome"] == "requested"


@pytest.mark.parametrize(
    ("target", "kind", "text"),
    [
        ("/shiplog/why", InvalidParameter, "'object' is missing"),
        ("/shiplog/why?object=x&kind=pod", InvalidParameter, "kind: pod is none of container"),
        ("/shiplog/why?object=nobody", NotFound, "no container or image or network or volume named nobody"),
        ("/shiplog/why?object=web&kind=volume", NotFound, "no volume named web"),
    ],
)
async def test_objects_that_never_were(target, kind, text):
    story = await told()
    await story.tell("command/z", s.CommandRefused(command="c", target="nobody", kind="k", reason="r"))
    with pytest.raises(kind, match=text):
        await Api(story).send("GET", target)
