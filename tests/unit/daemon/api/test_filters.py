"""Every filter of every list."""

import time

import pytest

from daemon.api import container_filters, image_filters, networks, volumes
from daemon.api.container_filters import Selection
from daemon.api.filters import boolean, labelled, single
from daemon.api.patterns import expressions, wildcards
from daemon.api.prune_filters import Prunable, parse_until
from daemon.http.query import InvalidFilter
from events.errors import InvalidParameter, NotFound
from events.messages import container as c
from events.messages.image import ImageConfig, RunConfig
from events.messages.network import PublishedPort
from events.messages.volume import VolumeAcquired
from tests.unit.daemon.story import BRIDGE, BUSYBOX, IMAGE, NOON, SECOND, Story

C1, C2, C3 = "a3" * 32, "7f" * 32, "b4" * 32
CHILD = "sha256:" + "2b" * 32
STATUSES = "created, running, paused, restarting, removing, exited, dead"
HEALTHS = "none, starting, healthy, unhealthy"
LABELS = {"x": "y", "a": "b"}


# ---- shared


@pytest.mark.parametrize(
    ("labels", "filters", "passes"),
    [
        (LABELS, {}, True),
        (LABELS, {"label": ("x",)}, True),
        (LABELS, {"label": ("x=y", "a")}, True),
        (LABELS, {"label": ("x=z",)}, False),
        (LABELS, {"label": ("x", "zz")}, False),
        (LABELS, {"label!": ("x",)}, False),
        (LABELS, {"label!": ("x=z",)}, True),
        (LABELS, {"label": ("a",), "label!": ("x",)}, False),
        ({}, {"label": ("x",)}, False),
    ],
)
def test_labels(labels, filters, passes):
    assert labelled(filters, labels) is passes


SLOW_S = 1.0  # a backtracking engine would need years


@pytest.mark.parametrize("value", ["(", "a{99999999999}", "a{1,99999999999}", "(" * 5000, "((a{900}){900})"])
def test_a_bad_expression_is_refused(value):
    with pytest.raises(InvalidParameter, match=r"^invalid filter 'name="):
        expressions({"name": (value,)}, "name")


def test_the_text_itself_matches_whatever_it_would_mean():
    assert expressions({"name": ("a+",)}, "name")("a+")
    assert expressions({}, "name")("anything")
    assert not expressions({"name": ("^b", "c$")}, "name")("abc ")


def test_no_expression_takes_long():
    began = time.perf_counter()
    assert not expressions({"name": ("(a|aa)+$",)}, "name")("a" * 5000 + "!")
    assert expressions({"name": ("(" * 5000 + "a" + ")" * 5000,)}, "name")("a")
    assert not wildcards(["*a" * 20 + "b"])("a" * 5000)
    with pytest.raises(InvalidParameter, match="syntax error in pattern"):
        wildcards(["[" * 50_000])
    assert time.perf_counter() - began < SLOW_S


def test_expressions_are_counted():
    values = tuple(map(str, range(257)))
    with pytest.raises(InvalidParameter, match="more than 256"):
        expressions({"name": values}, "name")
    with pytest.raises(InvalidParameter, match="more than 256"):
        wildcards(values)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("a*", "abc", "a/c"),
        ("a?c", "abc", "a/c"),
        ("[a-c]x", "bx", "dx"),
        ("[^a-c]x", "dx", "bx"),
        (r"[\]d]x", "]x", "1x"),
        (r"[\d]x", "dx", "1x"),
        (r"\*", "*", "a"),
        ("a.c", "a.c", "abc"),
        ("(a)", "(a)", "a"),
    ],
)
def test_shell_patterns(pattern, matching, other):
    assert wildcards([pattern])(matching)
    assert not wildcards([pattern])(other)


@pytest.mark.parametrize("pattern", ["[", "[]", "[-a]", "[a-]", "a\\", "[z-a]"])
def test_malformed_shell_patterns(pattern):
    with pytest.raises(InvalidParameter, match="syntax error in pattern"):
        wildcards([pattern])


def test_booleans():
    assert boolean({}, "dangling") is None
    assert boolean({"dangling": ("1",)}, "dangling") is True
    assert boolean({"dangling": ("false",)}, "dangling") is False
    with pytest.raises(InvalidFilter, match=r"invalid filter 'dangling=\[x\]'"):
        boolean({"dangling": ("x",)}, "dangling")


def test_single_refuses_two():
    assert single({}, "until", int) is None
    assert single({"until": ("5",)}, "until", int) == 5
    with pytest.raises(InvalidFilter):
        single({"until": ("5", "6")}, "until", int)


# ---- containers


