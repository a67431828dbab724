"""What is asked of an engine while it is killed, and how its effect, or that there was none, can be seen."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tests.clients.raw import Answer
from tests.crashing.world import IMAGE, LOST, Died, World
from tests.fakes.image_archives import docker_archive, layer, sample

SEEN = Answer(status=200, headers={}, body=b"")  # what was waited for has come
TRAP = "trap 'exit 3' TERM; while :; do sleep 0.02; done"
PORT = 18080
BRIDGE: dict[str, Any] = {"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostPort": str(PORT)}]}}
KEPT: dict[str, Any] = {"Volumes": {"/etc": {}}}  # an anonymous volume, with what the image has there


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """`act` returns its answers, the last of them LOST when the daemon died.

    `done` and `undone` look at an engine that nobody asks anything else of; `effect` is where they look.
    """

    name: str
    prepare: Callable[[World], object] = lambda world: None
    act: Callable[[World], Sequence[Answer]]
    done: Callable[[World], bool]
    undone: Callable[[World], bool]
    unknowable: bool = False  # an effect that the host can't show: settled as unknown, never repeated
    vanishes: bool = False  # its object goes by itself: a repeat may find it gone


def _one(method: str, path: str, **query: Any) -> Callable[[World], Sequence[Answer]]:
    return lambda world: (world.again(method, path, **query),)


def _all(*steps: Callable[[World], Answer]) -> Callable[[World], Sequence[Answer]]:
    """One after the other, until one is lost."""

    def act(world: World) -> Sequence[Answer]:
        answers: list[Answer] = []
        for step in steps:
            try:
                answers.append(step(world))
            except Died:
                answers.append(LOST)
            if not answers[-1].status:
                break
        return answers

    return act


def _is(name: str, *statuses: str) -> Callable[[World], bool]:
    return lambda world: world.status(name) in statuses


def _starter(name: str) -> Callable[[World], Answer]:
    return lambda world: world.again("POST", f"/containers/{name}/start")


def _running(**settings: Any) -> Callable[[World], object]:
    def prepare(world: World) -> None:
        world.container("web", "sh", "-c", TRAP, **settings)
        world.ask("POST", "/containers/web/start")
        _settled(world, "web")

    return prepare


def _settled(world: World, name: str) -> None:
    """Its shell has set its trap: until then a signal would meet the default action, or none."""
    inspected = world.inspect(name)
    pid = inspected["State"]["Pid"] if inspected else 0

    def catches() -> bool:
        with open(f"/proc/{pid}/status") as file:  # noqa: PTH123  # a file of the kernel
            caught = next(line for line in file if line.startswith("SigCgt"))
        return bool(int(caught.split()[1], 16) & 1 << 14)

    world.until(catches, "the shell waits for signals")


def _paused(world: World) -> None:
    _running()(world)
    world.ask("POST", "/containers/web/pause")


def _paused_and_deaf(world: World) -> None:
    """It heeds no signal but the last."""
    world.container("web", "sh", "-c", TRAP.replace("exit 3", ":"))
    world.ask("POST", "/containers/web/start")
    _settled(world, "web")
    world.ask("POST", "/containers/web/pause")


def _untouched(world: World) -> bool:
    return world.status("web") == "running" and not world.is_frozen("web")


def _frozen(world: World) -> bool:
    return world.status("web") == "paused" and world.is_frozen("web")


def _volumes_go_along(world: World) -> bool:
    """A container that is gone has left no anonymous volume, one that is there has it."""
    return bool(world.volumes()) == (world.status("web") != "gone")


# ---- containers

CONTAINERS = (
    Operation(
        name="create",
        act=lambda world: (world.container("web", "true", repeatable=True, **KEPT),),
        done=lambda world: world.status("web") == "created" and len(world.volumes()) == 1,
        undone=lambda world: world.status("web") == "gone" and not world.volumes(),
    ),
    Operation(
        name="start on none",
        prepare=lambda world: world.container("web", "sleep", "1000"),
        act=_all(_starter("web")),
        done=_untouched,
        undone=_is("web", "created"),
    ),
    Operation(
        name="start on bridge",
        prepare=lambda world: world.container("web", "sleep", "1000", HostConfig=BRIDGE, **KEPT),
        act=_all(_starter("web")),
        done=_untouched,
        undone=_is("web", "created"),
    ),
    Operation(
        name="stop",
        prepare=_running(HostConfig=BRIDGE, **KEPT),
        act=_one("POST", "/containers/web/stop"),
        done=_is("web", "exited"),
        undone=_untouched,
    ),
    Operation(
        name="stop of paused",
        prepare=_paused,
        act=_one("POST", "/containers/web/stop"),
        done=_is("web", "exited"),
        undone=lambda world: _frozen(world) or _untouched(world),
    ),
    Operation(
        name="stop of paused and deaf",
        prepare=_paused_and_deaf,
        act=_one("POST", "/containers/web/stop", t="0"),
        done=_is("web", "exited"),
        undone=lambda world: _frozen(world) or _untouched(world),
    ),
    Operation(
        name="restart",
        prepare=_running(HostConfig=BRIDGE),
        act=_one("POST", "/containers/web/restart"),
        done=_untouched,
        undone=_untouched,
    ),
    Operation(
        name="kill",
        prepare=_running(),
        act=_one("POST", "/containers/web/kill"),
        done=_is("web", "exited"),
        undone=_untouched,
        unknowable=True,
    ),
    Operation(
        name="kill of paused",
        prepare=_paused,
        act=_one("POST", "/containers/web/kill"),
        done=_is("web", "exited"),
        undone=lambda world: _frozen(world) or _untouched(world),
        unknowable=True,
    ),
    Operation(
        name="signal",
        prepare=_running(),
        act=_one("POST", "/containers/web/kill", signal="WINCH"),
        done=_untouched,
        undone=_untouched,
        unknowable=True,
    ),
    Operation(
        name="pause",
        prepare=_running(),
        act=_one("POST", "/containers/web/pause"),
        done=_frozen,
        undone=_untouched,
    ),
    Operation(
        name="unpause",
        prepare=_paused,
        act=_one("POST", "/containers/web/unpause"),
        done=_untouched,
        undone=_frozen,
    ),
    Operation(
        name="rename",
        prepare=lambda world: world.container("web", "true"),
        act=_one("POST", "/containers/web/rename", name="shop"),
        done=lambda world: (world.status("web"), world.status("shop")) == ("gone", "created"),
        undone=lambda world: (world.status("web"), world.status("shop")) == ("created", "gone"),
    ),
    Operation(
        name="rm",
        prepare=lambda world: world.container("web", "true", **KEPT),
        act=_one("DELETE", "/containers/web", v="1"),
        done=lambda world: world.status("web") == "gone" and not world.volumes(),
        undone=lambda world: world.status("web") == "created" and len(world.volumes()) == 1,
    ),
    Operation(
        name="rm of running",
        prepare=_running(HostConfig=BRIDGE, **KEPT),
        act=_one("DELETE", "/containers/web", force="1", v="1"),
        done=lambda world: world.status("web") == "gone" and not world.volumes(),
        undone=lambda world: _untouched(world) and len(world.volumes()) == 1,
    ),
    Operation(
        name="rm of paused",
        prepare=_paused,
        act=_one("DELETE", "/containers/web", force="1"),
        done=_is("web", "gone"),
        undone=_frozen,
    ),
)


# ---- processes


def _make_exec(world: World) -> Answer:
    return world.again("POST", "/containers/web/exec", {"Cmd": ["sh", "-c", "echo ran >>/ran; exit 7"]})


def _exec_id(world: World) -> str:
    """The first answer again."""
    made = _make_exec(world)
    if not made.status:
        raise Died
    return str(made.json["Id"])


def _start_exec(world: World) -> Answer:
    return world.again("POST", f"/exec/{_exec_id(world)}/start", {"Detach": True})


def _ran(world: World) -> str:
    inspected = world.inspect("web")
    assert inspected is not None
    try:
        with open(f"/proc/{inspected['State']['Pid']}/root/ran") as file:  # noqa: PTH123  # a file of the kernel
            return file.read()
    except FileNotFoundError:
        return ""


def _exec_ended(world: World) -> bool:
    """It has run once, and its exit code is known."""
    made = _make_exec(world)
    if made.status != 201:
        return False
    found = world.ask("GET", f"/exec/{made.json['Id']}/json").json
    return (found["Running"], found["ExitCode"]) == (False, 7) and _ran(world) == "ran\n"


def _exec_never_ran(world: World) -> bool:
    found = world.ask("GET", f"/exec/{_exec_id(world)}/json").json
    return not found["Running"] and found["ExitCode"] in (None, 126) and not _ran(world)


def _wait_for_exec(world: World) -> Answer:
    exec_id = _exec_id(world)
    world.until(lambda: not world.ask("GET", f"/exec/{exec_id}/json").json["Running"], "the exec has ended")
    return SEEN


def _exec(world: World) -> Sequence[Answer]:
    return _all(_make_exec, _start_exec, _wait_for_exec)(world)


def _wait_gone(world: World) -> Answer:
    world.until(lambda: "web" not in world.names(), "the container is gone")
    return SEEN


def _run(world: World, **settings: Any) -> Answer:
    return world.container("web", "true", repeatable=True, **settings)


def _ends(world: World) -> Answer:
    """Its process ends by itself; nobody asks for anything."""
    found = world.inspect("web")
    if found and found["State"]["Pid"]:
        with open(f"/proc/{found['State']['Pid']}/root/end", "w") as file:  # noqa: PTH123  # seen by its shell
            file.write("now")
    world.until(lambda: world.status("web") == "exited", "the container has ended")
    return SEEN


def _waits_for_end(world: World) -> None:
    world.container("web", "sh", "-c", "until [ -e /end ]; do sleep 0.02; done; exit 5", HostConfig=BRIDGE, **KEPT)
    world.ask("POST", "/containers/web/start")


def _is_over(world: World) -> bool:
    found = world.inspect("web")
    return found is not None and (found["State"]["Status"], found["State"]["ExitCode"]) == ("exited", 5)


PROCESSES = (
    Operation(
        name="exec",
        prepare=_running(),
        act=_exec,
        done=_exec_ended,
        undone=_exec_never_ran,
        unknowable=True,
    ),
    Operation(
        name="run --rm",
        vanishes=True,
        act=_all(
            lambda world: _run(world, HostConfig=BRIDGE | {"AutoRemove": True}, **KEPT), _starter("web"), _wait_gone
        ),
        done=lambda world: world.status("web") == "gone" and not world.volumes(),
        undone=lambda world: world.status("web") in ("created", "gone") and _volumes_go_along(world),
    ),
    Operation(
        name="the process ends",
        prepare=_waits_for_end,
        act=_all(_ends),
        done=_is_over,
        undone=_untouched,
    ),
)


# ---- images and volumes


OTHER = docker_archive(sample("bottom", "top", names=("other:1", "other:2")))
TREE = layer("etc/digits")
VOLUME = {"Name": "data", "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}}  # options have a key


def _named(world: World, *names: str) -> bool:
    """Whether exactly these names exist beside the one that is always there, and every image has one."""
    images = world.images()
    return all(images.values()) and {name for each in images.values() for name in each} == {IMAGE, *names}


IMAGES = (
    Operation(
        name="load",
        act=lambda world: (world.again("POST", "/images/load", OTHER),),
        done=lambda world: _named(world, "other:1", "other:2"),
        undone=_named,
    ),
    Operation(
        name="import",
        act=lambda world: (world.again("POST", "/images/create", TREE, fromSrc="-", repo="imported", tag="1"),),
        done=lambda world: _named(world, "imported:1") and len(world.images()) == 2,
        undone=_named,
    ),
    Operation(
        name="tag",
        act=_one("POST", f"/images/{IMAGE}/tag", repo="second", tag="1"),
        done=lambda world: _named(world, "second:1"),
        undone=_named,
    ),
    Operation(
        name="untag",
        prepare=lambda world: world.ask("POST", f"/images/{IMAGE}/tag", repo="second", tag="1"),
        act=_one("DELETE", "/images/second:1"),
        done=_named,
        undone=lambda world: _named(world, "second:1"),
    ),
    Operation(
        name="rmi",
        prepare=lambda world: world.ask("POST", "/images/create", TREE, fromSrc="-", repo="imported", tag="1"),
        act=_one("DELETE", "/images/imported:1"),
        done=_named,
        undone=lambda world: _named(world, "imported:1"),
    ),
)

VOLUMES = (
    Operation(
        name="volume create",
        act=lambda world: (world.again("POST", "/volumes/create", VOLUME),),
        done=lambda world: world.volumes() == {"data"},
        undone=lambda world: not world.volumes(),
    ),
    Operation(
        name="volume rm",
        prepare=lambda world: world.ask("POST", "/volumes/create", VOLUME),
        act=_one("DELETE", "/volumes/data"),
        done=lambda world: not world.volumes(),
        undone=lambda world: world.volumes() == {"data"},
    ),
)

OPERATIONS = (*CONTAINERS, *PROCESSES, *IMAGES, *VOLUMES)
