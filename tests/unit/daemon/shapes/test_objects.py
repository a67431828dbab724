"""Images, volumes, networks and execs as clients see them."""

import msgspec
import pytest

from daemon.shapes import images, networks, volumes
from daemon.shapes.execs import inspection as exec_inspection
from daemon.shapes.layout import Layout
from events.messages.exec import ExecConfig
from events.messages.image import HealthcheckConfig, History, ImageCommitted, ImageConfig, RootFilesystem, RunConfig
from events.messages.volume import VolumeAcquired, VolumeCreated, VolumeCreateRequested
from tests.unit.daemon.story import BRIDGE, BUSYBOX, IMAGE, LAYOUT, Story, as_seen

WEB = "a3" * 32
CONFIG = ImageConfig(
    created="2026-11-23T16:00:00.5Z",
    os="linux",
    architecture="arm64",
    variant="v8",
    author="me",
    config=RunConfig(env=("PATH=/bin",), cmd=("sh",), labels={"a": "b"}),
    rootfs=RootFilesystem(diff_ids=("sha256:x", "sha256:y")),
    history=(
        History(created="2026-11-23T15:00:00Z", created_by="ADD rootfs", comment="first"),
        History(created="2026-11-23T15:30:00Z", created_by="ENV PATH=/bin", empty_layer=True),
        History(created="2026-11-23T16:00:00Z", created_by="RUN make", comment="last"),
    ),
)


async def story_with_image(*references):
    story = Story()
    await story.image(IMAGE, *references, config=CONFIG, layers=("base", "top"), size=1000)
    found = story.state.images.get(IMAGE)
    assert found is not None
    return story, found


async def test_an_image_is_inspected():
    story, image = await story_with_image(BUSYBOX, "reg:5000/a/b:1")
    shape = as_seen(images.inspection(image, story.state, LAYOUT, (1, 51)))
    assert shape["RepoTags"] == ["busybox:latest", "reg:5000/a/b:1"]
    assert shape["RepoDigests"] == []
    assert shape["Created"] == "2026-11-23T16:00:00.5Z"
    assert (shape["Architecture"], shape["Variant"], shape["Os"]) == ("arm64", "v8", "linux")
    assert shape["Comment"] == "last"
    assert shape["RootFS"] == {"Type": "layers", "Layers": ["sha256:x", "sha256:y"]}
    assert shape["Metadata"] == {"LastTagTime": "2026-11-23T17:00:00Z"}
    assert shape["GraphDriver"] == {
        "Name": "overlay2",
        "Data": {
            "LowerDir": "/data/overlay2/cache-base/diff",
            "MergedDir": "/data/overlay2/cache-top/merged",
            "UpperDir": "/data/overlay2/cache-top/diff",
            "WorkDir": "/data/overlay2/cache-top/work",
        },
    }
    assert not {"VirtualSize", "Container", "ContainerConfig"} & set(shape)
    assert "Hostname" not in shape["Config"]


async def test_an_image_by_version():
    story, image = await story_with_image(BUSYBOX)
    at_1_44 = images.inspection(image, story.state, LAYOUT, (1, 44))
    at_1_43 = images.inspection(image, story.state, LAYOUT, (1, 43))
    assert "Container" in at_1_44
    assert "VirtualSize" not in at_1_44
    assert at_1_43["VirtualSize"] == 1000
    config = as_seen(images.inspection(image, story.state, LAYOUT, (1, 49)))["Config"]
    assert config["Hostname"] == ""
    assert (config["Env"], config["Entrypoint"], config["Labels"]) == (["PATH=/bin"], None, {"a": "b"})


async def test_an_images_health_check_is_told_without_what_it_leaves_open():
    story = Story()
    check = HealthcheckConfig(test=("CMD", "true"), interval=5, start_interval=2)
    await story.image(IMAGE, config=ImageConfig(config=RunConfig(healthcheck=check)))
    image = story.state.images.get(IMAGE)
    assert image is not None
    now = as_seen(images.inspection(image, story.state, LAYOUT, (1, 51)))
    assert now["Config"]["Healthcheck"] == {"Test": ["CMD", "true"], "Interval": 5, "StartInterval": 2}
    before = as_seen(images.inspection(image, story.state, LAYOUT, (1, 43)))
    assert before["Config"]["Healthcheck"] == {"Test": ["CMD", "true"], "Interval": 5}


async def test_an_image_without_a_date():
    story = Story()
    await story.image(IMAGE, config=ImageConfig())
    image = story.state.images.get(IMAGE)
    assert image is not None
    assert "Created" not in images.inspection(image, story.state, LAYOUT, (1, 44))
    assert images.inspection(image, story.state, LAYOUT, (1, 43))["Created"] == "0001-01-01T00:00:00Z"
    assert images.history(image, story.state) == []


async def test_history_is_newest_first_with_the_layers_sizes():
    story, image = await story_with_image(BUSYBOX)
    newest, env, oldest = images.history(image, story.state)
    assert (newest["Id"], newest["Tags"], newest["Size"]) == (IMAGE, ["busybox:latest"], 500)
    assert (env["Id"], env["Tags"], env["Size"]) == ("<missing>", None, 0)
    assert (oldest["CreatedBy"], oldest["Size"], oldest["Comment"]) == ("ADD rootfs", 500, "first")


