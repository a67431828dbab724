"""What happens with processes: execs, runs that remove themselves, and ends that nobody asked for."""

from collections.abc import Sequence
from typing import Any

from tests.clients.raw import Answer
from tests.crashing.operation import SEEN, Operation, in_turn
from tests.crashing.subjects import BRIDGE, KEPT, is_untouched, running, starter, volumes_go_along
from tests.crashing.world import Died, World


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
    return in_turn(_make_exec, _start_exec, _wait_for_exec)(world)


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


def _waits_for_end_twice(world: World) -> None:
    script = "[ -e /end ] && sleep 1000; until [ -e /end ]; do sleep 0.02; done; exit 5"
    policy = {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1}}
    world.container("web", "sh", "-c", script, HostConfig=BRIDGE | policy)
    world.ask("POST", "/containers/web/start")


def _ends_and_begins(world: World) -> Answer:
    """Its process ends by itself, and its policy starts it again."""
    found = world.inspect("web")
    if found and found["State"]["Pid"] and not found["RestartCount"]:
        with open(f"/proc/{found['State']['Pid']}/root/end", "w") as file:  # noqa: PTH123  # seen by its shell
            file.write("now")
    world.until(lambda: _is_started_again(world), "the container is started again")
    return SEEN


def _is_started_again(world: World) -> bool:
    found = world.inspect("web")
    return found is not None and bool(found["State"]["Pid"]) and found["RestartCount"] == 1


PROCESSES = (
    Operation(
        name="exec",
        prepare=running(),
        act=_exec,
        done=_exec_ended,
        undone=_exec_never_ran,
        unknowable=True,
    ),
    Operation(
        name="run --rm",
        vanishes=True,
        act=in_turn(
            lambda world: _run(world, HostConfig=BRIDGE | {"AutoRemove": True}, **KEPT), starter("web"), _wait_gone
        ),
        done=lambda world: world.status("web") == "gone" and not world.volumes(),
        undone=lambda world: world.status("web") in ("created", "gone") and volumes_go_along(world),
    ),
    Operation(
        name="the process ends",
        prepare=_waits_for_end,
        act=in_turn(_ends),
        done=_is_over,
        undone=is_untouched,
    ),
    Operation(
        name="a policy starts it again",
        prepare=_waits_for_end_twice,
        act=in_turn(_ends_and_begins),
        done=_is_started_again,
        undone=is_untouched,
    ),
)
