"""Lists and inspections of containers, on states folded from events."""

import pytest

from daemon.shapes.containers import Sizes, inspection, summary
from events.messages import container as c
from events.messages.image import HealthcheckConfig, ImageTagged, ImageUntagged
from events.messages.network import PublishedPort
from events.messages.volume import VolumeReleased
from handlers.layers.decide import container_cache_id
from tests.unit.daemon.story import BRIDGE, BUSYBOX, HOST, IMAGE, SECOND, Story, as_seen

WEB = "a3" * 32

# what dockerd answers for `docker run -d -p 8081:80 ... busybox sleep 600` (keys that clients may rely on)
INSPECT_KEYS = {
    "AppArmorProfile Args Config Created Driver ExecIDs GraphDriver HostConfig HostnamePath HostsPath Id Image",
    "LogPath MountLabel Mounts Name NetworkSettings Path Platform ProcessLabel ResolvConfPath RestartCount State",
}
HOST_KEYS = {
    "AutoRemove Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps BlkioWeight",
    "BlkioWeightDevice CapAdd CapDrop Cgroup CgroupParent CgroupnsMode ConsoleSize ContainerIDFile CpuCount CpuPercent",
    "CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpuShares CpusetCpus CpusetMems DeviceCgroupRules",
    "DeviceRequests Devices Dns DnsOptions DnsSearch ExtraHosts GroupAdd IOMaximumBandwidth IOMaximumIOps IpcMode",
    "Isolation Links LogConfig MaskedPaths Memory MemoryReservation MemorySwap MemorySwappiness NanoCpus NetworkMode",
    "OomKillDisable OomScoreAdj PidMode PidsLimit PortBindings Privileged PublishAllPorts ReadonlyPaths ReadonlyRootfs",
    "RestartPolicy SecurityOpt ShmSize UTSMode Ulimits UsernsMode VolumeDriver VolumesFrom",
}
NULL_WHEN_EMPTY = (
    "Binds CapAdd CapDrop DeviceCgroupRules DeviceRequests ExtraHosts GroupAdd Links SecurityOpt VolumesFrom"
).split()
EMPTY_LISTS = "BlkioDeviceReadBps BlkioWeightDevice Devices Dns DnsOptions DnsSearch Ulimits".split()


def words(lines):
    return {word for line in lines for word in line.split()}


async def web(story, **more):
    await story.predefined_networks()
    await story.image(IMAGE, BUSYBOX, layers=("base", "top"))
    await story.volume("vol1")
    mounts = (
        c.MountPoint(type="volume", name="vol1", driver="local", destination="/data", mode="z"),
        c.MountPoint(type="bind", source="/tmp", destination="/h", mode="ro", writable=False, propagation="rprivate"),
        c.MountPoint(type="tmpfs", destination="/t"),
    )
    config = c.ContainerConfig(
        hostname="a3a3", image="busybox", exposed_ports={"80/tcp": {}, "99/tcp": {}}, labels={"a": "b", "x": "y"}
    )
    bindings: dict[str, tuple[c.PortBinding, ...]] = {"80/tcp": (c.PortBinding(host_port="8081"),)}
    host = c.HostConfig(
        network_mode="bridge",
        binds=("vol1:/data", "/tmp:/h:ro"),
        port_bindings=bindings,
        tmpfs={"/t": "size=1m"},
        log_config=c.LogConfig(type="json-file"),
        annotations={"note": "1"},
        memory=1 << 20,
    )
    secrets = c.ContainerSecrets(env=("PATH=/bin", "KEY=secret"), cmd=("sleep", "600"), log_options={"max-size": "1m"})
    await story.container(WEB, "web", config=config, host=host, secrets=secrets, mounts=mounts, **more)


PORTS = (
    PublishedPort(container_port=80, protocol="tcp", host_address="0.0.0.0", host_port=8081),
    PublishedPort(container_port=80, protocol="tcp", host_address="::", host_port=8081),
)


async def test_a_running_container_is_inspected_in_full():
    story = Story()
    await web(story)
    await story.start(WEB, ports=PORTS)
    shape = as_seen(inspection(story.known(WEB), story.view()))
    assert words(INSPECT_KEYS) <= set(shape)
    assert shape["Name"] == "/web"
    assert (shape["Path"], shape["Args"]) == ("sleep", ["600"])
    assert shape["State"] == {
        "Status": "running",
        "Running": True,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
        "Dead": False,
        "Pid": 4711,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": "2026-11-23T17:00:00Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    }
    assert shape["HostsPath"] == f"/data/containers/{WEB}/hosts"
    assert shape["GraphDriver"]["Data"]["LowerDir"] == "/data/overlay2/cache-top/diff:/data/overlay2/cache-base/diff"
    assert shape["GraphDriver"]["Data"]["UpperDir"] == f"/data/overlay2/{container_cache_id(WEB)}/diff"


