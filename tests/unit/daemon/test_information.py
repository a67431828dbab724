"""What `docker info` says of the host's control groups."""

import pytest

from daemon.information import limits_missing, security_options
from tests.fakes.processes import some_facts


@pytest.mark.parametrize("version", [1, 2])
def test_a_host_with_everything_is_not_warned_of(version):
    assert limits_missing(some_facts(cgroup_version=version)) == ()


def test_what_version_2_lacks_altogether_is_no_warning():
    facts = some_facts(cgroup_version=2, blkio_weight_device=False)
    assert limits_missing(facts) == ("WARNING: No io.weight (per device) support",)
    facts = some_facts(cgroup_version=1, blkio_weight=False, blkio_weight_device=False)
    assert limits_missing(facts) == ()


@pytest.mark.parametrize(
    ("version", "only_there"),
    [
        (1, {"oom kill disable", "blkio throttle.read_bps_device", "blkio throttle.write_iops_device"}),
        (2, {"io.weight", "io.weight (per device)", "io.max (rbps)", "io.max (wiops)"}),
    ],
)
def test_without_controllers_every_limit_is_named(version, only_there):
    facts = some_facts(
        cgroup_version=version,
        controllers=frozenset(),
        swap_limit=False,
        blkio_weight=False,
        blkio_weight_device=False,
    )
    everywhere = {"memory limit", "swap limit", "cpu cfs quota", "cpu cfs period", "cpu shares", "cpuset"}
    found = limits_missing(facts)
    assert {f"WARNING: No {limit} support" for limit in everywhere | only_there} <= set(found)
    assert len(found) == len(everywhere) + {1: 5, 2: 6}[version]


def test_a_version_and_a_module_of_security_are_told():
    facts = some_facts(cgroup_version=2, apparmor=True)
    assert security_options(facts) == ("name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns")
    assert security_options(some_facts(cgroup_version=1)) == ("name=seccomp,profile=builtin",)
