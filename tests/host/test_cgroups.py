"""Control groups on the real kernel: who is killed, what is removed, and that the event loop is spared meanwhile."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from handlers.kernel import cgroups
from tests.audit import touches

pytestmark = pytest.mark.root
COUNT = 30
MOUNT_POINTS = {
    controller: h.mount_point for h in cgroups.hierarchies() for controller in (h.controllers or frozenset({""}))
}
KINDS = [kind for kind in (("pids", "freezer"), ("",)) if set(kind) <= set(MOUNT_POINTS)]  # of a hybrid host both


@contextmanager
def populated(*controllers: str) -> Iterator[tuple[cgroups.Group, list[subprocess.Popen[bytes]]]]:
    """A group of our own with processes in it and in groups below."""
    name = f"shiplog-test-{os.getpid()}"
    places = {controller: Path(MOUNT_POINTS[controller], name) for controller in controllers}
    children: list[subprocess.Popen[bytes]] = []
    try:
        for place in places.values():
            (place / "below/deeper").mkdir(parents=True)
        for number in range(COUNT):
            child = subprocess.Popen(["sleep", "60"])
            children.append(child)
            for place in places.values():
                where = (place, place / "below", place / "below/deeper")[number % 3]
                (where / "cgroup.procs").write_text(str(child.pid))
        yield cgroups.Group(directories={controller: str(place) for controller, place in places.items()}), children
    finally:
        for child in children:
            child.kill()
            child.wait()
        for place in places.values():
            for directory in (place / "below/deeper", place / "below", place):
                if directory.exists():
                    directory.rmdir()


@pytest.mark.parametrize("controllers", KINDS)
@pytest.mark.parametrize("frozen", [False, True])
async def test_everybody_is_killed_in_few_looks_and_off_the_event_loop(controllers, frozen):
    with populated(*controllers) as (group, children):
        place = Path(group.directories[controllers[0]])
        assert len(group.processes()) == COUNT
        await group.freeze(frozen=frozen)
        with touches(place) as noted:
            await group.kill()
            await group.remove()
        assert [child.wait(5) for child in children] == [-9] * COUNT
        assert not any(map(os.path.exists, group.directories.values()))
    assert not [touch for touch in noted if touch.in_main_thread]
    looks = [touch for touch in noted if touch.path == f"{place}/below/deeper/cgroup.procs"]
    assert len(looks) < COUNT


@pytest.mark.parametrize("controllers", KINDS)
def test_only_members_of_the_group_are_killed(controllers):
    """A number that was read from the group may be somebody else's by now."""
    with populated(*controllers) as (group, children):
        found = cgroups.hierarchies()
        inside, left = children[1], children[0]
        Path(MOUNT_POINTS[controllers[0]], "cgroup.procs").write_text(str(left.pid))
        for child in (inside, left):
            cgroups._kill_member(child.pid, group.directories[controllers[0]], found)
        assert inside.wait(5) == -9
        assert left.poll() is None


@pytest.mark.parametrize("controllers", KINDS)
def test_a_group_that_is_ours_too_is_nobodys_own(controllers):
    with populated(*controllers) as (group, children):
        found, first = cgroups.hierarchies(), controllers[0]
        assert cgroups.of_process(children[0].pid, found).directories == group.directories
        lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
        before = next(path for _, names, path in lines if first in names.split(","))
        try:
            Path(group.directories[first], "cgroup.procs").write_text("0")
            assert first not in cgroups.of_process(children[0].pid, found).directories
        finally:
            Path(MOUNT_POINTS[first], before.strip("/"), "cgroup.procs").write_text("0")


def test_easing_a_move_leaves_the_process_where_it_is():
    before = Path("/proc/self/cgroup").read_text()
    cgroups.ease_next_move()
    assert Path("/proc/self/cgroup").read_text() == before
