"""Endpoints: what they decode, send and answer."""

import json
import re

import msgspec
import pytest

from daemon.api.routes import TABLE
from daemon.http.errors import PageNotFound
from events.envelope import Actor
from events.errors import Conflict, Forbidden, InvalidParameter, NotFound, Unavailable, Unsupported
from events.messages import container as c
from events.messages import image as i
from events.messages import layer as y
from events.messages import volume as v
from events.messages.exec import CreatedExec, CreateExec, ExecConfig, ResizeExec, StartExec
from tests.unit.daemon.api.support import Api, WireRequest
from tests.unit.daemon.story import BUSYBOX, CLIENT, IMAGE, NOON, Story

WEB, DB = "a3" * 32, "b4" * 32


async def running():
    story = Story()
    await story.predefined_networks()
    await story.image(IMAGE, BUSYBOX, layers=("base",))
    await story.container(WEB, "web")
    await story.start(WEB)
    await story.container(DB, "db")
    return Api(story)


async def refused(api, error, method, target, body=None):
    with pytest.raises(error) as caught:
        await api.send(method, target, body)
    return str(caught.value)


# ---- the engine


async def test_ping():
    api = Api(Story())
    answer = await api.send("GET", "/_ping")
    assert (answer.body, answer.content_type) == (b"OK", "text/plain; charset=utf-8")
    assert answer.headers["Builder-Version"] == "1"
    assert answer.headers["Swarm"] == "inactive"
    head = await api.send("HEAD", "/_ping")
    assert head.body == b""
    assert head.headers == answer.headers


async def test_version_and_info_and_usage():
    api = await running()
    assert (await api.get("/v1.24/version"))["ApiVersion"] == "1.51"
    assert (await api.get("/info"))["ContainersRunning"] == 1
    usage = await api.get("/system/df")
    assert (usage["LayersSize"], usage["Images"][0]["Containers"]) == (500, 0)
    assert [entry["SizeRw"] for entry in usage["Containers"]] == [5, 5]
    only = await api.get("/v1.42/system/df?type=image")
    assert only["Images"]
    assert only["Containers"] is None
    assert "BuilderSize" in await api.get("/v1.41/system/df?type=nonsense")
    assert await refused(api, InvalidParameter, "GET", "/system/df?type=x") == "unknown object type: x"


async def test_usage_of_volumes():
    api = await running()
    await api.story.volume("v")
    (volume,) = (await api.get("/system/df?type=volume"))["Volumes"]
    assert volume["UsageData"] == {"RefCount": 0, "Size": 7}


@pytest.mark.parametrize("path", ["/swarm", "/nodes", "/nodes/x", "/services", "/tasks", "/secrets", "/configs/x"])
async def test_no_swarm(path):
    assert "not a swarm manager" in await refused(Api(Story()), Unavailable, "GET", path)


async def test_unknown_pages():
    for method, path in (
        ("GET", "/nonsense"),
        ("POST", "/version"),
        ("GET", "/build"),
        ("POST", "/containers/x/stats"),
        ("GET", "/containers/x/nonsense"),
    ):
        with pytest.raises(PageNotFound):
            await Api(Story()).send(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/build/cancel"),
        ("DELETE", "/containers/web/checkpoints/c"),
        ("POST", "/plugins/vieux/sshfs/enable"),
        ("POST", "/swarm/init"),
    ],
)
async def test_what_docker_has_and_this_engine_does_not_yet(method, path):
    assert await refused(await running(), Unsupported, method, path) == f"{method} {path} is not supported yet"


def test_every_route_stands_once():
    rows = [(method, pattern) for method, pattern, _ in TABLE]
    assert len(rows) == len(set(rows))


# ---- commands and who sends them


async def test_a_command_carries_its_caller_and_the_answer_names_it():
    api = await running()
    answer = await api.send("POST", "/containers/web/start")
    assert answer.status == 204
    assert api.desk.taken == [c.StartContainer(container="web")]
    (command_id,) = api.desk.ids
    assert answer.headers == {"X-Shiplog-Command": command_id}
    (cause,) = api.desk.causes
    assert (cause.actor, cause.command_id, cause.correlation_id) == (CLIENT, command_id, command_id)
    assert api.desk.deadlines[0] > NOON


