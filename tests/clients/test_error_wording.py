"""Status and text of the failures that clients know by their wording, as a real dockerd gives them."""

import io
import json
import re
import tarfile
from urllib.parse import quote

import pytest

from tests.clients.raw import RawClient

pytestmark = pytest.mark.root

STATES = ("created", "running", "paused")
NAME_RULE = 'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
ADVICE = "stop the container before removing or force remove"
STATUSES = "created, running, paused, restarting, removing, exited, dead"
NOT_A_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
    "to connect this node to swarm and try again."
)


@pytest.fixture(scope="module")
def client(engine):
    with RawClient(engine.socket) as connection:
        yield connection


@pytest.fixture(scope="module")
def known(engine, client):
    """Containers in the states that requests fail in, under the names that the tables use: name -> id."""
    made = {}
    for name in STATES:
        body = {"Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "none"}}
        made[name] = client.ask("POST", f"/containers/create?name={name}", body).json["Id"]
        if name != "created":
            assert client.ask("POST", f"/containers/{name}/start").status == 204
    assert client.ask("POST", "/containers/paused/pause").status == 204
    image = client.ask("GET", "/images/busybox/json").json["Id"]
    yield made | {"image": image.removeprefix("sha256:")[:12]}
    for name in STATES:
        client.ask("DELETE", f"/containers/{name}?force=1")


@pytest.fixture(scope="module")
def foreign(engine, client):
    """An image for another machine."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w"):
        pass
    target = f"/images/create?fromSrc=-&repo=foreign&platform={quote('linux/arm64/v8', safe='')}"
    client.ask("POST", target, layer.getvalue(), content_type="application/x-tar")
    yield "foreign"
    assert client.ask("DELETE", "/images/foreign").status == 200


def filtered(path: str, **filters: list[str]) -> str:
    return f"{path}?filters={quote(json.dumps(filters))}"


# method, target, body, status, message; `<name>` is what `known` has under the name
REQUESTS: list[tuple[str, str, object, int, str]] = [
    (
        "POST", "/containers/created/kill", None, 409,
        "cannot kill container: created: container <created> is not running",
    ),
    ("POST", "/containers/created/stop", None, 304, ""),
    ("POST", "/containers/created/pause", None, 409, "container <created> is not running"),
    ("POST", "/containers/created/unpause", None, 500, "Container <created> is not paused"),
    ("POST", "/containers/created/resize?h=1&w=1", None, 409, "container <created> is not running"),
    ("POST", "/containers/created/exec", {"Cmd": ["ls"]}, 409, "container <created> is not running"),
    ("GET", "/containers/created/top", None, 409, "container <created> is not running"),
    ("POST", "/containers/running/start", None, 304, ""),
    ("DELETE", "/containers/running", None, 409, f'cannot remove container "running": container is running: {ADVICE}'),
    ("POST", "/containers/running/unpause", None, 500, "Container <running> is not paused"),
    ("POST", "/containers/running/rename?name=", None, 400, "Neither old nor new names may be empty"),
    (
        "POST", "/containers/running/rename?name=running", None, 400,
        "Renaming a container with the same name as its current name",
    ),
    (
        "POST", "/containers/running/rename?name=a/b", None, 400,
        "Error when allocating new name: Invalid container name (/a/b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
    ),
    ("POST", "/containers/paused/pause", None, 409, "container <paused> is already paused"),
    (
        "POST", "/containers/paused/exec", {"Cmd": ["ls"]}, 409,
        "Container paused is paused, unpause the container before exec",
    ),
    ("POST", "/containers/running/exec", {"Cmd": []}, 400, "No exec command specified"),
    ("POST", "/containers/running/kill?signal=FOO", None, 400, "cannot kill container: running: invalid signal: FOO"),
    ("POST", "/containers/running/wait?condition=foo", None, 400, 'invalid condition: "foo"'),
    (
        "GET", "/containers/running/logs?stdout=1&since=bad", None, 400,
        'invalid value for "since": invalid timestamp "bad": invalid seconds "bad": invalid syntax',
    ),
    ("GET", "/containers/running/logs", None, 400, "must specify at least one of 'stdout' or 'stderr'"),
    (
        "POST", "/containers/created/start", {"a": "bcdefgh"}, 400,
        "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
    ),
    (
        "POST", "/containers/running/attach?stream=1&stdout=1&detachKeys=zz-zz", None, 400,
        "Invalid detach keys (zz-zz) provided",
    ),
    ("DELETE", "/containers/nosuch", None, 404, "No such container: nosuch"),
    ("POST", "/containers/nosuch/start", None, 404, "No such container: nosuch"),
    (
        "POST", "/volumes/create", {"Name": "/bad"}, 400,
        f'create /bad: "/bad" includes invalid characters for a local volume name, {NAME_RULE}',
    ),
    ("DELETE", "/volumes/nosuch", None, 404, "get nosuch: no such volume"),
    ("DELETE", "/volumes/nosuch?force=1", None, 204, ""),
    (
        "POST", "/images/busybox/tag?repo=A", None, 400,
        "invalid reference format: repository name (library/A) must be lowercase",
    ),
    ("POST", "/images/nosuch/tag?repo=a", None, 404, "No such image: nosuch:latest"),
    (
        "POST", "/images/create?fromImage=Bad!", None, 400,
        "invalid reference format: repository name (library/Bad!) must be lowercase",
    ),
    ("GET", filtered("/images/json", dangling=["x"]), None, 400, "invalid filter 'dangling=[x]'"),
    (
        "GET", "/events?since=bad", None, 400,
        "invalid value for 'since': invalid timestamp \"bad\": invalid seconds \"bad\": invalid syntax",
    ),
    ("GET", "/containers/json?limit=x", None, 400, 'strconv.Atoi: parsing "x": invalid syntax'),
    (
        "GET", filtered("/containers/json", status=["x"]), None, 400,
        f"invalid filter 'status=x': invalid value for state (x): must be one of {STATUSES}",
    ),
    ("GET", filtered("/containers/json", since=["x"]), None, 404, "No such container: x"),
    ("GET", "/exec/nosuch/json", None, 404, "No such exec instance: nosuch"),
    ("POST", "/exec/nosuch/start", {}, 404, "No such exec instance: nosuch"),
    ("GET", "/secrets", None, 503, NOT_A_MANAGER),
    ("GET", "/system/df?type=x", None, 400, "unknown object type: x"),
    (
        "POST", filtered("/containers/prune", until=["x"]), None, 400,
        'failed to parse value as time or duration: invalid seconds "x": invalid syntax',
    ),
    ("POST", filtered("/volumes/prune", foo=["x"]), None, 400, "invalid filter 'foo'"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "body", "status", "message"), REQUESTS, ids=lambda value: str(value)[:40])
def test_a_request_that_fails(client, known, method, target, body, status, message):
    answer = client.ask(method, target, body)
    for name, identity in known.items():
        message = message.replace(f"<{name}>", identity)
    assert (answer.status, answer.message) == (status, message)


# what HostConfig says, status, message
HOSTS: list[tuple[dict[str, object], int, str]] = [
    (
        {"Binds": ["rel/path:/x"]}, 400,
        f'create rel/path: "rel/path" includes invalid characters for a local volume name, {NAME_RULE}',
    ),
    ({"Binds": ["/a:/b:zz"]}, 500, "invalid mode: zz"),
    (
        {"Mounts": [{"Type": "bind", "Source": "/nosuchdir", "Target": "/x"}]}, 400,
        'invalid mount config for type "bind": bind source path does not exist: /nosuchdir',
    ),
    ({"Mounts": [{"Type": "foo", "Target": "/x"}]}, 400, 'invalid mount config for type "foo": mount type unknown'),
    ({"Memory": 1000}, 400, "Minimum memory limit allowed is 6MB"),
    ({"RestartPolicy": {"Name": "always"}, "AutoRemove": True}, 400,
     "can't create 'AutoRemove' container with restart policy"),
    (
        {"RestartPolicy": {"Name": "foo"}}, 400,
        "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
    ),
    ({"Runtime": "nosuch"}, 400, "unknown or invalid runtime name: nosuch"),
    ({"LogConfig": {"Type": "json-file", "Config": {"zz": "1"}}}, 400, "unknown log opt 'zz' for json-file log driver"),
    ({"CapAdd": ["NOSUCH"]}, 400, 'invalid CapAdd: unknown capability: "CAP_NOSUCH"'),
    ({"SecurityOpt": ["foo=bar"]}, 500, 'invalid --security-opt 2: "foo=bar"'),
    ({"IpcMode": "foo"}, 400, "invalid IPC mode: foo"),
    ({"PidMode": "container:nosuch"}, 400, "No such container: nosuch"),
    ({"Links": ["nosuch:x"]}, 400, "could not get container for nosuch: No such container: nosuch"),
    ({"ExtraHosts": ["bad"]}, 400, 'bad format for add-host: "bad"'),
    ({"Dns": ["bad"]}, 400, 'invalid JSON: ParseAddr("bad"): unable to parse IP'),
    ({"ShmSize": -1}, 400, "SHM size can not be less than 0"),
    ({"OomScoreAdj": 5000}, 400, "Invalid value 5000, range for oom score adj is [-1000, 1000]"),
    ({"Tmpfs": {"rel": ""}}, 400, "invalid mount path: 'rel' mount path must be absolute"),
    ({"VolumesFrom": ["nosuch"]}, 400, "No such container: nosuch"),
]  # fmt: skip


@pytest.mark.parametrize(("host", "status", "message"), HOSTS, ids=lambda value: str(value)[:40])
def test_a_host_configuration_that_fails(client, host, status, message):
    answer = client.ask("POST", "/containers/create?name=never", {"Image": "busybox", "HostConfig": host})
    assert (answer.status, answer.message) == (status, message)
    assert client.ask("GET", "/containers/never/json").status == 404


def test_processors_that_are_not_there(client):
    count = client.ask("GET", "/info").json["NCPU"]
    available = "0" if count == 1 else f"0-{count - 1}"
    asked = [
        ({"CpusetCpus": "99"}, f"Requested CPUs are not available - requested 99, available: {available}"),
        (
            {"NanoCpus": 99_000_000_000},
            f"range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available",
        ),
    ]
    for host, message in asked:
        answer = client.ask("POST", "/containers/create", {"Image": "busybox", "HostConfig": host})
        assert (answer.status, answer.message) == (400, message)


# the rest of the body, status, message
BODIES: list[tuple[object, int, str]] = [
    ({"Image": "nosuch"}, 404, "No such image: nosuch:latest"),
    ({"Image": "Bad:Ref:x"}, 400, "invalid reference format: repository name (library/Bad) must be lowercase"),
    ({"Env": ["=x"]}, 400, "invalid environment variable: =x"),
    ({"WorkingDir": "rel"}, 400, "the working directory 'rel' is invalid, it needs to be an absolute path"),
    ({"ExposedPorts": {"zz": {}}}, 400, "invalid JSON: invalid port 'zz': invalid syntax"),
    ({"Healthcheck": {"Interval": 1}}, 400, "Interval in Healthcheck cannot be less than 1ms"),
    ({"StopSignal": "FOO"}, 400, "invalid signal: FOO"),
    (b"{bad", 400, "invalid JSON: invalid character 'b' looking for beginning of object key string"),
    (b'{"Image":"busybox"} x', 400, "unexpected content after JSON"),
    (
        b'{"Image":5}', 400,
        "invalid JSON: json: cannot unmarshal number into Go struct field CreateRequest.Config.Image of type string",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "message"), BODIES, ids=lambda value: str(value)[:40])
def test_a_body_that_fails(client, body, status, message):
    whole = body if isinstance(body, bytes) else {"Image": "busybox"} | body
    answer = client.ask("POST", "/containers/create?name=never", whole)
    assert (answer.status, answer.message) == (status, message)
    assert client.ask("GET", "/containers/never/json").status == 404


# what dockerd takes, although some of it can't be started
TAKEN: list[dict[str, object]] = [
    {"HostConfig": {"Binds": ["/a"]}},
    {"HostConfig": {"NetworkMode": "nosuchnet"}},
    {"HostConfig": {"PortBindings": {"80/foo": [{}]}}},
    {"HostConfig": {"Sysctls": {"kernel.foo": "1"}}},
    {"HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": 1}]}},
    {
        "HostConfig": {
            "Devices": [{"PathOnHost": "/dev/nosuch", "PathInContainer": "/dev/x", "CgroupPermissions": "zz"}]
        }
    },
    {"Hostname": "-bad-"},
    {"Volumes": {"/": {}}},
    {"MacAddress": "zz"},
]


@pytest.mark.parametrize("body", TAKEN, ids=lambda value: str(value)[:60])
def test_a_body_that_is_taken_though_nothing_can_come_of_it(client, body):
    answer = client.ask("POST", "/containers/create?name=taken", {"Image": "busybox"} | body)
    assert (answer.status, answer.json["Warnings"]) == (201, [])
    assert client.ask("DELETE", "/containers/taken?v=1").status == 204


def test_an_image_for_another_machine_is_warned_of(client, foreign):
    answer = client.ask("POST", "/containers/create?name=other", {"Image": foreign, "Cmd": ["/x"]})
    (warning,) = answer.json["Warnings"]
    assert warning.startswith(
        "The requested image's platform (linux/arm64/v8) does not match the detected host platform (linux/"
    )
    assert warning.endswith(") and no specific platform was requested")
    assert client.ask("DELETE", "/containers/other").status == 204


def test_names_that_are_taken(client, known):
    answer = client.ask("POST", "/containers/create?name=running", {"Image": "busybox"})
    assert answer.status == 409
    assert answer.message == (
        f'Conflict. The container name "/running" is already in use by container "{known["running"]}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )


def test_an_image_in_use(client, known):
    answer = client.ask("DELETE", "/images/busybox")
    conflict = "conflict: unable to delete busybox:latest (must be forced)"
    users = {identity[:12] for name, identity in known.items() if name in STATES}
    told = {f"{conflict} - container {user} is using its referenced image {known['image']}" for user in users}
    assert answer.status == 409
    assert answer.message in told


def test_a_volume_in_use(client):
    assert client.ask("POST", "/volumes/create", {"Name": "held"}).status == 201
    body = {"Image": "busybox", "HostConfig": {"Binds": ["held:/x"]}}
    user = client.ask("POST", "/containers/create?name=user", body).json["Id"]
    answer = client.ask("DELETE", "/volumes/held")
    assert (answer.status, answer.message) == (409, f"remove held: volume is in use - [{user}]")
    assert client.ask("DELETE", "/containers/user?v=1").status == 204
    assert client.ask("DELETE", "/volumes/held").status == 204


def test_a_volume_option_that_is_unknown(client):
    answer = client.ask("POST", "/volumes/create", {"DriverOpts": {"foo": "x"}})
    assert answer.status == 400
    assert re.fullmatch('create [0-9a-f]{64}: invalid option: "foo"', answer.message)


def test_an_archive_that_is_none_is_told_in_the_stream(client):
    answer = client.ask("POST", "/images/load", b"junk", content_type="application/x-tar")
    told = "unexpected EOF"
    assert (answer.status, answer.json) == (200, {"error": told, "errorDetail": {"message": told}})


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"User": "nosuch"}, 500, "unable to find user nosuch: no matching entries in passwd file"),
        ({"WorkingDir": "/etc/passwd"}, 500, "Cannot mkdir: /etc/passwd is not a directory"),
        ({"HostConfig": {"NetworkMode": "nosuchnet"}}, 404, "network nosuchnet not found"),
    ],
)
def test_a_start_that_fails(client, body, status, message):
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}} | body
    assert client.ask("POST", "/containers/create?name=hopeless", body).status == 201
    answer = client.ask("POST", "/containers/hopeless/start")
    assert (answer.status, answer.message) == (status, message)
    assert client.ask("DELETE", "/containers/hopeless").status == 204


@pytest.mark.parametrize(
    ("command", "end"),
    [
        ("/nosuch", 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("/etc", "permission denied"),
    ],
)
def test_a_command_that_cannot_run(client, command, end):
    """The middle is the installed runtime's own."""
    body = {"Image": "busybox", "Cmd": [command], "HostConfig": {"NetworkMode": "none"}}
    assert client.ask("POST", "/containers/create?name=hopeless", body).status == 201
    answer = client.ask("POST", "/containers/hopeless/start")
    assert answer.status == 400
    assert answer.message.startswith(
        "failed to create task for container: failed to create shim task: OCI runtime create failed: "
        "runc create failed: unable to start container process: "
    )
    assert answer.message.endswith(end)
    assert client.ask("DELETE", "/containers/hopeless").status == 204
