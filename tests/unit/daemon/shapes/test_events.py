"""Docker's events out of the log: set, order and attributes as a real daemon was recorded to send them."""

import pytest

from daemon.shapes.event_shaper import EventShaper
from daemon.shapes.events import Message, wanted
from events.messages import container as c
from events.messages import image as i
from events.messages import network as n
from events.messages import system as s
from events.messages import volume as v
from tests.unit.daemon.story import BRIDGE, BUSYBOX, IMAGE, NOON, Story

R1 = "17" * 32


async def told(story):
    shaper = EventShaper(story.keyring)
    return [message async for recorded in story.log.read(limit=0) for message in shaper.shape(recorded)]


async def beginnings(story):
    """What is there before anybody runs anything, and what Docker tells nobody of."""
    await story.predefined_networks()
    await story.image(IMAGE, BUSYBOX)


def rows(messages):
    return [(m.kind, m.action) for m in messages]


async def run_rm(story):
    """`docker run --rm -v v1:/x --label a=b --name r1 busybox true`."""
    await story.volume("v1")
    await story.container(R1, "r1", config=c.ContainerConfig(labels={"a": "b"}))
    await story.tell(f"container/{R1}", c.ContainerAccessed(container_id=R1, action="attach"))
    await story.tell(f"container/{R1}", c.ContainerStartRequested(container_id=R1, run=1))
    mounted = v.VolumeMounted(name="v1", container_id=R1, destination="/x", writable=True, propagation="")
    await story.tell("volume/v1", mounted)
    await story.connect(R1)
    started = c.ContainerStarted(container_id=R1, pid=1, started_at_ns=NOON)
    await story.tell(f"container/{R1}", started)
    observed = c.ContainerExitObserved(container_id=R1, exit_code=0, oom_killed=False, finished_at_ns=NOON)
    await story.tell(f"container/{R1}", observed)
    await story.tell(f"sandbox/{R1}", n.SandboxDisconnected(container_id=R1))
    await story.tell("volume/v1", v.VolumeUnmounted(name="v1", container_id=R1))
    await story.tell(f"container/{R1}", c.ContainerDied(container_id=R1, exit_code=0, run_s=0))
    await story.remove(R1)


async def test_run_rm_as_recorded():
    story = Story()
    await beginnings(story)
    await run_rm(story)
    messages = await told(story)
    container = {"a": "b", "image": "busybox", "name": "r1"}
    mount = {"container": R1, "destination": "/x", "driver": "local", "propagation": "", "read/write": "true"}
    network = {"container": R1, "name": "bridge", "type": "bridge"}
    assert [(m.kind, m.action, m.id, m.attributes) for m in messages] == [
        ("volume", "create", "v1", {"driver": "local"}),
        ("container", "create", R1, container),
        ("container", "attach", R1, container),
        ("volume", "mount", "v1", mount),
        ("network", "connect", BRIDGE, network),
        ("container", "start", R1, container),
        ("network", "disconnect", BRIDGE, network),
        ("volume", "unmount", "v1", {"container": R1, "driver": "local"}),
        ("container", "die", R1, container | {"execDuration": "0", "exitCode": "0"}),
        ("container", "destroy", R1, container),
    ]


async def test_in_the_middle_of_the_log_a_shaper_knows_what_the_state_knows():
    story = Story()
    await beginnings(story)
    await story.container(R1, "r1", config=c.ContainerConfig(labels={"a": "b"}))
    await story.start(R1)
    await story.exec("e1", R1, "ls", "/")
    shaper = EventShaper(story.keyring)
    shaper.know(story.state)
    after = story.log.head
    await story.start_exec("e1")
    await story.die(R1, 3)
    await story.remove(R1)
    from_the_middle = [m async for r in story.log.read(after, limit=0) for m in shaper.shape(r)]
    whole = await told(story)
    assert from_the_middle == whole[-len(from_the_middle) :]
    assert rows(from_the_middle) == [
        ("container", "exec_start: ls /"),
        ("network", "disconnect"),
        ("container", "die"),
        ("container", "destroy"),
    ]


async def test_exec_as_recorded():
    story = Story()
    await story.container(R1, "r2")
    await story.start(R1)
    after = len(await told(story))
    await story.exec("81c7", R1, "ls", "/")
    await story.start_exec("81c7")
    await story.end_exec("81c7", 2)
    messages = (await told(story))[after:]
    basic = {"execID": "81c7", "image": "busybox", "name": "r2"}
    assert [(m.action, m.attributes) for m in messages] == [
        ("exec_create: ls /", basic),
        ("exec_start: ls /", basic),
        ("exec_die", basic | {"exitCode": "2"}),
    ]


