"""Bodies that grew from what the docker CLI sends by mutation: refused, or made whole and removed again."""

import copy
import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clients.raw import RawClient

pytestmark = pytest.mark.root

EXAMPLES = int(os.environ.get("SHIPLOG_TEST_EXAMPLES", "150"))  # of each kind; more when hunting
RELAXED = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None, print_blob=True
)
REFUSED = frozenset({400, 404, 409, 501})
SYSTEM_ERRORS = ("invalid mode: ", "invalid --security-opt ", "could not select device driver ")  # 500 in Docker too

CONTAINER: dict[str, Any] = {
    "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": True, "AttachStderr": True,
    "Tty": False, "OpenStdin": False, "StdinOnce": False, "ExposedPorts": {"80/tcp": {}}, "Env": ["A=1", "B"],
    "Cmd": ["true"], "Image": "busybox", "Volumes": {"/v": {}}, "WorkingDir": "", "Entrypoint": None, "OnBuild": None,
    "Labels": {"a": "b"}, "StopSignal": "SIGTERM", "StopTimeout": 1, "Shell": None, "MacAddress": "",
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9, "Timeout": 10**9, "Retries": 3, "StartPeriod": 0},
    "HostConfig": {
        "Binds": ["data:/data:ro", "/etc/passwd:/x/y"], "ContainerIDFile": "", "LogConfig": {"Type": "", "Config": {}},
        "NetworkMode": "none", "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "0"}]},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "AutoRemove": False, "VolumeDriver": "",
        "VolumesFrom": None, "ConsoleSize": [24, 80], "CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"], "CgroupnsMode": "",
        "Dns": ["9.9.9.9"], "DnsOptions": ["ndots:1"], "DnsSearch": ["a.b"], "ExtraHosts": ["a:1.2.3.4"],
        "GroupAdd": ["1"], "IpcMode": "private", "Cgroup": "", "Links": [], "OomScoreAdj": 100, "PidMode": "",
        "Privileged": False, "PublishAllPorts": False, "ReadonlyRootfs": False, "SecurityOpt": ["no-new-privileges"],
        "Tmpfs": {"/t": "size=1m"}, "UTSMode": "", "UsernsMode": "", "ShmSize": 1 << 20, "Isolation": "",
        "Sysctls": {"net.ipv4.ip_unprivileged_port_start": "0"}, "Runtime": "", "Init": True, "Annotations": {"a": "b"},
        "Mounts": [
            {"Type": "bind", "Source": "/etc/group", "Target": "/m/bind", "ReadOnly": True,
             "BindOptions": {"Propagation": "rprivate", "NonRecursive": False, "CreateMountpoint": False}},
            {"Type": "volume", "Source": "named", "Target": "/m/volume",
             "VolumeOptions": {"NoCopy": True, "Labels": {"a": "b"}, "Subpath": "",
                               "DriverConfig": {"Name": "local", "Options": {}}}},
            {"Type": "tmpfs", "Target": "/m/tmpfs", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o755}},
        ],
        "CpuShares": 512, "Memory": 32 << 20, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0,
        "BlkioWeightDevice": [{"Path": "/dev/null", "Weight": 100}],
        "BlkioDeviceReadBps": [{"Path": "/dev/null", "Rate": 1}], "CpuPeriod": 0, "CpuQuota": 0,
        "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "0", "CpusetMems": "",
        "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}],
        "DeviceCgroupRules": ["c 1:3 rwm"], "DeviceRequests": None, "MemoryReservation": 0, "MemorySwap": 0,
        "MemorySwappiness": -1, "OomKillDisable": False, "PidsLimit": 100,
        "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}], "MaskedPaths": ["/proc/kcore"],
        "ReadonlyPaths": ["/proc/sys"], "StorageOpt": {},
        "KernelMemory": 0, "KernelMemoryTCP": 0, "CpuCount": 0, "CpuPercent": 0, "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    },
    "NetworkingConfig": {"EndpointsConfig": {"none": {
        "Aliases": [], "Links": ["busy:other"], "MacAddress": "02:42:ac:11:00:09", "GwPriority": 1,
        "IPAMConfig": {"IPv4Address": "", "IPv6Address": "", "LinkLocalIPs": []},
        "DriverOpts": {"com.docker.network.endpoint.ifname": "wire",
                       "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.forwarding=1"},
    }}},
}  # fmt: skip
# What sets a container's relations to others: a body of its own, since half of it excludes the other half.
SHARING: dict[str, Any] = {
    "Hostname": "box", "Domainname": "a.b", "Cmd": ["true"], "Image": "busybox", "ExposedPorts": {"80/tcp": {}},
    "HostConfig": {
        "NetworkMode": "bridge", "PidMode": "container:busy", "IpcMode": "container:busy", "UTSMode": "",
        "CgroupnsMode": "container:busy", "UsernsMode": "host", "Links": ["busy:store", "/busy:/x/alias"],
        "ExtraHosts": ["up:host-gateway"],
        "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080-8090"}]},
        "PublishAllPorts": True, "Dns": ["9.9.9.9"], "DnsSearch": ["."], "DnsOptions": ["ndots:2"],
        "DeviceRequests": None,
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1}, "CgroupParent": "x", "Cgroup": "",
    },
    "NetworkingConfig": {"EndpointsConfig": {"default": {"Aliases": None, "DriverOpts": None}}},
}  # fmt: skip
UPDATE: dict[str, Any] = {
    "CpuShares": 512, "Memory": 64 << 20, "MemorySwap": 128 << 20, "MemoryReservation": 8 << 20, "NanoCpus": 0,
    "CpuPeriod": 50000, "CpuQuota": 20000, "CpusetCpus": "0", "CpusetMems": "", "PidsLimit": 50, "BlkioWeight": 0,
    "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
}  # fmt: skip
EXEC: dict[str, Any] = {
    "User": "", "Privileged": False, "Tty": False, "ConsoleSize": [24, 80], "AttachStdin": False,
    "AttachStdout": True, "AttachStderr": True, "Detach": False, "DetachKeys": "", "Env": ["A=1"], "WorkingDir": "/",
    "Cmd": ["true"],
}  # fmt: skip
WORDS = (
    "", " ", "host", "none", "bridge", "default", "private", "container:busy", "container:", "never", "0", "-1", "80",
    "80/tcp", "1-70000", "99999999999999999999", "/", "..", "../x", "relative/path", ":", "::", "a:b:c:d", "=", "A=B",
    "ro", "rw,z", "\0", "\n", "\ud800", "é" * 70, "x" * 5000, "root:root", "65536:65536", "seccomp=unconfined",
    "seccomp={}", "label=disable", "apparmor=x", "ALL", "CAP_", "SIGRTMIN+40", "1.2.3.4", "::1", "host-gateway",
    "[::1]:80", "local", "json-file", "on-failure", "always", "runc", "%00", "${A}", "sha256:" + "0" * 64, "size=zz",
)  # fmt: skip
NUMBERS = (-(2**63) - 1, -(2**63), -1, 0, 1, 2, 1000, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30)