async def test_history_names_what_an_image_was_made_of():
    story, image = await story_with_image(BUSYBOX)
    history = (*image.config.history, History(created_by="touch", created="2026-11-23T17:00:00Z"))
    config = msgspec.structs.replace(CONFIG, history=history, parent=IMAGE)
    await story.image("sha256:" + "2b" * 32, config=config, origin="commit")
    upon = story.state.images.get("sha256:" + "2b" * 32)
    assert upon is not None
    found = [(line["Id"], line["Tags"]) for line in images.history(upon, story.state)]
    assert found[:3] == [(upon.id, None), (IMAGE, ["busybox:latest"]), ("<missing>", None)]
    assert images.inspection(upon, story.state, LAYOUT, (1, 51))["Parent"] == IMAGE


@pytest.mark.parametrize("version", [(1, 41), (1, 51)])
async def test_a_committed_image_tells_of_its_container(version):
    story, _ = await story_with_image(BUSYBOX)
    config = ImageConfig(parent=IMAGE, container=WEB)
    await story.image("sha256:" + "2b" * 32, config=config, origin="commit")
    committed = ImageCommitted(image_id="sha256:" + "2b" * 32, container_id=WEB, container_image="busybox")
    await story.tell("image/sha256:" + "2b" * 32, committed)
    upon = story.state.images.get("sha256:" + "2b" * 32)
    assert upon is not None
    shape = as_seen(images.inspection(upon, story.state, LAYOUT, version))
    assert (shape["Container"], shape["ContainerConfig"]["Image"]) == (WEB, "busybox")


@pytest.mark.parametrize(
    ("version", "tags", "digests"),
    [((1, 42), ["<none>:<none>"], ["<none>@<none>"]), ((1, 43), [], [])],
)
async def test_an_image_without_names_in_a_list(version, tags, digests):
    story, image = await story_with_image()
    entry = images.summary(image, story.state, -1, version)
    assert (entry["RepoTags"], entry["RepoDigests"]) == (tags, digests)


async def test_digests_are_apart_from_tags():
    digest = "sha256:" + "0f" * 32
    story, image = await story_with_image(BUSYBOX, f"docker.io/library/busybox@{digest}")
    entry = images.summary(image, story.state, 2, (1, 51))
    assert entry["RepoTags"] == ["busybox:latest"]
    assert entry["RepoDigests"] == [f"busybox@{digest}"]
    assert (entry["Containers"], entry["Created"], entry["Labels"]) == (2, 1795449600, {"a": "b"})


def test_other_drivers_tell_no_directories():
    layout = Layout(data_root="/d", exec_root="/r", storage_driver="vfs")
    assert layout.graph("x", ()) == {"Name": "vfs", "Data": None}
    assert layout.upper_directory("x") == ""


async def test_a_volume_opens_its_options():
    story = Story()
    sealed = await story.keyring.seal("volume/v", msgspec.json.encode({"type": "nfs"}))
    await story.tell("volume/v", VolumeCreateRequested(name="v", driver="local", options=sealed))
    await story.tell("volume/v", VolumeCreated(name="v", mountpoint="/m"), VolumeAcquired(name="v", container_id=WEB))
    volume = story.state.volumes.get("v")
    assert volume is not None
    assert volumes.shape(volume, story.keyring) == {
        "CreatedAt": "2026-11-23T17:00:00Z",
        "Driver": "local",
        "Labels": None,
        "Mountpoint": "/m",
        "Name": "v",
        "Options": {"type": "nfs"},
        "Scope": "local",
    }
    usage = volumes.shape(volume, story.keyring, volumes.Usage(size_bytes=7))["UsageData"]
    assert usage == {"RefCount": 1, "Size": 7}
    await story.keyring.destroy("volume/v")
    assert volumes.shape(volume, story.keyring)["Options"] == {"(destroyed)": ""}


async def test_a_network_lists_its_containers():
    story = Story()
    await story.predefined_networks()
    await story.container(WEB, "web")
    await story.start(WEB)
    bridge = story.state.networks.get(BRIDGE)
    assert bridge is not None
    shape = networks.inspection(bridge, story.state, (1, 51))
    assert shape["IPAM"] == {
        "Driver": "default",
        "Options": None,
        "Config": [{"Subnet": "10.202.77.0/24", "Gateway": "10.202.77.1"}],
    }
    assert shape["Containers"] == {
        WEB: {
            "Name": "web",
            "EndpointID": "e" * 64,
            "MacAddress": "02:42:0a:ca:4d:02",
            "IPv4Address": "10.202.77.2/24",
            "IPv6Address": "",
        }
    }
    assert "EnableIPv4" not in networks.summary(bridge, (1, 47))
    assert networks.summary(bridge, (1, 48))["Containers"] == {}


async def test_an_exec_through_its_life():
    story = Story()
    await story.container(WEB, "web")
    await story.start(WEB)
    await story.exec("e1", WEB, "sh", "-c", "exit 3", config=ExecConfig(user="nobody", attach_stdout=True))

    def shape():
        process = story.state.execs.get("e1")
        assert process is not None
        return as_seen(exec_inspection(process, story.keyring))

    created = shape()
    assert created["ProcessConfig"] == {
        "tty": False,
        "entrypoint": "sh",
        "arguments": ["-c", "exit 3"],
        "privileged": False,
        "user": "nobody",
    }
    assert (created["Running"], created["ExitCode"], created["Pid"]) == (False, None, 0)
    assert (created["OpenStdin"], created["OpenStdout"], created["OpenStderr"]) == (False, True, False)
    await story.start_exec("e1")
    assert (shape()["Running"], shape()["ExitCode"], shape()["Pid"]) == (True, None, 99)
    await story.end_exec("e1", 3)
    assert (shape()["Running"], shape()["ExitCode"]) == (False, 3)
    await story.keyring.destroy(f"container/{WEB}")
    assert shape()["ProcessConfig"]["entrypoint"] == "(destroyed)"