async def kill(story, signal):
    stream = f"container/{R1}"
    await story.tell(stream, c.ContainerKillRequested(container_id=R1, signal=signal, asked=False))
    await story.tell(stream, c.ContainerKilled(container_id=R1, signal=signal))


async def test_restart_as_recorded():
    story = Story()
    await beginnings(story)
    await story.container(R1, "r3")
    await story.start(R1)
    after = len(await told(story))
    await story.tell(f"container/{R1}", c.ContainerStopRequested(container_id=R1, timeout_s=0, signal=15))
    await kill(story, 15)
    await kill(story, 9)
    story.clock.pass_s(4.2)
    await story.die(R1, 137)
    await story.tell(f"container/{R1}", c.ContainerStopped(container_id=R1))
    await story.start(R1, run=2)
    await story.tell(f"container/{R1}", c.ContainerRestarted(container_id=R1))
    messages = (await told(story))[after:]
    assert rows(messages) == [
        ("container", "kill"),
        ("container", "kill"),
        ("network", "disconnect"),
        ("container", "stop"),
        ("container", "die"),
        ("network", "connect"),
        ("container", "start"),
        ("container", "restart"),
    ]
    assert [m.attributes.get("signal") for m in messages[:2]] == ["15", "9"]
    assert messages[4].attributes["execDuration"] == "4"
    assert messages[4].attributes["exitCode"] == "137"


async def test_a_stop_that_failed_is_not_told_with_the_next_death():
    story = Story()
    await story.container(R1, "r3")
    await story.start(R1)
    await story.tell(f"container/{R1}", c.ContainerStopRequested(container_id=R1, timeout_s=0, signal=15))
    await story.tell(f"container/{R1}", c.ContainerStopFailed(container_id=R1, error="stuck"))
    await story.die(R1)
    assert rows(await told(story))[-1] == ("container", "die")
    assert ("container", "stop") not in rows(await told(story))


async def test_pause_rename_oom_and_access():
    story = Story()
    await story.container(R1, "r2")
    await story.start(R1)
    after = len(await told(story))
    stream = f"container/{R1}"
    await story.tell(stream, c.ContainerPauseRequested(container_id=R1), c.ContainerPaused(container_id=R1))
    await story.tell(stream, c.ContainerUnpauseRequested(container_id=R1), c.ContainerUnpaused(container_id=R1))
    await story.tell(stream, c.ContainerRenamed(container_id=R1, old_name="r2", name="r3"))
    size = {"height": "24", "width": "80"}
    await story.tell(stream, c.ContainerAccessed(container_id=R1, action="resize", attributes=size))
    await story.die(R1, 137, oom=True)
    messages = (await told(story))[after:]
    assert rows(messages) == [
        ("container", "pause"),
        ("container", "unpause"),
        ("container", "rename"),
        ("container", "resize"),
        ("container", "oom"),
        ("container", "die"),
    ]
    assert messages[2].attributes == {"image": "busybox", "name": "r3", "oldName": "/r2"}
    assert messages[3].attributes == {"image": "busybox", "name": "r3"} | size


async def test_import_tag_untag_delete_as_recorded():
    story = Story()
    stream, name = f"image/{IMAGE}", "docker.io/library/imp1:latest"
    config = i.ImageConfig(config=i.RunConfig(labels={"k": "v"}))
    await story.tell(
        stream,
        i.ImageCreateRequested(image_id=IMAGE, origin="import"),
        i.ImageCreated(image_id=IMAGE, config=config, layers=(), size_bytes=1, origin="import"),
        i.ImageTagged(image_id=IMAGE, reference=name, asked=False),
        i.ImageImported(image_id=IMAGE, name="imp1:latest"),
        i.ImageUntagged(image_id=IMAGE, reference=name),
        i.ImageRemoved(image_id=IMAGE),
    )
    messages = await told(story)
    assert [(m.action, m.attributes) for m in messages] == [
        ("tag", {"k": "v", "name": "imp1:latest"}),
        ("import", {"k": "v", "name": IMAGE}),
        ("untag", {"k": "v", "name": "imp1:latest"}),
        ("delete", {"k": "v", "name": IMAGE}),
    ]


async def test_a_load_tells_no_tags_and_a_moved_name_no_untag():
    story = Story()
    await story.image(IMAGE, BUSYBOX)
    await story.tell(f"image/{IMAGE}", i.ImageLoaded(image_id=IMAGE, name="busybox:latest"))
    await story.tell(f"image/{IMAGE}", i.ImageUntagged(image_id=IMAGE, reference=BUSYBOX, moved=True))
    assert [(m.action, m.attributes["name"]) for m in await told(story)] == [("load", "busybox:latest")]


