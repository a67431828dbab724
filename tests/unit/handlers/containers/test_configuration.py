"""Defaults, merging and refusals of a create request."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import EngineError, InvalidParameter
from events.messages.container import (
    ContainerConfig,
    EndpointConfig,
    EndpointIpam,
    HostConfig,
    LogConfig,
    Mount,
    PortBinding,
    RestartPolicy,
    ThrottleDevice,
    Ulimit,
    VolumeDriverConfig,
    VolumeOptions,
    WeightDevice,
)
from events.messages.image import HealthcheckConfig, RunConfig
from handlers.containers.configuration import Names, merge_image, normalise
from handlers.containers.cpu_sets import format_set, parse_set
from handlers.containers.limits import HostLimits
from handlers.containers.port_text import parse_port
from handlers.containers.secrets import split_secrets
from handlers.containers.validation import check_conflicts
from handlers.endpoint_options import IFNAME

LIMITS = HostLimits(cpus=frozenset({0, 1}), hostname="box", ulimits=(Ulimit(name="nofile", soft=1, hard=2),))
ID = "0123456789ab" + "c" * 52


def plan(config=None, host=None, image=None, endpoints=None, limits=LIMITS):
    config = config or ContainerConfig(cmd=("true",))
    return normalise(ID, config, host or HostConfig(), endpoints or {}, image or RunConfig(), limits)


def test_the_requests_own_words_win_over_the_images():
    image = RunConfig(env=("A=1", "B=2"), cmd=("sh",), labels={"x": "1", "y": "1"}, user="1", working_dir="/srv")
    merged = merge_image(ContainerConfig(env=("A=9",), labels={"x": "2"}), image)
    assert merged.env == ("A=9", "B=2")
    assert merged.labels == {"x": "2", "y": "1"}
    assert (merged.cmd, merged.user, merged.working_dir) == (("sh",), "1", "/srv")


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "expected"),
    [
        (None, (), (("/ep",), ("a",))),
        (None, ("b",), (("/ep",), ("b",))),
        (("/own",), (), (("/own",), ())),
        (("",), ("b",), (None, ("b",))),
    ],
)
def test_entrypoint_and_command_combine_as_in_docker(entrypoint, cmd, expected):
    image = RunConfig(entrypoint=("/ep",), cmd=("a",))
    merged = merge_image(ContainerConfig(entrypoint=entrypoint, cmd=cmd), image)
    assert (merged.entrypoint, merged.cmd) == expected


def test_what_the_docker_cli_sends_by_default_is_normalised():
    host = HostConfig(network_mode="default", memory_swappiness=-1, pids_limit=0, oom_kill_disable=False)
    result = plan(host=host).host
    assert (result.network_mode, result.memory_swappiness, result.pids_limit) == ("bridge", None, None)
    assert (result.oom_kill_disable, result.ipc_mode, result.shm_size) == (None, "private", 64 << 20)
    assert result.log_config == LogConfig(type="json-file")
    assert result.restart_policy.name == "no"
    assert [limit.name for limit in result.ulimits] == ["nofile"]
    assert "/proc/kcore" in result.masked_paths


def test_the_hostname_is_the_short_id_or_the_hosts():
    assert plan().config.hostname == "0123456789ab"
    assert plan(host=HostConfig(network_mode="host")).config.hostname == "box"


def test_a_disabled_network_is_none():
    assert plan(ContainerConfig(cmd=("x",), network_disabled=True)).host.network_mode == "none"


def test_hosts_are_written_in_one_way():
    host = HostConfig(extra_hosts=("db=10.0.0.1", "six=::1", "up:host-gateway"))
    assert plan(host=host).host.extra_hosts == ("db:10.0.0.1", "six:::1", "up:host-gateway")


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        (
            EndpointConfig(ipam_config=EndpointIpam(ipv4_address="172.17.0.9")),
            "user specified IP address is supported on user defined networks only",
        ),
        (
            EndpointConfig(ipam_config=EndpointIpam(ipv6_address="fd00::1")),
            "user specified IP address is supported on user defined networks only",
        ),
        (
            EndpointConfig(aliases=("a",)),
            "network-scoped aliases are only supported for user-defined networks",
        ),
        (EndpointConfig(mac_address="zz"), "invalid MAC address zz"),
        (EndpointConfig(driver_opts={IFNAME: "a/b"}), 'invalid interface name "a/b"'),
    ],
)
def test_what_a_network_cannot_give_is_refused(endpoint, text):
    with pytest.raises(InvalidParameter) as refused:
        plan(endpoints={"default": endpoint})
    assert str(refused.value) == f"invalid config for network bridge: invalid endpoint settings:\n{text}"


def test_what_a_network_ignores_is_named():
    found = plan(endpoints={"bridge": EndpointConfig(links=("a:b",), driver_opts={"x": "1", IFNAME: "wire"})})
    assert found.warnings == (
        "links of an endpoint have no effect on network bridge",
        "driver options have no effect on network bridge: x",
    )


@pytest.mark.parametrize(
    ("config", "host", "text"),
    [
        (ContainerConfig(hostname="a"), HostConfig(uts_mode="host"), "hostname and the UTS mode"),
        (ContainerConfig(domainname="a"), HostConfig(uts_mode="host"), "domainname and the UTS mode"),
        (ContainerConfig(mac_address="a"), HostConfig(network_mode="host"), "mac-address and the network mode"),
        (ContainerConfig(hostname="a"), HostConfig(network_mode="container:x"), "hostname and the network mode"),
        (
            ContainerConfig(exposed_ports={"80": {}}),
            HostConfig(network_mode="container:x"),
            "port exposing and the container type network mode",
        ),
        (
            ContainerConfig(),
            HostConfig(network_mode="host", links=("a",)),
            "host type networking can't be used with links. This would result in undefined behavior",
        ),
    ],
)
def test_options_that_exclude_each_other(config, host, text):
    with pytest.raises(InvalidParameter) as refused:
        check_conflicts(config, host)
    assert str(refused.value) == f"conflicting options: {text}"


@pytest.mark.parametrize(
    ("limits", "host", "text"),
    [
        ({}, HostConfig(cpu_realtime_runtime=1), "Your kernel does not support CPU real-time scheduler"),
        (
            {"cpu_realtime": True, "cpu_realtime_runtime_us": 5},
            HostConfig(cpu_realtime_runtime=9, cpu_realtime_period=8),
            "cpu real-time runtime cannot be higher than cpu real-time period",
        ),
        (
            {"systemd_cgroup": True},
            HostConfig(cgroup_parent="/x"),
            'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"',
        ),
        (
            {},
            HostConfig(annotations={"": "x"}),
            "invalid Annotation: the empty string is not permitted as an annotation key",
        ),
    ],
)
def test_what_this_host_cannot_do(limits, host, text):
    config = ContainerConfig(cmd=("x",))
    with pytest.raises(InvalidParameter) as refused:
        normalise(ID, config, host, {}, RunConfig(), msgspec.structs.replace(LIMITS, **limits))
    assert str(refused.value) == text


def test_the_daemons_defaults_fill_what_is_left_open():
    limits = msgspec.structs.replace(LIMITS, ipc_mode="shareable", cgroupns_mode="private")
    made = normalise(ID, ContainerConfig(cmd=("x",)), HostConfig(), {}, RunConfig(), limits).host
    assert (made.ipc_mode, made.cgroupns_mode) == ("shareable", "private")
    own = HostConfig(ipc_mode="host", privileged=True)
    made = normalise(ID, ContainerConfig(cmd=("x",)), own, {}, RunConfig(), limits).host
    assert (made.ipc_mode, made.cgroupns_mode) == ("host", "host")


def test_who_shares_a_network_has_its_names():
    names = Names(hostname="web", domainname="a.test")
    made = normalise(ID, ContainerConfig(cmd=("x",)), HostConfig(), {}, RunConfig(), LIMITS, names).config
    assert (made.hostname, made.domainname) == ("web", "a.test")


def test_privileged_has_nothing_masked():
    assert plan(host=HostConfig(privileged=True)).host.masked_paths == ()


def test_memory_swap_is_twice_the_memory_unless_given():
    assert plan(host=HostConfig(memory=10 << 20)).host.memory_swap == 20 << 20
    assert plan(host=HostConfig(memory=10 << 20, memory_swap=-1)).host.memory_swap == -1
    assert plan(host=HostConfig(memory=2**63 - 1)).host.memory_swap == 2**63 - 1


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (ContainerConfig(), "no command specified"),
        (ContainerConfig(cmd=("x",), env=("=x",)), "invalid environment variable: =x"),
        (
            ContainerConfig(cmd=("x",), working_dir="rel"),
            "the working directory 'rel' is invalid, it needs to be an absolute path",
        ),
        (ContainerConfig(cmd=("x",), stop_signal="FOO"), "invalid signal: FOO"),
        (
            ContainerConfig(cmd=("x",), healthcheck=HealthcheckConfig(interval=1)),
            "Interval in Healthcheck cannot be less than 1ms",
        ),
        (ContainerConfig(cmd=("x",), exposed_ports={"zz": {}}), "invalid JSON: invalid port 'zz': invalid syntax"),
    ],
)
def test_a_bad_configuration_is_refused_in_dockers_words(config, text):
    with pytest.raises(InvalidParameter, match=f"^{text}$"):
        plan(config)


@pytest.mark.parametrize(
    ("host", "text"),
    [
        (HostConfig(memory=1000), "Minimum memory limit allowed is 6MB"),
        (HostConfig(cpuset_cpus="99"), "Requested CPUs are not available - requested 99, available: 0-1"),
        (
            HostConfig(nano_cpus=99 * 10**9),
            "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        ),
        (
            HostConfig(restart_policy=RestartPolicy(name="always"), auto_remove=True),
            "can't create 'AutoRemove' container with restart policy",
        ),
        (
            HostConfig(restart_policy=RestartPolicy(name="foo")),
            (
                "invalid restart policy: unknown policy 'foo'; "
                "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ),
        ),
        (HostConfig(runtime="nosuch"), "unknown or invalid runtime name: nosuch"),
        (HostConfig(console_size=(1, -1)), "ConsoleSize: a terminal's height and width are between 0 and 65535"),
        (
            HostConfig(blkio_device_read_bps=(ThrottleDevice(path="/dev/x", rate=-5),)),
            "invalid block I/O limit of /dev/x: -5 is negative",
        ),
        (
            HostConfig(blkio_weight_device=(WeightDevice(path="/dev/x", weight=5),)),
            "Range of blkio weight is from 10 to 1000",
        ),
        (HostConfig(ipc_mode="foo"), "invalid IPC mode: foo"),
        (HostConfig(extra_hosts=("bad",)), 'bad format for add-host: "bad"'),
        (HostConfig(dns=("bad",)), 'invalid JSON: ParseAddr("bad"): unable to parse IP'),
        (HostConfig(shm_size=-1), "SHM size can not be less than 0"),
        (HostConfig(oom_score_adj=5000), "Invalid value 5000, range for oom score adj is [-1000, 1000]"),
        (HostConfig(security_opt=("foo=bar",)), 'invalid --security-opt 2: "foo=bar"'),
    ],
)
def test_a_bad_host_configuration_is_refused_in_dockers_words(host, text):
    with pytest.raises(EngineError) as refused:
        plan(host=host)
    assert str(refused.value) == text


def test_more_time_of_the_realtime_scheduler_than_containers_may_have_is_named():
    limits = msgspec.structs.replace(LIMITS, cpu_realtime=True, cpu_realtime_runtime_us=5)
    assert plan(host=HostConfig(cpu_realtime_runtime=5), limits=limits).warnings == ()
    (warning,) = plan(host=HostConfig(cpu_realtime_runtime=9), limits=limits).warnings
    assert warning == (
        "the container can't be started: all containers together may have 5 us of the real-time scheduler "
        "(cpu-rt-runtime of the daemon)"
    )


def test_what_is_accepted_without_effect_is_named():
    host = HostConfig(
        network_mode="host",
        port_bindings={"80/tcp": (PortBinding(host_port="80"),)},
    )
    warnings = plan(ContainerConfig(cmd=("x",)), host).warnings
    assert warnings == ("Published ports are discarded when using host network mode",)


def test_nothing_secret_is_left_outside_the_secrets():
    canary = "canary"
    config = ContainerConfig(
        env=(f"A={canary}",),
        cmd=(canary,),
        entrypoint=(canary,),
        healthcheck=HealthcheckConfig(test=("CMD", canary)),
    )
    volume = VolumeOptions(driver_config=VolumeDriverConfig(name="local", options={"o": canary}))
    host = HostConfig(
        log_config=LogConfig(type="json-file", config={"tag": canary}),
        mounts=(Mount(type="volume", source="v", target="/v", volume_options=volume),),
    )
    bare_config, bare_host, secrets = split_secrets(config, host)
    assert canary.encode() not in msgspec.json.encode((bare_config, bare_host))
    assert secrets.env == (f"A={canary}",)
    assert secrets.volume_options == {"/v": {"o": canary}}


@given(st.frozensets(st.integers(0, 200)))
def test_cpu_sets_survive_their_text(members):
    assert parse_set(format_set(members)) == members


@pytest.mark.parametrize(
    ("text", "expected"),
    [("80", (80, 80, "tcp")), ("53/udp", (53, 53, "udp")), ("8000-8010/tcp", (8000, 8010, "tcp"))],
)
def test_ports_are_read(text, expected):
    assert parse_port(text) == expected


@given(st.text())
def test_no_text_is_more_than_an_invalid_port(text):
    try:
        first, last, _ = parse_port(text)
    except InvalidParameter:
        return
    assert 0 <= first <= last <= 65535


@pytest.mark.parametrize(
    ("mode", "endpoints", "text"),
    [
        ("bridge", ("none",), "one of the networks in private \\(none\\) mode"),
        ("none", ("bridge",), "one of the networks in private \\(none\\) mode"),
        ("", ("host",), "connected to host network"),
        ("host", ("bridge",), "connected to host network"),
        ("container:web", ("bridge",), "cannot be connected to any other network"),
    ],
)
def test_networks_that_exclude_each_other(mode, endpoints, text):
    with pytest.raises(InvalidParameter, match=text):
        plan(host=HostConfig(network_mode=mode), endpoints=dict.fromkeys(endpoints, EndpointConfig()))


@pytest.mark.parametrize("mode", ["none", "host", "bridge", "container:web", "default"])
def test_a_network_named_twice_is_one(mode):
    assert plan(host=HostConfig(network_mode=mode), endpoints={mode: EndpointConfig()}).endpoints
