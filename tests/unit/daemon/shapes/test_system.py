"""Version and info."""

import pytest

from daemon.shapes.information import Component, Information, Registries
from daemon.shapes.system import info_shape, version_shape
from tests.unit.daemon.story import BUSYBOX, IMAGE, NOON, Story, as_seen

FACTS = Information(
    engine_id="id",
    version="0.1.0",
    components=(Component(name="runc", version="1.1.5"),),
    host_name="vm",
    kernel_version="6.18",
    operating_system="Debian",
    architecture="x86_64",
    go_architecture="amd64",
    cpus=2,
    memory_bytes=1 << 30,
    data_root="/data",
    storage_driver="overlay2",
    runtimes={"runc": "/usr/sbin/runc"},
    registries=Registries(insecure_hosts=("reg:5000",), insecure_cidrs=("127.0.0.0/8",), mirrors=("http://m/",)),
    address_pools=(("172.17.0.0/12", 20),),
)


def test_version_tells_the_engine_twice():
    shape = as_seen(version_shape(FACTS))
    engine, runc = shape["Components"]
    assert engine["Details"]["ApiVersion"] == shape["ApiVersion"] == "1.51"
    assert engine["Details"]["MinAPIVersion"] == shape["MinAPIVersion"] == "1.24"
    assert (runc["Name"], runc["Version"]) == ("runc", "1.1.5")
    assert (shape["Version"], shape["Os"], shape["Arch"]) == ("0.1.0", "linux", "amd64")


async def test_info_counts_by_status():
    story = Story()
    await story.image(IMAGE, BUSYBOX)
    for number in range(3):
        await story.container(f"{number}" * 64, f"c{number}")
    await story.start("0" * 64)
    await story.start("1" * 64)
    await story.die("1" * 64)
    shape = as_seen(info_shape(FACTS, story.state, NOON, 1, (1, 51)))
    assert (shape["Containers"], shape["ContainersRunning"], shape["ContainersPaused"]) == (3, 1, 0)
    assert (shape["ContainersStopped"], shape["Images"], shape["NEventsListener"]) == (2, 1, 1)
    assert shape["SystemTime"] == "2026-11-23T17:00:00Z"
    assert shape["Swarm"]["LocalNodeState"] == "inactive"
    assert shape["Runtimes"] == {"runc": {"path": "/usr/sbin/runc"}}
    assert shape["DefaultAddressPools"] == [{"Base": "172.17.0.0/12", "Size": 20}]
    assert shape["RegistryConfig"]["IndexConfigs"]["reg:5000"]["Secure"] is False
    assert shape["Warnings"] is None


@pytest.mark.parametrize(
    ("version", "present", "absent"),
    [
        ((1, 46), {"BridgeNfIptables"}, {"FirewallBackend"}),
        ((1, 49), {"BridgeNfIptables", "FirewallBackend"}, set()),
        ((1, 50), {"FirewallBackend"}, {"BridgeNfIptables"}),
    ],
)
def test_info_by_version(version, present, absent):
    shape = as_seen(info_shape(FACTS, Story().state, NOON, 0, version))
    assert present <= set(shape)
    assert not absent & set(shape)
    expected = shape["RuncCommit"].get("Expected")
    assert expected == ("1.1.5" if version < (1, 49) else None)
    assert ("AllowNondistributableArtifactsCIDRs" in shape["RegistryConfig"]) == (version < (1, 47))
