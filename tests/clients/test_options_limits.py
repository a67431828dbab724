"""Options of resources: what the control group and the process are limited to, seen in the kernel.

The files are those of whichever version of control groups the host has.
"""

from pathlib import Path

import pytest

from handlers.kernel import cgroups
from tests.clients.options import created, refusal, run
from tests.clients.raw import RawClient
from tests.engines import remove_cgroups

pytestmark = pytest.mark.root
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def client(engine):
    with RawClient(engine.socket) as connection:
        yield connection


class Group:
    """The control group of a running container."""

    def __init__(self, engine, name: str) -> None:
        self.found = cgroups.hierarchies()
        self.version = cgroups.version(self.found)
        self.directories = cgroups.of_process(engine.inspect(name)["State"]["Pid"], self.found).directories

    def place(self, controller: str) -> Path:
        """Its directory in a controller's hierarchy."""
        return Path(self.directories["" if self.version == 2 else controller])

    def read(self, v1: str, v2: str) -> str:
        """A file, told as `controller/file` for each version."""
        controller, _, name = v1.partition("/")
        return (self.place(controller) / (v2 if self.version == 2 else name)).read_text().strip()


@pytest.fixture(scope="module")
def group(engine):
    """The group of a container with many limits; what doesn't fit together is tested elsewhere."""
    device = block_device()
    throttles = [
        *("--device-read-bps", f"{device}:4mb", "--device-write-bps", f"{device}:5mb"),
        *("--device-read-iops", f"{device}:600", "--device-write-iops", f"{device}:700"),
    ]
    engine.docker(
        "run", "-d", "--name", "limited", "--memory", "64m", "--memory-swap", "96m", "--memory-reservation", "32m",
        "--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0", "--cpuset-mems", "0", "--pids-limit", "33",
        *throttles, "busybox", "sleep", "600",
    )  # fmt: skip
    yield Group(engine, "limited")
    engine.docker("rm", "-f", "limited")


def block_device() -> str:
    """A disk of the host."""
    names = sorted(path.name for path in Path("/sys/block").iterdir() if (Path("/dev") / path.name).is_block_device())
    disks = [name for name in names if not name.startswith(("loop", "ram", "zram"))] or names
    return f"/dev/{disks[0]}"


def test_memory(group):
    assert group.read("memory/memory.limit_in_bytes", "memory.max") == str(64 * MEBIBYTE)
    assert group.read("memory/memory.soft_limit_in_bytes", "memory.low") == str(32 * MEBIBYTE)
    swap = {1: 96, 2: 32}[group.version]  # v1 counts memory and swap together
    assert group.read("memory/memory.memsw.limit_in_bytes", "memory.swap.max") == str(swap * MEBIBYTE)


def test_processors(group):
    assert group.read("cpuset/cpuset.cpus", "cpuset.cpus") == "0"
    assert group.read("cpuset/cpuset.mems", "cpuset.mems") == "0"
    if group.version == 2:
        assert group.read("", "cpu.max") == "50000 100000"
        assert group.read("", "cpu.weight") == "20"
    else:
        assert group.read("cpu/cpu.cfs_quota_us", "") == "50000"
        assert group.read("cpu/cpu.cfs_period_us", "") == "100000"
        assert group.read("cpu/cpu.shares", "") == "512"


def test_processes(group):
    assert group.read("pids/pids.max", "pids.max") == "33"


def test_block_devices(group):
    if group.version == 2:
        line = group.read("", "io.max")
        assert all(word in line for word in ("rbps=4194304", "wbps=5242880", "riops=600", "wiops=700"))
        return
    for name, value in (("read_bps", 4194304), ("write_bps", 5242880), ("read_iops", 600), ("write_iops", 700)):
        assert group.read(f"blkio/blkio.throttle.{name}_device", "").endswith(f" {value}")


def test_quota_and_period_by_themselves(engine):
    engine.docker(
        "run", "-d", "--name", "half", "--cpu-quota", "20000", "--cpu-period", "50000", "busybox", "sleep", "600"
    )
    group = Group(engine, "half")
    if group.version == 2:
        assert group.read("", "cpu.max") == "20000 50000"
    else:
        assert group.read("cpu/cpu.cfs_quota_us", "") == "20000"
        assert group.read("cpu/cpu.cfs_period_us", "") == "50000"
    engine.docker("rm", "-f", "half")