async def test_the_apparmor_profile_is_what_was_asked_for_until_the_start_tells_what_it_is():
    story = Story()
    await story.container(WEB, "web", host=c.HostConfig(security_opt=("apparmor=mine",)))
    assert as_seen(inspection(story.known(WEB), story.view()))["AppArmorProfile"] == "mine"
    stream = f"container/{WEB}"
    await story.tell(stream, c.ContainerStartRequested(container_id=WEB, run=1))
    started = c.ContainerStarted(container_id=WEB, pid=1, started_at_ns=1, apparmor_profile="unconfined")
    await story.tell(stream, started)
    assert as_seen(inspection(story.known(WEB), story.view()))["AppArmorProfile"] == "unconfined"


async def test_host_config_is_complete_with_dockers_nulls():
    story = Story()
    await web(story)
    host = as_seen(inspection(story.known(WEB), story.view()))["HostConfig"]
    assert words(HOST_KEYS) <= set(host)
    assert {name for name in NULL_WHEN_EMPTY if host[name] is not None} == {"Binds"}
    assert all(host[name] == [] for name in EMPTY_LISTS)
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m"}}
    assert host["Tmpfs"] == {"/t": "size=1m"}
    assert not {"Mounts", "StorageOpt", "Sysctls", "Init", "KernelMemory"} & set(host)


async def test_config_opens_the_secrets():
    story = Story()
    await web(story)
    config = as_seen(inspection(story.known(WEB), story.view()))["Config"]
    assert config["Env"] == ["PATH=/bin", "KEY=secret"]
    assert config["Cmd"] == ["sleep", "600"]
    assert config["Entrypoint"] is None
    assert config["Volumes"] is None
    assert config["OnBuild"] is None
    assert config["Labels"] == {"a": "b", "x": "y"}
    assert not {"Healthcheck", "StopTimeout", "StopSignal", "Shell", "MacAddress"} & set(config)


async def test_destroyed_secrets_show_as_such():
    story = Story()
    await web(story)
    await story.keyring.destroy(f"container/{WEB}")
    shape = as_seen(inspection(story.known(WEB), story.view()))
    assert shape["Config"]["Env"] == ["(destroyed)"]
    assert shape["Path"] == "(destroyed)"


async def test_networks_ports_and_mounts_of_a_running_container():
    story = Story()
    await web(story)
    await story.start(WEB, ports=PORTS)
    shape = as_seen(inspection(story.known(WEB), story.view()))
    settings = shape["NetworkSettings"]
    bindings = [{"HostIp": "0.0.0.0", "HostPort": "8081"}, {"HostIp": "::", "HostPort": "8081"}]
    assert settings["Ports"] == {"80/tcp": bindings, "99/tcp": None}
    assert settings["IPAddress"] == settings["Networks"]["bridge"]["IPAddress"] == "10.202.77.2"
    assert settings["Networks"]["bridge"]["NetworkID"] == BRIDGE
    assert settings["SandboxKey"] == f"/run/s/netns/{WEB}"
    volume, bind = shape["Mounts"]
    assert volume == {
        "Type": "volume",
        "Name": "vol1",
        "Source": "/data/volumes/vol1/_data",
        "Destination": "/data",
        "Driver": "local",
        "Mode": "z",
        "RW": True,
        "Propagation": "",
    }
    assert bind["Source"] == "/tmp"
    assert bind["RW"] is False
    assert "Name" not in bind


async def test_a_stopped_container_keeps_its_networks_without_addresses():
    story = Story()
    await web(story)
    await story.start(WEB, ports=PORTS)
    await story.die(WEB, 3)
    shape = as_seen(inspection(story.known(WEB), story.view()))
    settings = shape["NetworkSettings"]
    assert settings["Ports"] == {}
    assert settings["SandboxID"] == settings["SandboxKey"] == ""
    assert settings["Networks"]["bridge"]["IPAddress"] == ""
    assert settings["Networks"]["bridge"]["NetworkID"] == BRIDGE
    assert shape["State"]["Pid"] == 0
    assert shape["State"]["ExitCode"] == 3