async def send_with_key(api, target, key, actor=CLIENT):
    await api.call(WireRequest("POST", target, headers={"idempotency-key": key}, actor=actor))
    return api.desk.ids[-1]


async def test_the_same_key_is_the_same_command():
    api = await running()
    first = await send_with_key(api, "/containers/web/start", "k1")
    assert await send_with_key(api, "/containers/web/start", "k1") == first
    others = {
        await send_with_key(api, "/containers/web/start", "k2"),
        await send_with_key(api, "/containers/web/start", "k1", Actor(kind="unix", uid=0)),
        await send_with_key(api, "/containers/web/start", "k1", Actor(kind="tls", subject="CN=a")),
        await send_with_key(api, "/containers/web/start", "k1", Actor(kind="tls", subject="CN=b")),
    }
    assert len(others | {first}) == 5
    assert all(re.fullmatch("key-[0-9a-f]{64}", command_id) for command_id in others)


@pytest.mark.parametrize(
    ("method", "target", "command"),
    [
        ("POST", "/containers/web/start", c.StartContainer(container="web")),
        ("POST", "/containers/web/stop", c.StopContainer(container="web")),
        ("POST", "/containers/web/stop?t=3&signal=HUP", c.StopContainer(container="web", timeout_s=3, signal="HUP")),
        ("POST", "/v1.41/containers/web/stop?t=-1&signal=HUP", c.StopContainer(container="web", timeout_s=-1)),
        ("POST", "/containers/web/restart?t=0", c.RestartContainer(container="web", timeout_s=0)),
        ("POST", "/containers/web/kill", c.KillContainer(container="web")),
        ("POST", "/containers/web/kill?signal=USR1", c.KillContainer(container="web", signal="USR1")),
        ("POST", "/containers/web/pause", c.PauseContainer(container="web")),
        ("POST", "/containers/web/unpause", c.UnpauseContainer(container="web")),
        ("POST", "/containers/web/rename?name=x", c.RenameContainer(container="web", name="x")),
        ("POST", "/containers//web/rename?name=", c.RenameContainer(container="/web", name="")),
        ("DELETE", "/containers/web?v=1&force=true", c.RemoveContainer(container="web", force=True, volumes=True)),
        ("DELETE", "/containers/web?v=0", c.RemoveContainer(container="web")),
        ("DELETE", "/volumes/a?force=1", v.RemoveVolume(name="a", force=True)),
    ],
)
async def test_changes_without_an_answer(method, target, command):
    api = await running()
    answer = await api.send(method, target)
    assert (answer.status, answer.body) == (204, b"")
    assert api.desk.taken == [command]


async def test_stops_leave_the_bound_to_their_timeout():
    api = await running()
    await api.send("POST", "/containers/web/stop?t=100000")
    assert api.desk.deadlines == [0]


async def test_start_refuses_a_body():
    api = await running()
    text = "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
    assert await refused(api, InvalidParameter, "POST", "/containers/web/start", {"a": "bcdefgh"}) == text
    assert (await api.send("POST", "/containers/web/start", {})).status == 204
    assert "checkpoint" in await refused(api, Unsupported, "POST", "/containers/web/start?checkpoint=x")


async def test_bad_numbers():
    api = await running()
    assert await refused(api, InvalidParameter, "POST", "/containers/web/stop?t=x") == (
        'strconv.Atoi: parsing "x": invalid syntax'
    )
    assert await refused(api, InvalidParameter, "GET", "/containers/json?limit=x") == (
        'strconv.Atoi: parsing "x": invalid syntax'
    )
    assert await refused(api, InvalidParameter, "POST", "/containers/web/resize?w=1") == (
        'strconv.Atoi: parsing "": invalid syntax'
    )
    assert "between 0 and 65535" in await refused(api, InvalidParameter, "POST", "/containers/web/resize?h=70000&w=1")


async def test_resize():
    api = await running()
    answer = await api.send("POST", "/containers/web/resize?h=24&w=80")
    assert answer.status == 200
    assert api.desk.taken == [c.ResizeContainer(container="web", height=24, width=80)]