def test_memory_without_a_limit_of_swap(engine):
    engine.docker("run", "-d", "--name", "swaps", "--memory", "32m", "--memory-swap", "-1", "busybox", "sleep", "600")
    group = Group(engine, "swaps")
    assert engine.inspect("swaps")["HostConfig"]["MemorySwap"] == -1
    unlimited = group.read("memory/memory.memsw.limit_in_bytes", "memory.swap.max")
    assert unlimited == "max" or int(unlimited) > 2**60
    engine.docker("rm", "-f", "swaps")


def test_swappiness_and_the_kernels_killer(engine):
    """Only version 1 has them; with version 2 both are warned of."""
    done = engine.docker(
        "run", "-d", "--name", "patient", "--memory", "32m", "--memory-swappiness", "7", "--oom-kill-disable",
        "busybox", "sleep", "600",
    )  # fmt: skip
    group = Group(engine, "patient")
    if group.version == 2:
        assert b"Memory swappiness discarded" in done.stderr
        assert b"OomKillDisable discarded" in done.stderr
    else:
        assert group.read("memory/memory.swappiness", "") == "7"
        assert "oom_kill_disable 1" in group.read("memory/memory.oom_control", "")
    engine.docker("rm", "-f", "patient")


def test_a_parent_of_ones_own(engine):
    parent = f"/{engine.instance}-parent"
    engine.docker("run", "-d", "--name", "child", "--cgroup-parent", parent, "busybox", "sleep", "600")
    identity = engine.inspect("child")["Id"]
    assert str(Group(engine, "child").place("memory")).endswith(f"{parent}/{identity}")
    engine.docker("rm", "-f", "child")
    remove_cgroups(parent)