async def test_a_container_in_anothers_network_has_none():
    story = Story()
    await web(story)
    await story.container("f" * 64, "side", host=c.HostConfig(network_mode=f"container:{WEB}"))
    settings = as_seen(inspection(story.known("f" * 64), story.view()))["NetworkSettings"]
    assert settings["Networks"] == {}


async def test_a_container_on_the_hosts_network_names_it():
    story = Story()
    await web(story)
    await story.container("f" * 64, "side", host=c.HostConfig(network_mode="host"))
    networks = as_seen(inspection(story.known("f" * 64), story.view()))["NetworkSettings"]["Networks"]
    assert networks["host"]["NetworkID"] == HOST


@pytest.mark.parametrize(
    ("version", "present", "absent"),
    [
        ((1, 24), {"KernelMemory"}, {"Annotations"}),
        ((1, 42), set(), {"Annotations", "KernelMemory"}),
        ((1, 43), {"Annotations"}, {"KernelMemory"}),
    ],
)
async def test_host_config_by_version(version, present, absent):
    story = Story()
    await web(story)
    keys = set(as_seen(inspection(story.known(WEB), story.view(version)))["HostConfig"])
    assert present <= keys
    assert not absent & keys


@pytest.mark.parametrize(
    ("version", "present"), [((1, 43), set()), ((1, 44), {"DNSNames"}), ((1, 48), {"DNSNames", "GwPriority"})]
)
async def test_endpoint_settings_by_version(version, present):
    story = Story()
    await web(story)
    bridge = as_seen(inspection(story.known(WEB), story.view(version)))["NetworkSettings"]["Networks"]["bridge"]
    assert {"DNSNames", "GwPriority"} & set(bridge) == present


async def test_asked_addresses_and_aliases_show():
    story = Story()
    asked = c.EndpointConfig(
        ipam_config=c.EndpointIpam(ipv4_address="10.0.0.9"), aliases=("db",), mac_address="02:00:00:00:00:01"
    )
    await story.container(WEB, "web", endpoints={"bridge": asked})
    bridge = as_seen(inspection(story.known(WEB), story.view()))["NetworkSettings"]["Networks"]["bridge"]
    assert bridge["IPAMConfig"]["IPv4Address"] == "10.0.0.9"
    assert bridge["Aliases"] == ["db"]
    assert bridge["MacAddress"] == "02:00:00:00:00:01"


async def test_healthcheck_and_mounts_as_asked():
    story = Story()
    check = HealthcheckConfig(interval=SECOND, start_interval=SECOND)
    driver = c.VolumeDriverConfig(name="local")
    mount = c.Mount(type="volume", target="/v", volume_options=c.VolumeOptions(no_copy=True, driver_config=driver))
    plain = c.Mount(type="bind", source="/x", target="/y", bind_options=c.BindOptions())
    await story.container(
        WEB,
        "web",
        config=c.ContainerConfig(healthcheck=check, stop_timeout=0),
        host=c.HostConfig(network_mode="none", mounts=(mount, plain), init=True),
        secrets=c.ContainerSecrets(
            cmd=("x",), healthcheck_test=("CMD", "true"), volume_options={"/v": {"device": "/dev/sdb"}}
        ),
    )
    shape = as_seen(inspection(story.known(WEB), story.view()))
    assert shape["Config"]["Healthcheck"] == {"Test": ["CMD", "true"], "Interval": SECOND, "StartInterval": SECOND}
    assert shape["Config"]["StopTimeout"] == 0
    assert shape["HostConfig"]["Init"] is True
    options = {"NoCopy": True, "DriverConfig": {"Name": "local", "Options": {"device": "/dev/sdb"}}}
    assert shape["HostConfig"]["Mounts"] == [
        {"Type": "volume", "Target": "/v", "VolumeOptions": options},
        {"Type": "bind", "Source": "/x", "Target": "/y", "BindOptions": {}},
    ]
    old = as_seen(inspection(story.known(WEB), story.view((1, 43))))
    assert "StartInterval" not in old["Config"]["Healthcheck"]