junk = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from(NUMBERS)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
    | st.text(alphabet=st.characters(exclude_characters="/"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner, max_size=4),
    max_leaves=6,
)


@st.composite
def mutated(draw, seed: dict[str, Any]) -> dict[str, Any]:
    """A copy of `seed` with up to four wounds."""
    body = copy.deepcopy(seed)
    for _ in range(draw(st.integers(1, 4))):
        holder, key = draw(places(body))
        _wound(draw, holder, key)
    return body


@st.composite
def places(draw, body: Any) -> tuple[Any, Any]:
    """Somewhere in a body: what holds it, and the key or index there."""
    holder, key = body, draw(st.sampled_from(sorted(body)))
    while isinstance(holder[key], dict | list) and holder[key] and draw(st.integers(0, 3)):
        holder = holder[key]
        key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else list(range(len(holder)))))
    return holder, key


def _wound(draw, holder: Any, key: Any) -> None:
    kind = draw(st.sampled_from(["replace", "replace", "replace", "drop", "add", "wrap", "repeat", "rename"]))
    if kind == "drop":
        del holder[key]
        holder.update(gone=None) if isinstance(holder, dict) else holder.append(None)
    elif kind == "add":
        value = draw(junk)
        holder.update({draw(st.sampled_from(WORDS)): value}) if isinstance(holder, dict) else holder.append(value)
    elif kind == "wrap":
        holder[key] = [holder[key]]
    elif kind == "repeat" and isinstance(holder, list):
        holder.append(holder[key])
    elif kind == "rename" and isinstance(holder, dict):
        holder[key.swapcase()] = holder.pop(key)
    else:
        holder[key] = draw(junk)