def test_the_weight_of_block_devices_is_given_or_warned_of(engine):
    device = block_device()
    done = engine.docker(
        "run", "-d", "--name", "light", "--blkio-weight", "300", "--blkio-weight-device", f"{device}:200",
        "busybox", "sleep", "600",
    )  # fmt: skip
    group = Group(engine, "light")
    weights = {  # what 300 of 10..1000 is there: io.weight goes from 1 to 10000
        "blkio.weight": "300",
        "blkio.bfq.weight": "300",
        "io.bfq.weight": "300",
        "io.weight": str(1 + (300 - 10) * 9999 // 990),
    }
    places = {group.place("blkio") / name: weight for name, weight in weights.items()}
    seen = [(path.read_text().split(), weight) for path, weight in places.items() if path.exists()]
    given = [weight for words, weight in seen if weight in words]
    assert given or b"Block I/O weight or the cgroup is not mounted. Weight discarded." in done.stderr
    assert any("200" in words for words, _ in seen) or b"Weight-device discarded." in done.stderr
    engine.docker("rm", "-f", "light")


# ---- limits of the process


def test_limits_of_a_process(engine):
    script = "cat /proc/self/limits"
    seen = run(
        engine, "--ulimit", "nofile=1000:2000", "--ulimit", "core=0", "--ulimit", "nproc=99", "--ulimit", "cpu=60:70",
        "--ulimit", "fsize=1000000", "--ulimit", "stack=1048576:2097152", script=script,
    ).splitlines()  # fmt: skip
    limits = {line[:26].strip(): line[26:].split()[:2] for line in seen}
    assert limits["Max open files"] == ["1000", "2000"]
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max processes"] == ["99", "99"]
    assert limits["Max cpu time"] == ["60", "70"]
    assert limits["Max file size"] == ["1000000", "1000000"]
    assert limits["Max stack size"] == ["1048576", "2097152"]


def test_a_limit_above_the_engines_own_is_cut_and_told(engine, client):
    """Unless the engine may raise limits. What is asked for is the most that the kernel gives anybody."""
    asked = int(Path("/proc/sys/fs/nr_open").read_text())
    script = "cat /proc/self/limits"
    done = engine.docker("run", "--rm", "--ulimit", f"nofile=64:{asked}", "busybox", "sh", "-c", script)
    (line,) = [line for line in done.stdout.decode().splitlines() if line.startswith("Max open files")]
    soft, hard = line[26:].split()[:2]
    assert soft == "64"
    shown, warnings = created(client, {"HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 64, "Hard": asked}]}})
    assert shown["HostConfig"]["Ulimits"] == [{"Name": "nofile", "Soft": 64, "Hard": asked}]
    if int(hard) != asked:
        assert warnings == [f"ulimit nofile: the engine may give {hard} at most, not {asked}"]


def test_out_of_memory_is_told_as_137(engine):
    script = "head -c 100m /dev/zero | tail"
    engine.docker(
        "run", "--name", "greedy", "--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c",
        f"exec {script}", check=False,
    )  # fmt: skip
    assert engine.inspect("greedy")["State"]["OOMKilled"] is True
    engine.docker("rm", "greedy")
    done = engine.docker(
        "run", "--name", "greedy", "--memory", "16m", "--memory-swap", "16m", "busybox",
        "dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1", check=False,
    )  # fmt: skip
    state = engine.inspect("greedy")["State"]
    assert (done.returncode, state["ExitCode"], state["OOMKilled"]) == (137, 137, True)
    engine.docker("rm", "greedy")


# ---- refusals


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--memory", "1m"), "Minimum memory limit allowed is 6MB"),
        (("--memory", "8m", "--memory-swap", "7m"), "Minimum memoryswap limit should be larger than memory limit"),
        (("--memory-swap", "8m"), "You should always set the Memory limit when using Memoryswap limit, see usage"),
        (("--memory", "8m", "--memory-reservation", "9m"), "can not be less than memory reservation limit, see usage"),
        (("--memory-reservation", "1m"), "Minimum memory reservation allowed is 6MB"),
        (("--cpus", "1", "--cpu-quota", "5000"), "Conflicting options: Nano CPUs and CPU Quota cannot both be set."),
        (("--cpu-quota", "10"), "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        (("--cpu-period", "10"), "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s"),
        (("--cpuset-cpus", "0-a"), "Invalid value 0-a for cpuset cpus"),
        (("--cpuset-cpus", "4095"), "Requested CPUs are not available - requested 4095, available: "),
        (("--cpuset-mems", "63"), "Requested memory nodes are not available - requested 63, available: "),
        (("--blkio-weight", "5"), "Range of blkio weight is from 10 to 1000"),
        (("--oom-score-adj", "1001"), "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
        (
            ("--shm-size", "1", "--cgroup-parent", "x", "--ulimit", "nofile=5:6", "--memory", "1"),
            "Minimum memory limit",
        ),
        (("--storage-opt", "size=1G"), "--storage-opt"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_a_limit_that_cannot_be(engine, options, text):
    assert text in refusal(engine, *options)


def test_a_limit_of_a_device_that_is_not_there(engine):
    assert "/dev/nosuch" in refusal(engine, "--device-read-bps", "/dev/nosuch:1mb", status=127)


def test_what_has_no_effect_is_named(client):
    _, warnings = created(client, {"HostConfig": {"KernelMemory": 64 * MEBIBYTE, "CpuCount": 1, "CpuPercent": 5}})
    assert warnings == [
        "kernel memory limits have no effect: Linux has none since 5.4",
        "CpuCount has no effect: it is for Windows only",
        "CpuPercent has no effect: it is for Windows only",
    ]


def test_time_of_the_realtime_scheduler_that_nobody_gave(engine):
    said = refusal(engine, "--cpu-rt-runtime", "1000")
    assert "Your kernel does not support CPU real-time scheduler" in said or (
        "may have 0 us" in said and "cpu.rt_runtime_us" in said  # a warning of it, then what the kernel says
    )


def test_inspect_shows_the_limits_as_they_were_given(client):
    device = block_device()
    host = {
        "Memory": 64 * MEBIBYTE, "MemorySwap": 96 * MEBIBYTE, "MemoryReservation": 32 * MEBIBYTE,
        "CpuShares": 512, "CpuQuota": 20000, "CpuPeriod": 50000, "CpusetCpus": "0", "CpusetMems": "0",
        "PidsLimit": 33, "BlkioDeviceReadBps": [{"Path": device, "Rate": 1}],
        "BlkioDeviceWriteIOps": [{"Path": device, "Rate": 2}], "OomScoreAdj": 5, "CgroupParent": "/x", "ShmSize": 4096,
    }  # fmt: skip
    shown, warnings = created(client, {"HostConfig": host})
    assert warnings == []
    assert {name: shown["HostConfig"][name] for name in host} == host