async def containers():
    """c1 runs with ports, volumes and labels; c2 is created on `none`; c3 has exited with 3 on `host`."""
    story = Story()
    await story.predefined_networks()
    await story.image(IMAGE, BUSYBOX)
    await story.image(CHILD, "docker.io/library/child:1", config=ImageConfig(parent=IMAGE), origin="commit")
    await story.volume("vol1")
    mounts = (
        c.MountPoint(type="volume", name="vol1", destination="/data"),
        c.MountPoint(type="bind", source="/tmp", destination="/h"),
    )
    config = c.ContainerConfig(labels=LABELS, exposed_ports={"99/tcp": {}, "80/tcp": {}})
    await story.container(C1, "c1", config=config, mounts=mounts)
    ports = (
        PublishedPort(container_port=80, protocol="tcp", host_address="0.0.0.0", host_port=8081),
        PublishedPort(container_port=9000, protocol="udp", host_address="127.0.0.1", host_port=9000),
    )
    await story.start(C1, ports=ports)
    await story.container(C2, "c2", host=c.HostConfig(network_mode="none"))
    await story.container(C3, "c3", host=c.HostConfig(network_mode="host"), image_id=CHILD, reference="child:1")
    await story.tell(f"container/{C3}", c.ContainerStartRequested(container_id=C3, run=1))
    await story.tell(f"container/{C3}", c.ContainerStarted(container_id=C3, pid=1, started_at_ns=NOON))
    await story.die(C3, 3)
    return story


def names(story, everything=True, limit=0, **filters):
    chosen = {key.replace("_", "-"): (value,) if isinstance(value, str) else value for key, value in filters.items()}
    selection = Selection(everything=everything, limit=limit)
    return [found.name for found in container_filters.select(story.state, chosen, selection)]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, "c3 c2 c1"),
        ({"ancestor": "busybox"}, "c3 c2 c1"),
        ({"ancestor": "child:1"}, "c3"),
        ({"ancestor": IMAGE[7:19]}, "c3 c2 c1"),
        ({"ancestor": "nope"}, ""),
        ({"ancestor": ("nope", "child:1")}, "c3"),
        ({"ancestor": "Bad:Ref:x"}, ""),
        ({"before": "c3"}, "c2 c1"),
        ({"since": "c1"}, "c3 c2"),
        ({"since": ("c1", "c2")}, "c3"),
        ({"since": "c1", "before": "c3"}, "c2"),
        ({"exited": "3"}, "c3"),
        ({"exited": "0"}, ""),
        ({"exited": ("0", "3")}, "c3"),
        ({"expose": "80"}, "c1"),
        ({"expose": "99/tcp"}, "c1"),
        ({"expose": "99-100/tcp"}, "c1"),
        ({"expose": "99/udp"}, ""),
        ({"publish": "8081"}, "c1"),
        ({"publish": "80"}, ""),
        ({"publish": "9000/udp"}, "c1"),
        ({"publish": "8000-9000"}, "c1"),
        ({"health": "none"}, "c3 c2 c1"),
        ({"health": "healthy"}, ""),
        ({"id": "a3a3"}, "c1"),
        ({"id": "3a3a"}, ""),
        ({"is_task": "true"}, ""),
        ({"is_task": "false"}, "c3 c2 c1"),
        ({"isolation": "default"}, "c3 c2 c1"),
        ({"label": ("a=b", "x")}, "c1"),
        ({"label": "x=z"}, ""),
        ({"name": "c"}, "c3 c2 c1"),
        ({"name": "/c1"}, "c1"),
        ({"name": "^/c1$"}, "c1"),
        ({"name": "^c1$"}, "c1"),
        ({"name": ("c1", "c2")}, "c2 c1"),
        ({"network": "bridge"}, "c1"),
        ({"network": "host"}, "c3"),
        ({"network": "none"}, "c2"),
        ({"network": BRIDGE[:8]}, "c1"),
        ({"network": "brid"}, ""),
        ({"status": ("running", "exited")}, "c3 c1"),
        ({"status": "created"}, "c2"),
        ({"volume": "vol1"}, "c1"),
        ({"volume": "/data"}, "c1"),
        ({"volume": "/tmp"}, "c1"),
        ({"volume": "vol"}, ""),
        ({"name": "c1", "status": "exited"}, ""),
    ],
)
async def test_containers(filters, found):
    assert names(await containers(), **filters) == found.split()


async def test_only_what_runs_unless_asked():
    story = await containers()
    assert names(story, everything=False) == ["c1"]
    assert names(story, everything=False, limit=2) == ["c3", "c2"]
    assert names(story, everything=False, status="created") == ["c2"]
    assert names(story, everything=False, limit=1, name="c") == ["c3"]


