"""Limits, devices, environment: the pure decisions."""

import pytest

from events.errors import InvalidParameter
from events.messages.container import HostConfig, ThrottleDevice, Ulimit, WeightDevice
from handlers.exec import cgroup_resources, devices, environment, process_limits
from handlers.exec.oci import DeviceRule, Resources
from tests.fakes.processes import some_facts


def limits(facts=None, **fields) -> Resources:
    return cgroup_resources.build(HostConfig(**fields), facts or some_facts(), (), lambda _: (8, 1)).resources


def warnings(facts, **fields) -> tuple[str, ...]:
    return cgroup_resources.build(HostConfig(**fields), facts, (), lambda _: (8, 1)).warnings


def test_nothing_asked_is_nothing_limited():
    assert limits() == Resources()
    assert limits(pids_limit=0, memory_swappiness=-1, oom_kill_disable=False) == Resources()
    assert limits(pids_limit=-1) == Resources()


def test_memory_and_swap():
    memory = limits(memory=100, memory_reservation=50).memory
    assert memory is not None
    assert (memory.limit, memory.reservation, memory.swap) == (100, 50, 200)
    memory = limits(memory=100, memory_swap=-1).memory
    assert memory is not None
    assert memory.swap == -1
    memory = limits(some_facts(swap_limit=False), memory=100).memory
    assert memory is not None
    assert memory.swap is None
    assert "without swap" in warnings(some_facts(swap_limit=False), memory=100, memory_swap=200)[0]


def test_what_version_2_does_not_know_is_left_out_with_a_word():
    old = limits(some_facts(cgroup_version=1), memory_swappiness=5, oom_kill_disable=True).memory
    assert old is not None
    assert (old.swappiness, old.disable_oom_killer) == (5, True)
    assert limits(memory_swappiness=5, oom_kill_disable=True).memory is None
    assert len(warnings(some_facts(), memory_swappiness=5, oom_kill_disable=True)) == 2


def test_cpus_are_a_share_of_a_tenth_of_a_second():
    cpu = limits(nano_cpus=1_500_000_000, cpu_shares=7, cpuset_cpus="0-1", cpuset_mems="0").cpu
    assert cpu is not None
    assert (cpu.quota, cpu.period, cpu.shares, cpu.cpus, cpu.mems) == (150_000, 100_000, 7, "0-1", "0")
    cpu = limits(cpu_quota=5000, cpu_period=10000).cpu
    assert cpu is not None
    assert (cpu.quota, cpu.period) == (5000, 10000)


def test_block_devices():
    block = limits(
        blkio_weight=300,
        blkio_weight_device=(WeightDevice(path="/dev/sda", weight=20),),
        blkio_device_read_bps=(ThrottleDevice(path="/dev/sda", rate=1024),),
        blkio_device_write_iops=(ThrottleDevice(path="/dev/sda", rate=9),),
    ).block_io
    assert block is not None
    assert block.weight == 300
    assert (block.weight_device[0].major, block.weight_device[0].minor, block.weight_device[0].weight) == (8, 1, 20)
    assert block.throttle_read_bps_device[0].rate == 1024
    assert block.throttle_write_iops_device[0].rate == 9
    without = some_facts(blkio_weight=False)
    assert limits(without, blkio_weight=300).block_io is None
    assert "Weight discarded" in warnings(without, blkio_weight=300)[0]
    without = some_facts(blkio_weight_device=False)
    assert limits(without, blkio_weight_device=(WeightDevice(path="/dev/sda", weight=20),)).block_io is None
    assert (
        "Weight-device discarded"
        in warnings(without, blkio_weight=300, blkio_weight_device=(WeightDevice(path="/dev/sda", weight=20),))[0]
    )


def test_limits_of_a_process_are_cut_to_the_engines_own():
    given = (Ulimit(name="nofile", soft=10, hard=30000), Ulimit(name="core", soft=-1, hard=-1))
    (files, core), words = process_limits.rlimits(given, some_facts())
    assert (files.type, files.soft, files.hard) == ("RLIMIT_NOFILE", 10, 20000)
    assert core.hard == 2**64 - 1
    assert words == ("ulimit nofile: the engine may give 20000 at most, not 30000",)
    mighty = some_facts(bounding_capabilities=("CAP_SYS_RESOURCE",))
    assert process_limits.rlimits(given, mighty)[0][0].hard == 30000