# ---- containers


async def test_create():
    api = await running()

    async def create(command):
        return c.CreatedContainer(container_id="new", warnings=("careful",))

    api.desk.agree(c.CreateContainer, create)
    answer = await api.send("POST", "/containers/create?name=n", {"Image": "busybox"})
    assert answer.status == 201
    assert json.loads(answer.body) == {"Id": "new", "Warnings": ["careful"]}
    assert api.desk.taken[0].name == "n"


async def test_list_and_inspect():
    api = await running()
    assert [entry["Names"] for entry in await api.get("/containers/json")] == [["/web"]]
    everything = await api.get("/containers/json?all=1&size=1")
    assert [(entry["Names"][0], entry["SizeRw"], entry["SizeRootFs"]) for entry in everything] == [
        ("/db", 5, 1005),
        ("/web", 5, 1005),
    ]
    for name in ("web", "/web", WEB, WEB[:5]):
        assert (await api.get(f"/containers/{name}/json"))["Id"] == WEB
    assert "SizeRw" not in await api.get("/containers/web/json")
    assert (await api.get("/containers/web/json?size=1"))["SizeRw"] == 5
    assert await refused(api, NotFound, "GET", "/containers/nope/json") == "No such container: nope"
    assert await refused(api, InvalidParameter, "GET", "/containers/json?filters={") == "invalid filter"
    unknown = await refused(api, InvalidParameter, "GET", '/containers/json?filters={"foo":["x"]}')
    assert unknown == "invalid filter 'foo'"


async def test_ambiguous_prefixes():
    api = await running()
    await api.story.container("a3" + "00" * 31, "third")
    text = await refused(api, InvalidParameter, "GET", "/containers/a3/json")
    assert text == "multiple IDs found with provided prefix: a3"


async def test_removing_a_link():
    assert "default link name" in await refused(await running(), Conflict, "DELETE", "/containers/web?link=1")


async def test_prune_containers_takes_only_what_is_idle():
    api = await running()

    async def remove(command):
        await api.story.remove(command.container)

    api.desk.agree(c.RemoveContainer, remove)
    answer = json.loads((await api.send("POST", "/containers/prune")).body)
    assert answer == {"ContainersDeleted": [DB], "SpaceReclaimed": 5}
    answer = json.loads((await api.send("POST", "/containers/prune")).body)
    assert answer == {"ContainersDeleted": None, "SpaceReclaimed": 0}


async def test_prune_leaves_out_what_was_started_meanwhile():
    api = await running()

    async def remove(command):
        raise Conflict("it runs")

    api.desk.agree(c.RemoveContainer, remove)
    assert json.loads((await api.send("POST", "/containers/prune")).body)["ContainersDeleted"] is None


# ---- execs


async def test_exec_create():
    api = await running()

    async def create(command):
        return CreatedExec(exec_id="e1")

    api.desk.agree(CreateExec, create)
    body = {"Cmd": ["ls"], "Env": None, "AttachStdout": True, "Tty": True, "ConsoleSize": [24, 80], "User": "me"}
    answer = await api.send("POST", "/containers/web/exec", body)
    assert (answer.status, json.loads(answer.body)) == (201, {"Id": "e1"})
    config = ExecConfig(user="me", tty=True, attach_stdout=True, console_size=(24, 80))
    assert api.desk.taken == [CreateExec(container="web", config=config, cmd=("ls",))]
    await api.send("POST", "/v1.41/containers/web/exec", body)
    assert api.desk.taken[1].config.console_size == (0, 0)
    keys = await refused(api, InvalidParameter, "POST", "/containers/web/exec", body | {"DetachKeys": "zz-zz"})
    assert keys == "Invalid detach keys (zz-zz) provided"
    await refused(api, InvalidParameter, "POST", "/containers/web/exec", {"Cmd": "ls"})