async def test_what_is_being_made_is_not_there_yet():
    story = await containers()
    sealed = story.known(C1).secrets
    requested = c.ContainerCreateRequested(
        container_id="e5" * 32,
        name="new",
        image_id=IMAGE,
        image_reference="busybox",
        config=c.ContainerConfig(),
        host=c.HostConfig(),
        secrets=sealed,
    )
    await story.tell(f"container/{'e5' * 32}", requested)
    assert names(story) == ["c3", "c2", "c1"]
    with pytest.raises(NotFound, match="No such container: new"):
        names(story, since="new")


@pytest.mark.parametrize(
    ("filters", "error", "text"),
    [
        (
            {"status": "x"},
            InvalidParameter,
            f"invalid filter 'status=x': invalid value for state (x): must be one of {STATUSES}",
        ),
        (
            {"health": "x"},
            InvalidParameter,
            f"invalid filter 'health=x': invalid value for health (x): must be one of {HEALTHS}",
        ),
        ({"since": "x"}, NotFound, "No such container: x"),
        ({"before": "x"}, NotFound, "No such container: x"),
        ({"is_task": "x"}, InvalidParameter, "invalid filter 'is-task=[x]'"),
        (
            {"exited": "x"},
            InvalidParameter,
            "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            {"publish": "zz"},
            InvalidParameter,
            'error while looking up for publish zz: strconv.ParseUint: parsing "zz": invalid syntax',
        ),
        ({"expose": "1:2"}, InvalidParameter, "filter for 'expose' should not contain ':': 1:2"),
    ],
)
async def test_values_that_containers_cannot_have(filters, error, text):
    story = await containers()
    with pytest.raises(error) as caught:
        names(story, **filters)
    assert str(caught.value) == text


# ---- images


async def images():
    """An old busybox, a newer one of a registry, and the newest without a name; two hours, one hour, a minute old."""
    story = Story()
    rows: tuple[tuple[str, tuple[str, ...], str, dict[str, str]], ...] = (
        ("1a", ("docker.io/library/busybox:1", "docker.io/library/bb:latest"), "2026-11-23T15:00:00Z", {"l": "1"}),
        ("2b", ("reg:5000/team/app:2",), "2026-11-23T16:00:00Z", {}),
        ("3c", (), "2026-11-23T16:59:00Z", {}),
    )
    for digits, references, created, labels in rows:
        config = ImageConfig(created=created, config=RunConfig(labels=labels))
        await story.image(f"sha256:{digits * 32}", *references, config=config)
    return story


def shown(story, *, intermediate=False, **filters):
    chosen = {key: (value,) if isinstance(value, str) else value for key, value in filters.items()}
    rows = image_filters.select(story.state, chosen, NOON, intermediate=intermediate)
    return [(row.image.id[7:9], row.tags) for row in rows]


OLD, APP = ("1a", ["bb:latest", "busybox:1"]), ("2b", ["reg:5000/team/app:2"])
NAMELESS: tuple[str, list[str]] = ("3c", [])


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, [NAMELESS, APP, OLD]),
        ({"dangling": "true"}, [NAMELESS]),
        ({"dangling": "false"}, [APP, OLD]),
        ({"reference": "busybox"}, [("1a", ["busybox:1"])]),
        ({"reference": "b*"}, [OLD]),
        ({"reference": "busybox:?"}, [("1a", ["busybox:1"])]),
        ({"reference": "busybox:[12]"}, [("1a", ["busybox:1"])]),
        ({"reference": "busybox:[^12]"}, []),
        ({"reference": "*"}, [OLD]),
        ({"reference": "*/*/*"}, [APP]),
        ({"reference": ("busybox", "reg:5000/team/app")}, [APP, ("1a", ["busybox:1"])]),
        ({"before": "reg:5000/team/app:2"}, [OLD]),
        ({"since": "busybox:1"}, [NAMELESS, APP]),
        ({"since": "busybox:1", "before": "3c3c3c"}, [APP]),
        ({"until": "90m"}, [OLD]),
        ({"until": "2026-11-23T16:30:00Z"}, [APP, OLD]),
        ({"label": "l=1"}, [OLD]),
        ({"label!": "l"}, [NAMELESS, APP]),
    ],
)
async def test_images(filters, found):
    assert shown(await images(), **filters) == found


async def family():
    """A nameless image upon busybox, and one with a name upon that, within one second; and one known by digest only."""
    story = await images()
    rows = (
        ("4d", "1a", (), "2026-11-23T16:30:00.1Z"),
        ("5e", "4d", ("docker.io/library/child:1",), "2026-11-23T16:30:00.2Z"),
        ("6f", "", (f"docker.io/library/busybox@sha256:{'0f' * 32}",), ""),
    )
    for digits, parent, references, created in rows:
        config = ImageConfig(created=created, parent=f"sha256:{parent * 32}" if parent else "")
        await story.image(f"sha256:{digits * 32}", *references, config=config, origin="commit")
    return story


