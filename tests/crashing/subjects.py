"""The container that operations are about: in which state it is before, and how it is told in which it is then."""

from collections.abc import Callable
from typing import Any

from handlers.kernel import cgroups
from tests.clients.raw import Answer
from tests.crashing.world import World

TRAP = "trap 'exit 3' TERM; while :; do sleep 0.02; done"
PORT = 18080
BRIDGE: dict[str, Any] = {"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostPort": str(PORT)}]}}
MORE_MEMORY: dict[str, Any] = {"Memory": 64 << 20, "MemorySwap": 128 << 20}
KEPT: dict[str, Any] = {"Volumes": {"/etc": {}}}  # an anonymous volume, with what the image has there


def has_status(name: str, *statuses: str) -> Callable[[World], bool]:
    return lambda world: world.status(name) in statuses


def starter(name: str) -> Callable[[World], Answer]:
    return lambda world: world.again("POST", f"/containers/{name}/start")


def running(**settings: Any) -> Callable[[World], object]:
    def prepare(world: World) -> None:
        world.container("web", "sh", "-c", TRAP, **settings)
        world.ask("POST", "/containers/web/start")
        until_it_listens(world, "web")

    return prepare


def until_it_listens(world: World, name: str) -> None:
    """Its shell has set its trap: until then a signal would meet the default action, or none."""
    inspected = world.inspect(name)
    pid = inspected["State"]["Pid"] if inspected else 0

    def catches() -> bool:
        with open(f"/proc/{pid}/status") as file:  # noqa: PTH123  # a file of the kernel
            caught = next(line for line in file if line.startswith("SigCgt"))
        return bool(int(caught.split()[1], 16) & 1 << 14)

    world.until(catches, "the shell waits for signals")


def paused(world: World) -> None:
    running()(world)
    world.ask("POST", "/containers/web/pause")


def paused_and_deaf(world: World) -> None:
    """It heeds no signal but the last."""
    world.container("web", "sh", "-c", TRAP.replace("exit 3", ":"))
    world.ask("POST", "/containers/web/start")
    until_it_listens(world, "web")
    world.ask("POST", "/containers/web/pause")


def is_untouched(world: World) -> bool:
    return world.status("web") == "running" and not world.is_frozen("web")


def is_frozen(world: World) -> bool:
    return world.status("web") == "paused" and world.is_frozen("web")


def volumes_go_along(world: World) -> bool:
    """A container that is gone has left no anonymous volume, one that is there has it."""
    return bool(world.volumes()) == (world.status("web") != "gone")


def has_more_memory(world: World) -> bool:
    """Its configuration and its control group say the same."""
    found = world.inspect("web")
    assert found is not None
    group = cgroups.of_process(found["State"]["Pid"], cgroups.hierarchies())
    limit = group.read("memory", "memory.max" if group.is_unified else "memory.limit_in_bytes").strip()
    told, acts = found["HostConfig"]["Memory"] == MORE_MEMORY["Memory"], limit == str(MORE_MEMORY["Memory"])
    assert told == acts, f"memory: {found['HostConfig']['Memory']} is told, {limit} acts"
    return bool(told)