@pytest.fixture(scope="module")
def client(engine):
    with RawClient(engine.socket) as connection:
        yield connection


@pytest.fixture(scope="module")
def busy(engine, client):
    """A container that runs."""
    body = {"Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "none"}}
    identity = client.ask("POST", "/containers/create?name=busy", body).json["Id"]
    assert client.ask("POST", "/containers/busy/start").status == 204
    yield identity
    assert client.ask("DELETE", "/containers/busy?force=1").status == 204


def as_sent(body: dict[str, Any]) -> bytes:
    """Half characters go out as escapes, and numbers of any size as they are."""
    return json.dumps(body).encode()


def was_refused(answer) -> bool:
    """Whether an answer is a refusal, in which case it must be one that Docker has."""
    if answer.status in (200, 201):
        return False
    known = answer.status in REFUSED or (answer.status == 500 and answer.message.startswith(SYSTEM_ERRORS))
    assert known, (answer.status, answer.message)
    assert answer.message
    return True


def test_the_bodies_are_taken_as_they_are(client, busy):
    for body in (CONTAINER, SHARING):
        assert client.ask("POST", "/containers/create?name=whole", body).status == 201
        assert client.ask("DELETE", "/containers/whole?v=1").status == 204
    assert client.ask("POST", "/containers/busy/update", UPDATE).status == 200
    assert client.ask("POST", "/containers/busy/exec", EXEC).status == 201


@RELAXED
@given(body=mutated(CONTAINER) | mutated(SHARING))
def test_a_container_is_made_whole_or_not_at_all(client, busy, body):
    answer = client.ask("POST", "/containers/create?name=never", as_sent(body))
    if not was_refused(answer):
        made = client.ask("GET", "/containers/never/json")
        assert (made.status, made.json["Id"]) == (200, answer.json["Id"])
        assert client.ask("DELETE", "/containers/never?force=1&v=1").status == 204
    left = client.ask("GET", "/containers/json?all=1").json
    assert [container["Id"] for container in left] == [busy]


@RELAXED
@given(body=mutated(UPDATE))
def test_an_update_is_made_whole_or_not_at_all(client, busy, body):
    before = client.ask("GET", "/containers/busy/json").json
    answer = client.ask("POST", "/containers/busy/update", as_sent(body))
    now = client.ask("GET", "/containers/busy/json").json
    assert now["State"]["Running"]
    if was_refused(answer):
        assert now["HostConfig"] == before["HostConfig"]


@RELAXED
@given(body=mutated(EXEC))
def test_an_exec_is_made_whole_or_not_at_all(client, busy, body):
    before = set(client.ask("GET", "/containers/busy/json").json["ExecIDs"] or ())
    answer = client.ask("POST", "/containers/busy/exec", as_sent(body))
    now = set(client.ask("GET", "/containers/busy/json").json["ExecIDs"] or ())
    if was_refused(answer):
        assert now == before
    else:
        assert now - before == {answer.json["Id"]}
        assert client.ask("GET", f"/exec/{answer.json['Id']}/json").status == 200
