"""What groups show of the limits that the kernel has."""

from pathlib import Path

import pytest

from handlers.exec.drivers.host_facts import LimitFiles, controllers, limits, read_host_facts
from handlers.kernel.cgroups import Hierarchy

FILES = LimitFiles(
    controller="blkio",
    file="blkio.weight",
    file_below="blkio.bfq.weight",
    controller_v2="io",
    files_v2=("io.weight", "io.bfq.weight"),
    root_file_v2="io.cost.qos",
    scheduler="bfq",
)


def hierarchy(root: Path, *controllers: str) -> tuple[Hierarchy, ...]:
    return (Hierarchy(mount_point=str(root), root="/", controllers=frozenset(controllers)),)


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()


def test_version_1_shows_limits_at_the_root(tmp_path):
    found = hierarchy(tmp_path, "blkio")
    assert not limits(found, 1, FILES)
    write(tmp_path, "blkio.weight")
    assert limits(found, 1, FILES)
    assert not limits(hierarchy(tmp_path, "memory"), 1, FILES)


def test_version_1_keeps_bfqs_weights_from_the_root(tmp_path):
    found = hierarchy(tmp_path, "blkio")
    write(tmp_path, "docker/blkio.throttle.read_bps_device")
    assert not limits(found, 1, FILES)
    write(tmp_path, "docker/blkio.bfq.weight")
    assert limits(found, 1, FILES)


@pytest.mark.parametrize(
    ("controllers", "files", "has"),
    [
        ("cpu io", ("a.slice/io.max", "a.slice/io.weight"), True),
        ("cpu io", ("a.slice/cpu.max", "b.slice/io.max", "b.slice/io.bfq.weight"), True),
        ("cpu io", ("a.slice/io.max",), False),
        ("cpu io", ("a.slice/cpu.max",), False),
        ("cpu io", ("a.slice/cpu.max", "io.cost.qos"), True),
        ("cpu io", ("a.slice/io.max", "io.cost.qos"), False),
        ("cpu memory", ("a.slice/cpu.max", "io.cost.qos"), False),
    ],
)
def test_version_2_shows_limits_below_the_root(tmp_path, controllers, files, has):
    write(tmp_path, *files)
    (tmp_path / "cgroup.controllers").write_text(controllers)
    assert limits(hierarchy(tmp_path), 2, FILES, tmp_path / "none") is has


@pytest.mark.parametrize(
    ("schedulers", "has"), [("[none] mq-deadline", False), ("none [mq-deadline] bfq", True), ("[bfq] none", True)]
)
def test_version_2_before_any_group_has_the_controller(tmp_path, schedulers, has):
    """The weights of single devices would be dropped without a word where nothing has them."""
    root, devices = tmp_path / "groups", tmp_path / "block"
    (devices / "vda/queue").mkdir(parents=True)
    (devices / "vda/queue/scheduler").write_text(f"{schedulers}\n")
    root.mkdir()
    (root / "cgroup.controllers").write_text("cpu io memory\n")
    weights = LimitFiles(
        controller="blkio",
        file="blkio.weight_device",
        controller_v2="io",
        files_v2=("io.bfq.weight",),
        scheduler="bfq",
    )
    assert limits(hierarchy(root), 2, weights, devices) is has
    swap = LimitFiles(controller="memory", file="x", controller_v2="memory", files_v2=("memory.swap.max",))
    assert limits(hierarchy(root), 2, swap, devices)


def test_this_host():
    facts = read_host_facts()
    assert facts.cgroup_version == (2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1)
    assert facts.kernel >= (4, 0)
    assert facts.machine


def test_controllers_of_version_1_are_those_of_all_hierarchies(tmp_path):
    found = (*hierarchy(tmp_path, "cpu", "cpuacct"), *hierarchy(tmp_path, "blkio"), *hierarchy(tmp_path))
    assert controllers(found, 1) == {"cpu", "cpuacct", "blkio"}


def test_controllers_of_version_2_go_by_the_older_names(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    assert controllers(hierarchy(tmp_path), 2) == {"cpuset", "cpu", "blkio", "memory", "pids"}
    assert controllers((), 2) == frozenset()
