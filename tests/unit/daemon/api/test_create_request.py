"""Create bodies as clients were recorded to send them."""

import json

import pytest

from daemon.api.bodies import read_create
from daemon.api.create_request import create_command, idle_fields
from events.errors import InvalidParameter
from events.messages.container import BindOptions, ContainerConfig, HostConfig, PortBinding, RestartPolicy
from tests.unit.daemon.api.support import WireRequest

# docker CLI 28.2: `docker run -d --name c3 --network n1 busybox sleep 100`
FROM_CLI = """{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,
"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":["sleep","100"],"Image":"busybox","Volumes":{},
"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{},"HostConfig":{"Binds":null,"ContainerIDFile":"",
"LogConfig":{"Type":"","Config":{}},"NetworkMode":"n1","PortBindings":{},"RestartPolicy":{"Name":"no",
"MaximumRetryCount":0},"AutoRemove":false,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,
"CapDrop":null,"CgroupnsMode":"","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,
"IpcMode":"","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,
"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,
"Memory":0,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],
"BlkioDeviceWriteBps":[],"BlkioDeviceReadIOps":[],"BlkioDeviceWriteIOps":[],"CpuPeriod":0,"CpuQuota":0,
"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":[],"DeviceCgroupRules":null,
"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":-1,"OomKillDisable":false,
"PidsLimit":0,"Ulimits":[],"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":null,
"ReadonlyPaths":null},"NetworkingConfig":{"EndpointsConfig":{}}}"""

# docker compose 2.26, shortened
FROM_COMPOSE = """{"AttachStdout":true,"ExposedPorts":{"80/tcp":{}},"Cmd":["sh","-c","echo hello"],"Volumes":null,
"Healthcheck":{"Test":["CMD","true"],"Interval":1000000000},"Image":"busybox","Labels":{"com.docker.compose.project":
"cmp"},"HostConfig":{"Binds":null,"LogConfig":{"Type":"","Config":null},"NetworkMode":"cmp_front","PortBindings":
{"80/tcp":[{"HostIp":"","HostPort":"8099"}]},"RestartPolicy":{"Name":"","MaximumRetryCount":0},"ExtraHosts":[],
"Mounts":[{"Type":"volume","Source":"data","Target":"/d","VolumeOptions":{}}]},"NetworkingConfig":
{"EndpointsConfig":{"cmp_front":{"IPAMConfig":null,"Links":null,"Aliases":["cmp-web-1","web"],"MacAddress":"",
"NetworkID":"","EndpointID":"","Gateway":"","IPAddress":"","IPPrefixLen":0,"DriverOpts":null}}}}"""

UNFIT = "invalid JSON: json: cannot unmarshal"


async def command(body, version=(1, 51), name="", platform=""):
    raw = body if isinstance(body, str) else json.dumps(body)
    read = await read_create(WireRequest("POST", "/containers/create", raw.encode()))
    return create_command(read, name, platform, version)


async def test_the_clis_body():
    asked = await command(FROM_CLI, name="c3", platform="linux/amd64")
    assert (asked.name, asked.platform) == ("c3", "linux/amd64")
    assert asked.config == ContainerConfig(image="busybox", cmd=("sleep", "100"))
    assert asked.host == HostConfig(
        network_mode="n1",
        restart_policy=RestartPolicy(name="no"),
        memory_swappiness=-1,
        oom_kill_disable=False,
        pids_limit=0,
    )
    assert asked.endpoints == {}


async def test_composes_body():
    asked = await command(FROM_COMPOSE)
    assert asked.config.exposed_ports == {"80/tcp": {}}
    assert asked.config.healthcheck is not None
    assert asked.config.healthcheck.interval == 10**9
    assert asked.host.port_bindings == {"80/tcp": (PortBinding(host_port="8099"),)}
    assert asked.host.mounts[0].volume_options is not None
    assert asked.endpoints["cmp_front"].aliases == ("cmp-web-1", "web")


async def test_the_default_network_as_the_cli_asks_for_it():
    asked = await command({"Image": "x", "NetworkingConfig": {"EndpointsConfig": {"default": {}}}})
    assert list(asked.endpoints) == ["default"]