async def test_exec_detached_resized_and_inspected():
    api = await running()
    await api.story.exec("e1", WEB, "ls")
    answer = await api.send("POST", "/exec/e1/start", {"Detach": True})
    assert (answer.status, answer.body) == (200, b"")
    await api.send("POST", "/exec/e1/resize?h=1&w=2")
    assert api.desk.taken == [StartExec(exec_id="e1", detach=True), ResizeExec(exec_id="e1", height=1, width=2)]
    assert (await api.get("/exec/e1/json"))["ContainerID"] == WEB
    for method, path in (("GET", "/exec/no/json"), ("POST", "/exec/no/start"), ("POST", "/exec/no/resize?h=1&w=1")):
        assert await refused(api, NotFound, method, path) == "No such exec instance: no"


async def test_an_exec_runs_once():
    api = await running()
    await api.story.exec("e1", WEB, "ls")
    await api.story.start_exec("e1")
    text = await refused(api, Conflict, "POST", "/exec/e1/start", {"Detach": False})
    assert text == "Error: Exec command e1 is already running"
    await api.story.end_exec("e1")
    text = await refused(api, Conflict, "POST", "/exec/e1/start", {"Detach": False})
    assert text == "Error: Exec command e1 has already run"


# ---- images


async def test_images():
    api = await running()
    (entry,) = await api.get("/images/json")
    assert (entry["RepoTags"], entry["Containers"], entry["SharedSize"]) == (["busybox:latest"], 0, -1)
    (entry,) = await api.get("/v1.50/images/json?shared-size=1")
    assert (entry["Containers"], entry["SharedSize"]) == (-1, 0)
    assert (await api.get("/images/docker.io/library/busybox/json"))["Id"] == IMAGE
    assert await api.get("/images/busybox/history") == []
    assert await refused(api, NotFound, "GET", "/images/nope/json") == "No such image: nope:latest"


async def test_tag_normalises_names():
    api = await running()
    answer = await api.send("POST", "/images/busybox/tag?repo=docker.io%2Flibrary%2Fbb2&tag=x".replace("%2F", "/"))
    assert (answer.status, answer.body) == (201, b"")
    assert api.desk.taken == [i.TagImage(source="busybox", reference="docker.io/library/bb2:x")]
    text = await refused(api, InvalidParameter, "POST", "/images/busybox/tag?repo=A")
    assert text == "invalid reference format: repository name (library/A) must be lowercase"


async def test_remove_tells_in_order():
    api = await running()

    async def remove(command):
        return i.RemovedImage(untagged=("busybox:latest",), deleted=("sha256:1", "sha256:2"))

    api.desk.agree(i.RemoveImage, remove)
    answer = await api.send("DELETE", "/images/reg:5000/a?force=1&noprune=1")
    assert json.loads(answer.body) == [
        {"Untagged": "busybox:latest"},
        {"Deleted": "sha256:1"},
        {"Deleted": "sha256:2"},
    ]
    assert api.desk.taken == [i.RemoveImage(name="reg:5000/a", force=True, prune=False)]


def objects(answer):
    return [msgspec.json.decode(line) for line in answer.body.splitlines()]


async def test_load_spools_the_body_and_removes_it(tmp_path):
    api = Api(Story(), tmp_path)
    seen: list[bytes] = []

    async def load(command):
        seen.extend(path.read_bytes() for path in tmp_path.iterdir())
        return i.LoadedImages(lines=("Loaded image: busybox:latest", "Loaded image ID: sha256:x"))

    api.desk.agree(i.LoadImages, load)
    answer = await api.send("POST", "/images/load?quiet=1", b"tar", **{"content-type": "application/x-tar"})
    assert seen == [b"tar"]
    assert objects(answer) == [
        {"stream": "Loaded image: busybox:latest\n"},
        {"stream": "Loaded image ID: sha256:x\n"},
    ]
    assert list(tmp_path.iterdir()) == []


async def test_a_bad_archive_is_told_in_the_stream(tmp_path):
    api = Api(Story(), tmp_path)

    async def load(command):
        raise InvalidParameter("unexpected EOF")

    api.desk.agree(i.LoadImages, load)
    answer = await api.send("POST", "/images/load", b"junk")
    assert answer.status == 200
    assert objects(answer) == [{"errorDetail": {"message": "unexpected EOF"}, "error": "unexpected EOF"}]
    assert list(tmp_path.iterdir()) == []