async def test_a_built_image_is_told_from_1_46_on():
    story = Story()
    created = i.ImageCreated(image_id=IMAGE, config=i.ImageConfig(), layers=(), size_bytes=1, origin="commit")
    await story.tell(f"image/{IMAGE}", i.ImageCreateRequested(image_id=IMAGE, origin="commit"), created)
    (message,) = await told(story)
    assert message.action == "create"
    assert wanted(message, {}, (1, 46))
    assert not wanted(message, {}, (1, 45))


async def test_predefined_networks_are_not_told_others_are():
    story = Story()
    await story.predefined_networks()
    await story.network("9" * 64, "mine")
    (message,) = await told(story)
    assert (message.kind, message.action, message.attributes) == (
        "network",
        "create",
        {"name": "mine", "type": "bridge"},
    )


async def test_a_reload_is_the_daemons():
    story = Story()
    await story.tell("system/engine", s.EngineReloaded(changed=("debug",)))
    await story.tell("system/engine", s.EngineStopped(reason="SIGTERM"))
    assert rows(await told(story)) == [("daemon", "reload")]


async def test_a_volume_that_is_removed():
    story = Story()
    await story.volume("v1")
    await story.tell("volume/v1", v.VolumeRemoveRequested(name="v1"), v.VolumeRemoved(name="v1"))
    assert rows(await told(story)) == [("volume", "create"), ("volume", "destroy")]


async def test_destroyed_arguments_of_an_exec():
    story = Story()
    await story.container(R1, "r1")
    await story.exec("e1", R1, "secret")
    await story.keyring.destroy(f"container/{R1}")
    assert (await told(story))[-1].action == "exec_create: (destroyed)"


# ---- the message and the filters

MESSAGE = Message(
    kind="container",
    action="exec_start: ls /",
    id="abcdef",
    attributes={"image": "busybox:1", "name": "web", "env": "prod"},
    time_ns=NOON + 5,
)


def test_containers_and_images_have_legacy_fields():
    shape = MESSAGE.shape((1, 51))
    assert (shape["status"], shape["id"], shape["from"]) == ("exec_start: ls /", "abcdef", "busybox:1")
    assert shape["Actor"] == {"ID": "abcdef", "Attributes": MESSAGE.attributes}
    assert (shape["Type"], shape["Action"], shape["scope"]) == ("container", "exec_start: ls /", "local")
    assert (shape["time"], shape["timeNano"]) == (NOON // 10**9, NOON + 5)
    assert "status" not in MESSAGE.shape((1, 52))


def test_networks_have_none():
    message = Message(kind="network", action="connect", id="n", attributes={}, time_ns=1)
    assert "status" not in message.shape((1, 51))


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, True),
        ({"event": ("exec_start",)}, True),
        ({"event": ("exec_create",)}, False),
        ({"event": ("exec_start: ls /",)}, True),
        ({"event": ("exec",)}, False),
        ({"type": ("container",)}, True),
        ({"type": ("image", "volume")}, False),
        ({"scope": ("local",)}, True),
        ({"scope": ("swarm",)}, False),
        ({"label": ("env",)}, True),
        ({"label": ("env=prod",)}, True),
        ({"label": ("env=test",)}, False),
        ({"label": ("env", "missing")}, False),
        ({"container": ("abc",)}, True),
        ({"container": ("we",)}, True),
        ({"container": ("eb",)}, False),
        ({"image": ("busybox",)}, True),
        ({"image": ("busybox:1",)}, True),
        ({"image": ("busybox:2",)}, False),
        ({"network": ("n",)}, False),
        ({"volume": ("v",)}, False),
        ({"daemon": ("d",)}, False),
        ({"nonsense": ("x",)}, True),
        ({"type": ("container",), "container": ("zzz",)}, False),
    ],
)
def test_every_filter(filters, passes):
    assert wanted(MESSAGE, filters, (1, 51)) is passes


def test_an_images_own_events_pass_the_image_filter_by_name_and_id():
    message = Message(kind="image", action="tag", id=IMAGE, attributes={"name": "reg:5000/a:1"}, time_ns=1)
    assert wanted(message, {"image": ("reg:5000/a",)}, (1, 51))
    assert wanted(message, {"image": (IMAGE,)}, (1, 51))
    assert not wanted(message, {"image": ("reg",)}, (1, 51))