async def test_a_list_entry_is_what_ps_needs():
    story = Story()
    await web(story)
    story.clock.pass_s(10)
    await story.start(WEB, ports=PORTS)
    story.clock.pass_s(65)
    entry = as_seen(summary(story.known(WEB), story.view(), Sizes(read_write=5, root=1005)))
    assert entry["Names"] == ["/web"]
    assert entry["Image"] == "busybox"
    assert entry["ImageID"] == IMAGE
    assert entry["Command"] == "sleep 600"
    assert entry["Created"] == 1795453200
    assert (entry["State"], entry["Status"]) == ("running", "Up About a minute")
    assert (entry["SizeRw"], entry["SizeRootFs"]) == (5, 1005)
    assert entry["HostConfig"] == {"NetworkMode": "bridge", "Annotations": {"note": "1"}}
    assert entry["Ports"] == [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8081, "Type": "tcp"},
        {"IP": "::", "PrivatePort": 80, "PublicPort": 8081, "Type": "tcp"},
        {"PrivatePort": 99, "Type": "tcp"},
    ]
    assert [mount["Destination"] for mount in entry["Mounts"]] == ["/data", "/h"]
    old = summary(story.known(WEB), story.view((1, 45)))
    assert old["HostConfig"] == {"NetworkMode": "bridge"}
    assert "SizeRw" not in old


async def test_words_with_spaces_are_quoted():
    story = Story()
    secrets = c.ContainerSecrets(entrypoint=("sh", "-c"), cmd=("exit 3",))
    await story.container(WEB, "web", secrets=secrets)
    assert summary(story.known(WEB), story.view())["Command"] == "sh -c 'exit 3'"


async def test_an_image_that_lost_its_name_shows_by_id():
    story = Story()
    await web(story)
    assert summary(story.known(WEB), story.view())["Image"] == "busybox"
    await story.image("sha256:" + "2b" * 32, BUSYBOX)
    await story.tell(f"image/{IMAGE}", ImageTagged(image_id=IMAGE, reference="docker.io/other/busybox:latest"))
    await story.tell(f"image/{IMAGE}", ImageUntagged(image_id=IMAGE, reference=BUSYBOX, moved=True))
    assert summary(story.known(WEB), story.view())["Image"] == IMAGE


async def test_states_and_their_words():
    story = Story()
    seen = []

    def note():
        entry = summary(story.known(WEB), story.view())
        seen.append((entry["State"], entry["Status"]))

    await story.container(WEB, "web")
    note()
    await story.start(WEB)
    story.clock.pass_s(300)
    note()
    stream = f"container/{WEB}"
    await story.tell(stream, c.ContainerPauseRequested(container_id=WEB), c.ContainerPaused(container_id=WEB))
    note()
    await story.tell(stream, c.ContainerUnpauseRequested(container_id=WEB), c.ContainerUnpaused(container_id=WEB))
    await story.die(WEB, 137, oom=True)
    story.clock.pass_s(3)
    note()
    await story.tell(stream, c.ContainerRemoveRequested(container_id=WEB, volumes=False))
    note()
    await story.tell(stream, c.ContainerRemoveFailed(container_id=WEB, error="busy"))
    note()
    assert seen == [
        ("created", "Created"),
        ("running", "Up 5 minutes"),
        ("paused", "Up 5 minutes (Paused)"),
        ("exited", "Exited (137) 3 seconds ago"),
        ("removing", "Removal In Progress"),
        ("dead", "Dead"),
    ]
    shape = as_seen(inspection(story.known(WEB), story.view()))["State"]
    assert shape["OOMKilled"] is True
    assert shape["Dead"] is True
    assert shape["Error"] == "busy"


async def test_a_failed_start_leaves_it_created_with_an_exit_code():
    story = Story()
    await story.container(WEB, "web")
    await story.fail_to_start(WEB, "no such file")
    state = as_seen(inspection(story.known(WEB), story.view()))["State"]
    assert (state["Status"], state["ExitCode"], state["Error"]) == ("created", 127, "no such file")


async def test_running_execs_are_listed():
    story = Story()
    await story.container(WEB, "web")
    await story.start(WEB)
    assert inspection(story.known(WEB), story.view())["ExecIDs"] is None
    await story.exec("e1", WEB, "ls")
    await story.exec("e2", WEB, "ls")
    await story.start_exec("e1")
    await story.end_exec("e1")
    assert inspection(story.known(WEB), story.view())["ExecIDs"] == ["e2"]


async def test_a_mount_of_a_removed_volume_still_shows_its_place():
    story = Story()
    mounts = (c.MountPoint(type="volume", name="gone", driver="local", destination="/d"),)
    await story.container(WEB, "web", mounts=mounts)
    await story.tell("volume/gone", VolumeReleased(name="gone", container_id=WEB))
    (mount,) = as_seen(summary(story.known(WEB), story.view()))["Mounts"]
    assert (mount["Name"], mount["Source"], mount["Driver"]) == ("gone", "", "local")