@pytest.mark.parametrize(("ulimit", "words"), [
    (Ulimit(name="nosuch", soft=1, hard=1), "invalid ulimit type: nosuch"),
    (Ulimit(name="nofile", soft=5, hard=1), "less than or equal to hard limit: 5 > 1"),
])  # fmt: skip
def test_limits_that_make_no_sense(ulimit, words):
    with pytest.raises(InvalidParameter, match=words):
        process_limits.rlimits((ulimit,), some_facts())


def test_the_oom_score_is_not_lowered_below_the_engines_own():
    assert process_limits.oom_score(500, some_facts()) == (500, ())
    assert process_limits.oom_score(0, some_facts(oom_score_adj=-500)) == (0, ())
    assert process_limits.oom_score(0, some_facts(oom_score_adj=100)) == (None, ())
    score, words = process_limits.oom_score(-5, some_facts(oom_score_adj=100))
    assert score == 100
    assert words == ("oom-score-adj: the engine may give 100 at least, not -5",)


def test_device_rules_deny_first():
    found = devices.rules((), ("b 8:* rw",), privileged=False)
    assert not found[0].allow
    assert found[-1] == DeviceRule(allow=True, type="b", major=8, minor=None, access="rw")
    assert devices.rules((), (), privileged=True) == (DeviceRule(allow=True, access="rwm"),)


@pytest.mark.parametrize("text", ["", "x 1:2 r", "c 1 r", "c 1:2 x", "c 1:2", "c 1:2 rwmr"])
def test_a_device_rule_that_makes_no_sense(text):
    with pytest.raises(InvalidParameter, match="invalid device cgroup rule format"):
        devices.parse_rule(text)


def test_of_two_devices_in_one_place_the_last_counts():
    one, other = (devices.HostDevice(path="/dev/x", type="c", major=1, minor=number, mode=0o600) for number in (3, 5))
    assert [node.minor for node in devices.nodes((one, other))] == [5]


def test_variables_are_replaced_in_place_appended_and_removed():
    found = environment.build(
        ("PATH=/p", "A=1", "HOSTNAME"), ("A=2", "B=", "HOME=/h"), hostname="box", home="/root", terminal=True
    )
    assert found == ("PATH=/p", "TERM=xterm", "A=2", "B=", "HOME=/h")
    assert environment.build(hostname="box", home="/", terminal=False)[1:] == ("HOSTNAME=box", "HOME=/")


EVERYTHING = HostConfig(
    memory=64,
    memory_swap=128,
    memory_reservation=32,
    memory_swappiness=5,
    oom_kill_disable=True,
    pids_limit=9,
    cpu_shares=7,
    cpu_quota=5000,
    cpuset_cpus="0",
    blkio_device_read_bps=(ThrottleDevice(path="/dev/sda", rate=1),),
    blkio_device_write_iops=(ThrottleDevice(path="/dev/sda", rate=1),),
)


@pytest.mark.parametrize("version", [1, 2])
def test_what_no_controller_can_limit_is_left_out_with_a_word(version):
    facts = some_facts(cgroup_version=version, controllers=frozenset())
    built = cgroup_resources.build(EVERYTHING, facts, (), lambda _: (8, 1))
    assert built.resources == Resources()
    assert len(built.warnings) == 10
    assert all(warning.startswith("Your kernel does not support ") for warning in built.warnings)


@pytest.mark.parametrize("version", [1, 2])
def test_nothing_asked_is_nothing_warned_of(version):
    facts = some_facts(cgroup_version=version, controllers=frozenset())
    assert cgroup_resources.build(HostConfig(), facts, (), lambda _: (8, 1)).warnings == ()


def test_cpus_are_refused_where_they_cannot_be_had():
    with pytest.raises(InvalidParameter, match="NanoCPUs can not be set"):
        limits(some_facts(controllers=frozenset({"memory"})), nano_cpus=10**9)


def test_real_time_goes_to_the_runtime():
    cpu = limits(cpu_realtime_period=1000, cpu_realtime_runtime=500).cpu
    assert cpu is not None
    assert (cpu.realtime_period, cpu.realtime_runtime) == (1000, 500)