async def test_commands_may_be_one_string():
    asked = await command({"Image": "x", "Cmd": "ls", "Entrypoint": "sh"})
    assert (asked.config.cmd, asked.config.entrypoint) == (("ls",), ("sh",))
    asked = await command({"Image": "x", "Entrypoint": []})
    assert asked.config.entrypoint == ()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("", "invalid JSON: got EOF while reading request body"),
        ("{}", "config cannot be empty in order to create a container"),
        ('{"HostConfig":{}}', "config cannot be empty in order to create a container"),
        ("{bad", "invalid JSON: invalid character 'b' looking for beginning of object key string"),
        ('{"Image":"busybox"} x', "unexpected content after JSON"),
        (
            '{"Image":5}',
            f"{UNFIT} number into Go struct field CreateRequest.Config.Image of type string",
        ),
        (
            '{"Image":"b","HostConfig":{"Binds":"x"}}',
            f"{UNFIT} string into Go struct field CreateRequest.HostConfig.Binds of type []string",
        ),
    ],
)
async def test_bodies_that_cannot_be(body, text):
    with pytest.raises(InvalidParameter) as caught:
        await command(body)
    assert str(caught.value) == text


BIND = {"Type": "bind", "Source": "/a", "Target": "/b"}
BIND_OPTIONS = {"NonRecursive": True, "CreateMountpoint": True, "ReadOnlyForceRecursive": True}


async def with_bind(version):
    asked = await command({"Image": "x", "HostConfig": {"Mounts": [BIND | {"BindOptions": BIND_OPTIONS}]}}, version)
    return asked.host.mounts[0].bind_options


async def test_bind_options_by_version():
    everything = BindOptions(non_recursive=True, create_mountpoint=True, read_only_force_recursive=True)
    plain = BindOptions(non_recursive=True, create_mountpoint=True, read_only_non_recursive=True)
    assert await with_bind((1, 44)) == everything
    assert await with_bind((1, 43)) == plain
    assert await with_bind((1, 41)) == BindOptions(non_recursive=True, read_only_non_recursive=True)
    assert await with_bind((1, 39)) == BindOptions(read_only_non_recursive=True)


@pytest.mark.parametrize(
    ("version", "ipc", "cgroupns", "annotations", "size", "platform"),
    [
        ((1, 24), "shareable", "host", {}, (0, 0), ""),
        ((1, 40), "", "host", {}, (0, 0), ""),
        ((1, 41), "", "", {}, (0, 0), "linux"),
        ((1, 42), "", "", {}, (24, 80), "linux"),
        ((1, 43), "", "", {"k": "v"}, (24, 80), "linux"),
    ],
)
async def test_the_host_part_by_version(version, ipc, cgroupns, annotations, size, platform):
    body = {"Image": "x", "HostConfig": {"Annotations": {"k": "v"}, "ConsoleSize": [24, 80]}}
    asked = await command(body, version, platform="linux")
    host = asked.host
    assert (host.ipc_mode, host.cgroupns_mode, host.annotations) == (ipc, cgroupns, annotations)
    assert (host.console_size, asked.platform) == (size, platform)


async def test_endpoints_by_version():
    networks = {"a": {"MacAddress": "02:00:00:00:00:01", "GwPriority": 3}}
    body = {"Image": "x", "NetworkingConfig": {"EndpointsConfig": networks}}
    new, middle, old = [(await command(body, version)).endpoints["a"] for version in ((1, 48), (1, 44), (1, 43))]
    assert (new.mac_address, new.gw_priority) == ("02:00:00:00:00:01", 3)
    assert (middle.mac_address, middle.gw_priority) == ("02:00:00:00:00:01", 0)
    assert (old.mac_address, old.gw_priority) == ("", 0)
    both = {"Image": "x", "NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}}
    assert len((await command(both, (1, 44))).endpoints) == 2
    with pytest.raises(InvalidParameter, match="multiple network endpoints: a, b"):
        await command(both, (1, 43))


async def test_probes_and_subpaths_by_version():
    body = {"Image": "x", "Healthcheck": {"StartInterval": 10**9}}
    new, old = (await command(body, (1, 44))).config.healthcheck, (await command(body, (1, 43))).config.healthcheck
    assert new is not None
    assert old is not None
    assert (new.start_interval, old.start_interval) == (10**9, 0)
    mounts = [{"Type": "volume", "Target": "/v", "VolumeOptions": {"Subpath": "a"}}]
    body = {"Image": "x", "HostConfig": {"Mounts": mounts}}
    assert (await command(body, (1, 45))).host.mounts[0].volume_options is not None
    with pytest.raises(InvalidParameter, match="Subpath needs API"):
        await command(body, (1, 44))


async def test_fields_without_an_effect_are_named():
    body = {"Image": "x", "HostConfig": {"KernelMemory": 9, "KernelMemoryTCP": 9, "CpuCount": 1, "IOMaximumIOps": 2}}
    read = await read_create(WireRequest("POST", "/containers/create", json.dumps(body).encode()))
    assert idle_fields(read.host_config) == (
        "kernel memory limits have no effect: Linux has none since 5.4",
        "CpuCount has no effect: it is for Windows only",
        "IOMaximumIOps has no effect: it is for Windows only",
    )
    assert create_command(read, "", "", (1, 51)).host == HostConfig()