UPON = ("5e", ["child:1"])
BETWEEN: tuple[str, list[str]] = ("4d", [])
BY_DIGEST: tuple[str, list[str]] = ("6f", [])


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, [NAMELESS, UPON, APP, OLD, BY_DIGEST]),
        ({"intermediate": True}, [NAMELESS, UPON, BETWEEN, APP, OLD, BY_DIGEST]),
        ({"dangling": "true"}, [NAMELESS, BY_DIGEST]),
        ({"dangling": "true", "intermediate": True}, [NAMELESS, BY_DIGEST]),
        ({"dangling": "false", "intermediate": True}, [UPON, APP, OLD, BY_DIGEST]),
        ({"reference": "busybox"}, [("1a", ["busybox:1"]), BY_DIGEST]),
        ({"reference": "busybox:1"}, [("1a", ["busybox:1"])]),
        ({"before": "child:1", "intermediate": True}, [BETWEEN, APP, OLD]),
        ({"since": "4d4d4d"}, [NAMELESS, UPON]),
        ({"until": "10s"}, [NAMELESS, UPON, APP, OLD]),
    ],
)
async def test_images_with_parents(filters, found):
    assert shown(await family(), **filters) == found


async def test_what_images_cannot_be_asked():
    story = await images()
    with pytest.raises(NotFound, match="No such image: nope:latest"):
        shown(story, since="nope")
    with pytest.raises(InvalidParameter, match="syntax error in pattern"):
        shown(story, reference="[")
    with pytest.raises(InvalidParameter, match=r"invalid filter 'dangling=\[x\]'"):
        shown(story, dangling="x")
    with pytest.raises(InvalidParameter, match="failed to parse value as time or duration"):
        shown(story, until="x")


# ---- volumes and networks


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, "vol1 other"),
        ({"name": ("vol",)}, "vol1"),
        ({"name": ("ol1",)}, "vol1"),
        ({"driver": ("local",)}, "vol1 other"),
        ({"driver": ("loc",)}, ""),
        ({"label": ("k",)}, "other"),
        ({"dangling": ("true",)}, "other"),
        ({"dangling": ("0",)}, "vol1"),
    ],
)
async def test_volumes(filters, found):
    story = Story()
    await story.volume("vol1")
    await story.volume("other", k="v")
    await story.tell("volume/vol1", VolumeAcquired(name="vol1", container_id=C1))
    assert [volume.name for volume in volumes.select(story.state, filters)] == found.split()


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, "bridge host none mine"),
        ({"type": ("builtin",)}, "bridge host none"),
        ({"type": ("custom",)}, "mine"),
        ({"name": ("ridge",)}, "bridge"),
        ({"id": ("bbbb",)}, "bridge"),
        ({"driver": ("null",)}, "none"),
        ({"scope": ("local",)}, "bridge host none mine"),
        ({"scope": ("swarm",)}, ""),
        ({"dangling": ("true",)}, "mine"),
        ({"dangling": ("false",)}, "bridge host none"),
        ({"label": ("a",)}, ""),
    ],
)
async def test_networks(filters, found):
    story = Story()
    await story.predefined_networks()
    await story.network("9" * 64, "mine")
    assert [network.name for network in networks.select(story.state, filters)] == found.split()


async def test_what_networks_cannot_be_asked():
    story = Story()
    with pytest.raises(InvalidParameter, match="invalid filter: 'type'='x'"):
        networks.select(story.state, {"type": ("x",)})
    with pytest.raises(InvalidParameter, match="invalid value for filter 'dangling', must be"):
        networks.select(story.state, {"dangling": ("zz",)})


# ---- prunes


def test_prunes_take_old_and_labelled_things():
    prunable = Prunable({"until": ("1h",), "label!": ("keep",)}, NOON)
    assert prunable.takes({}, NOON - 7200 * SECOND)
    assert not prunable.takes({}, NOON - 60 * SECOND)
    assert not prunable.takes({"keep": ""}, NOON - 7200 * SECOND)
    assert Prunable({}, NOON).takes({}, NOON)


def test_until_of_a_prune():
    assert parse_until("90s", NOON) == NOON - 90 * SECOND
    with pytest.raises(InvalidParameter) as caught:
        parse_until("x", NOON)
    text = 'failed to parse value as time or duration: invalid seconds "x": invalid syntax'
    assert str(caught.value) == text
