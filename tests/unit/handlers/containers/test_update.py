"""What an update makes of a configuration."""

import msgspec
import pytest

from events.errors import InvalidParameter
from events.messages import container as m
from handlers.containers.limits import HostLimits
from handlers.containers.update import CannotUpdate, changed
from handlers.containers.validation import check_update
from tests.unit.handlers.containers.test_decide import container

LIMITS = HostLimits(cpus=frozenset({0, 1}))
MIB = 2**20


def with_host(**fields):
    return msgspec.structs.replace(container("running"), host=m.HostConfig(**fields))


def test_what_is_not_named_stays():
    c = with_host(
        memory=64 * MIB, memory_swap=128 * MIB, cpu_shares=512, pids_limit=10, restart_policy=m.RestartPolicy(name="no")
    )
    assert changed(c, m.Changes()) == c.host
    after = changed(c, m.Changes(memory=32 * MIB, restart_policy=m.RestartPolicy(name="always")))
    assert (after.memory, after.memory_swap, after.cpu_shares, after.restart_policy.name) == (
        32 * MIB,
        128 * MIB,
        512,
        "always",
    )


@pytest.mark.parametrize(("asked", "limit"), [(None, 10), (0, None), (-1, None), (7, 7)])
def test_a_limit_of_processes_can_go(asked, limit):
    assert changed(with_host(pids_limit=10), m.Changes(pids_limit=asked)).pids_limit == limit


@pytest.mark.parametrize(
    ("host", "changes", "text"),
    [
        ({"cpu_period": 1000}, {"nano_cpus": 10**9}, "Nano CPUs cannot be updated as CPU Period has already been set"),
        ({"nano_cpus": 10**9}, {"cpu_quota": 1000}, "CPU Quota cannot be updated as NanoCPUs has already been set"),
        ({"memory": MIB, "memory_swap": 2 * MIB}, {"memory": 3 * MIB}, "update the memoryswap at the same time"),
        ({"auto_remove": True}, {"restart_policy": m.RestartPolicy(name="always")}, "AutoRemove is enabled"),
    ],
)
def test_what_does_not_go_together(host, changes, text):
    with pytest.raises(CannotUpdate, match=text):
        changed(with_host(**host), m.Changes(**changes))


def test_unlimited_swap_is_no_limit_for_memory():
    assert changed(with_host(memory=MIB, memory_swap=-1), m.Changes(memory=3 * MIB)).memory == 3 * MIB


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"memory": 1}, "Minimum memory limit allowed is 6MB"),
        ({"nano_cpus": 64 * 10**9}, "range of CPUs"),
        ({"cpuset_cpus": "9"}, "Requested CPUs are not available"),
        ({"blkio_weight": 5}, "Range of blkio weight is from 10 to 1000"),
        ({"restart_policy": m.RestartPolicy(name="foo")}, "unknown policy 'foo'"),
    ],
)
def test_what_no_container_can_have(changes, text):
    with pytest.raises(InvalidParameter, match=text):
        check_update(m.Changes(**changes), LIMITS)