async def test_import(tmp_path):
    api = Api(Story(), tmp_path)

    async def take(command):
        return i.ImportedImage(image_id=IMAGE)

    api.desk.agree(i.ImportImage, take)
    query = "fromSrc=-&repo=x/y&tag=1&message=m&changes=CMD+ls&changes=USER+a&platform=linux"
    answer = await api.send("POST", f"/images/create?{query}", b"tar")
    assert objects(answer) == [{"status": IMAGE}]
    (command,) = api.desk.taken
    assert isinstance(command, i.ImportImage)
    expected = i.ImportImage(
        path=command.path,
        source="-",
        reference="docker.io/x/y:1",
        message="m",
        changes=("CMD ls", "USER a"),
        platform="linux",
    )
    assert command == expected


async def test_what_can_not_be_pulled():
    api = Api(Story())
    text = await refused(api, InvalidParameter, "POST", "/images/create?fromSrc=file:///etc/passwd")
    assert text == 'Get "file:///etc/passwd": unsupported protocol scheme "file"'
    text = await refused(api, InvalidParameter, "POST", "/images/create?fromImage=Bad!")
    assert text == "invalid reference format: repository name (library/Bad!) must be lowercase"


def platform(architecture="amd64", **more):
    return json.dumps({"os": "linux", "architecture": architecture} | more)


@pytest.mark.parametrize("what", ["json", "history"])
async def test_an_image_of_another_platform_is_not_there(what):
    api = await running()
    assert await api.get(f"/images/busybox/{what}?platform={platform()}") is not None
    text = await refused(api, NotFound, "GET", f"/images/busybox/{what}?platform={platform('arm64', variant='v8')}")
    assert text == (
        "image with reference busybox was found but its platform (linux/amd64) "
        "does not match the specified platform (linux/arm64/v8)"
    )
    assert await api.get(f"/v1.47/images/busybox/{what}?platform={platform('arm64')}") is not None


@pytest.mark.parametrize(
    ("sent", "text"), [("{", "failed to parse platform"), ('{"os":"linux"}', "both OS and Architecture must be")]
)
async def test_what_is_no_platform(sent, text):
    api = await running()
    for method, path in (("GET", "busybox/json?platform"), ("DELETE", "busybox?platforms"), ("POST", "load?platform")):
        assert text in await refused(api, InvalidParameter, method, f"/images/{path}={sent}")
    assert api.desk.taken == []


async def test_removals_and_loads_of_other_platforms_are_refused():
    api = await running()
    target = f"/images/busybox?platforms={platform()}&platforms={platform('arm64')}"
    assert "does not match the specified platform (linux/arm64)" in await refused(
        api, InvalidParameter, "DELETE", target
    )
    text = await refused(api, Unsupported, "POST", f"/images/load?platform={platform('s390x')}")
    assert text.startswith("loading images for linux/s390x is not supported yet")
    assert api.desk.taken == []


async def test_a_layer_is_shared_by_images_not_by_whoever_reads_it():
    api = await running()
    one, other = "sha256:" + "3c" * 32, "sha256:" + "4d" * 32
    await api.story.image(one, layers=("low", "high"))
    await api.story.tell("layer/low", y.LayerHeld(chain_id="low", holder=f"{y.READING}1"))

    async def shared():
        found = await api.get("/v1.50/images/json?shared-size=1")
        return {entry["Id"]: entry["SharedSize"] for entry in found}[one]

    assert await shared() == 0
    await api.story.image(other, layers=("low",))
    assert await shared() == 500
    usage = await api.get("/v1.50/system/df")
    assert usage["LayersSize"] == 1500
    assert {entry["Id"]: entry["SharedSize"] for entry in usage["Images"]}[other] == 500


async def test_prune_images_takes_the_nameless_unless_told():
    api = await running()
    nameless = "sha256:" + "3c" * 32
    await api.story.image(nameless, layers=("low", "high"))

    async def remove(command):
        await api.story.tell(f"image/{command.image_id}", i.ImageRemoved(image_id=command.image_id))
        return i.RemovedImage(deleted=(command.image_id, *(("high",) if command.dangling else ())))

    api.desk.agree(i.PruneImage, remove)
    answer = json.loads((await api.send("POST", "/images/prune")).body)
    assert answer == {"ImagesDeleted": [{"Deleted": nameless}, {"Deleted": "high"}], "SpaceReclaimed": 500}
    answer = json.loads((await api.send("POST", '/images/prune?filters={"dangling":["false"]}')).body)
    assert answer == {"ImagesDeleted": [{"Deleted": IMAGE}], "SpaceReclaimed": 0}


# ---- volumes and networks


async def test_volumes():
    api = Api(Story())

    async def create(command):
        await api.story.volume(command.name or "f" * 64)
        return v.CreatedVolume(name=command.name or "f" * 64, created=True)

    api.desk.agree(v.CreateVolume, create)
    answer = await api.send("POST", "/volumes/create", {"Name": "v1", "DriverOpts": {"o": "x"}, "Labels": None})
    assert (answer.status, json.loads(answer.body)["Name"]) == (201, "v1")
    assert api.desk.taken == [v.CreateVolume(name="v1", driver="local", options={"o": "x"})]
    listed = await api.get("/volumes")
    assert ([volume["Name"] for volume in listed["Volumes"]], listed["Warnings"]) == (["v1"], None)
    assert (await api.get("/volumes/v1"))["Mountpoint"] == "/data/volumes/v1/_data"
    assert await refused(api, NotFound, "GET", "/volumes/zz") == "get zz: no such volume"


@pytest.mark.parametrize(
    ("path", "gone"),
    [("/volumes/prune", ["anonymous"]), ('/volumes/prune?filters={"all":["1"]}', ["anonymous", "named"]),
     ("/v1.41/volumes/prune", ["anonymous", "named"])],
)  # fmt: skip
async def test_prune_volumes(path, gone):
    api = Api(Story())
    await api.story.volume("anonymous", anonymous=True)
    await api.story.volume("named")
    await api.story.volume("used", anonymous=True)
    await api.story.tell("volume/used", v.VolumeAcquired(name="used", container_id=WEB))
    answer = json.loads((await api.send("POST", path)).body)
    assert answer == {"VolumesDeleted": gone, "SpaceReclaimed": 7 * len(gone)}


async def test_networks():
    api = await running()
    assert [network["Name"] for network in await api.get("/networks")] == ["bridge", "host", "none"]
    assert (await api.get("/networks/"))[0]["Containers"] == {}
    assert list((await api.get("/v1.27/networks"))[0]["Containers"]) == [WEB]
    assert list((await api.get("/networks/bridge"))["Containers"]) == [WEB]
    assert await refused(api, NotFound, "GET", "/networks/zz") == "network zz not found"
    assert await refused(api, NotFound, "GET", "/networks/bridge?scope=swarm") == "network bridge not found"
    assert "ParseBool" in await refused(api, InvalidParameter, "GET", "/networks/bridge?verbose=x")
    assert json.loads((await api.send("POST", "/networks/prune")).body) == {"NetworksDeleted": None}


@pytest.mark.parametrize(
    ("method", "path", "body", "error", "text"),
    [
        ("POST", "/networks/create", {"Name": ""}, InvalidParameter, "invalid name: name is empty"),
        (
            "POST",
            "/networks/create",
            {"Name": "bridge"},
            Forbidden,
            "operation is not permitted on predefined bridge network ",
        ),
        (
            "POST",
            "/networks/create",
            {"Name": "mine"},
            Unsupported,
            "creating networks is not supported yet: containers can use bridge, host and none",
        ),
        (
            "DELETE",
            "/networks/bridge",
            None,
            Forbidden,
            "bridge is a pre-defined network and cannot be removed",
        ),
        (
            "POST",
            "/networks/bridge/connect",
            {"Container": "web"},
            Unsupported,
            "connecting and disconnecting containers is not supported yet: choose the network at create",
        ),
    ],
)
async def test_networks_stay_as_they_are(method, path, body, error, text):
    assert await refused(await running(), error, method, path, body) == text
