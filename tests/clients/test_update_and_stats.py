"""Limits that change while a container runs, and what it uses, as clients see them."""

import time
from pathlib import Path
from typing import Any

import pytest

from handlers.kernel import cgroups
from tests.clients.raw import RawClient, dial, read_all, status_of
from tests.engines import wait_until

pytestmark = pytest.mark.root
MIB = 2**20
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def clean(engine):
    yield
    if ids := engine.out("ps", "-aq").split():
        engine.docker("rm", "-f", *ids)


def group_file(engine, name: str, controller: str, first: str, second: str) -> str:
    """A file of its cgroup: its name in version 1 and in version 2."""
    pid = engine.inspect(name)["State"]["Pid"]
    rows = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for _, names, path in rows:
        if controller in names.split(","):
            return Path(f"/sys/fs/cgroup/{controller}{path}/{first}").read_text().strip()
    return Path(f"/sys/fs/cgroup{rows[-1][2]}/{second}").read_text().strip()


def memory_limit(engine, name: str) -> str:
    return group_file(engine, name, "memory", "memory.limit_in_bytes", "memory.max")


def test_limits_of_a_running_container(engine):
    engine.docker("run", "-d", "--name", "web", "-m", "64m", "--cpus", "0.5", "busybox", "sleep", "1000")
    assert memory_limit(engine, "web") == str(64 * MIB)
    engine.docker("update", "-m", "96m", "--memory-swap", "200m", "--cpus", "1", "--pids-limit", "50", "web")
    assert memory_limit(engine, "web") == str(96 * MIB)
    assert group_file(engine, "web", "pids", "pids.max", "pids.max") == "50"
    assert "100000" in group_file(engine, "web", "cpu", "cpu.cfs_quota_us", "cpu.max")
    host = engine.inspect("web")["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        96 * MIB,
        200 * MIB,
        10**9,
        50,
    )
    engine.docker("update", "--pids-limit", "-1", "web")
    assert group_file(engine, "web", "pids", "pids.max", "pids.max") == "max"
    engine.docker("restart", "-t", "0", "web")
    assert memory_limit(engine, "web") == str(96 * MIB)
    words = ("--since", "0", "--until", f"{time.time():.9f}", "--filter", "event=update", "--format", "{{.Actor.ID}}")
    assert engine.out("events", *words).count("\n") == 1


def test_a_stopped_container_gets_them_with_its_next_start(engine):
    engine.docker("create", "--name", "web", "busybox", "sleep", "1000")
    engine.docker("update", "-m", "64m", "--memory-swap", "64m", "--restart", "on-failure:2", "web")
    engine.docker("start", "web")
    assert memory_limit(engine, "web") == str(64 * MIB)
    assert engine.inspect("web")["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}


def test_a_policy_can_be_given_to_what_runs(engine):
    engine.docker("run", "-d", "--name", "web", "busybox", "sh", "-c", "sleep 1; exit 1")
    engine.docker("update", "--restart", "on-failure:1", "web")
    wait_until(lambda: engine.inspect("web")["RestartCount"] == 1, "it is started again", PATIENCE_S)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"Memory": 1}, 400, "Minimum memory limit allowed is 6MB"),
        ({"Memory": 128 * MIB}, 409, "Memory limit should be smaller than already set memoryswap limit"),
        ({"RestartPolicy": {"Name": "foo"}}, 400, "invalid restart policy: unknown policy 'foo'"),
        ({"Memory": "x"}, 400, "cannot unmarshal string into Go struct field UpdateConfig.Memory of type int64"),
    ],
)
def test_refusals(engine, body, status, text):
    engine.docker("run", "-d", "--name", "web", "-m", "32m", "busybox", "sleep", "1000")
    with RawClient(engine.socket) as client:
        answer = client.ask("POST", "/v1.51/containers/web/update", body)
    assert (answer.status, text in answer.message) == (status, True), answer.message
    assert memory_limit(engine, "web") == str(32 * MIB)


def test_what_an_update_cannot_change_is_named(engine):
    engine.docker("create", "--name", "web", "busybox", "true")
    with RawClient(engine.socket) as client:
        answer = client.ask("POST", "/v1.51/containers/web/update", {"CpuShares": 100, "CgroupParent": "/x"})
        assert client.ask("POST", "/v1.51/containers/nosuch/update", {}).status == 404
    assert answer.json == {"Warnings": ["CgroupParent can't be changed by an update: discarded"]}


# ---- stats


def stats(client, name: str, query: str) -> Any:
    answer = client.ask("GET", f"/v1.51/containers/{name}/stats?{query}")
    assert answer.status == 200, answer.message
    return answer.json


def test_one_sample_and_two(engine):
    script = "dd if=/dev/zero of=/x bs=1M count=4; sync; while :; do :; done"
    engine.docker("run", "-d", "--name", "web", "-m", "64m", "--pids-limit", "20", "busybox", "sh", "-c", script)
    with RawClient(engine.socket) as client:
        one = stats(client, "web", "stream=0&one-shot=1")
        assert (one["name"], one["os_type"], one["preread"]) == ("/web", "linux", "0001-01-01T00:00:00Z")
        assert one["memory_stats"]["limit"] == 64 * MIB
        assert one["memory_stats"]["usage"] > 0
        assert one["pids_stats"]["limit"] == 20
        assert one["pids_stats"]["current"] >= 1
        assert set(one["networks"]["eth0"]) == {
            f"{way}_{what}" for way in ("rx", "tx") for what in ("bytes", "packets", "errors", "dropped")
        }
        assert "io_service_bytes_recursive" in one["blkio_stats"]
        assert one["cpu_stats"]["online_cpus"] >= 1
        two = stats(client, "web", "stream=0")
        assert two["cpu_stats"]["cpu_usage"]["total_usage"] > two["precpu_stats"]["cpu_usage"]["total_usage"] > 0
        assert two["cpu_stats"]["system_cpu_usage"] > two["precpu_stats"]["system_cpu_usage"] > 0
        assert client.ask("GET", "/v1.51/containers/web/stats?one-shot=1").status == 400


def test_memory_that_could_not_be_had_is_counted(engine):
    script = "dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 1000"
    options = ("-m", "16m", "--memory-swap", "32m")  # v1 counts apart what fails by the limit with swap
    engine.docker("run", "-d", "--name", "web", *options, "busybox", "sh", "-c", script)
    with RawClient(engine.socket) as client:

        def memory() -> Any:
            return stats(client, "web", "stream=0&one-shot=1")["memory_stats"]

        wait_until(lambda: memory().get("failcnt", 0) > 0, "what failed is counted", PATIENCE_S)
        assert ("max_usage" in memory()) is (cgroups.version(cgroups.hierarchies()) == 1)
    engine.docker("stop", "-t", "0", "web")
    assert engine.inspect("web")["State"]["OOMKilled"] is True


def test_what_does_not_run_uses_nothing(engine):
    engine.docker("create", "--name", "web", "busybox", "true")
    with RawClient(engine.socket) as client:
        found = stats(client, "web", "stream=0")
    assert (found["read"], found["memory_stats"], found["pids_stats"]) == ("0001-01-01T00:00:00Z", {}, {})
    assert found["blkio_stats"]["io_service_bytes_recursive"] is None


def test_a_stream_goes_on_until_the_container_is_gone(engine):
    engine.docker("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    shown = engine.out("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsage}}")
    assert shown.startswith("web 1 ")
    with engine.popen("stats", "--format", "json", "web") as watching:
        lines = [watching.stdout.readline() for _ in range(3)]
        assert b'"web"' in b"".join(lines)
        watching.kill()
    with dial(engine.socket, PATIENCE_S) as connection:
        connection.sendall(b"GET /v1.51/containers/web/stats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = connection.recv(65536)
        while b'"/web"' not in said:
            said += connection.recv(65536)
        engine.docker("rm", "-f", "web")
        assert status_of(said + read_all(connection)) == 200  # it ends


# ---- other looks at containers


def test_port_and_top_and_waits(engine):
    engine.docker("run", "-d", "--name", "web", "-p", "127.0.0.1:8765:80", "busybox", "sleep", "1000")
    assert engine.out("port", "web") == "80/tcp -> 127.0.0.1:8765"
    assert engine.out("port", "web", "80") == "127.0.0.1:8765"
    assert engine.docker("port", "web", "81", check=False).returncode == 1
    assert "sleep 1000" in engine.out("top", "web", "-o", "pid,args")
    with RawClient(engine.socket, timeout_s=PATIENCE_S) as client:
        engine.popen("stop", "-t", "0", "web").communicate()
        assert client.ask("POST", "/v1.51/containers/web/wait").json == {"StatusCode": 137}
        assert client.ask("POST", "/v1.51/containers/web/wait?condition=not-running").json == {"StatusCode": 137}
        engine.popen("start", "web").communicate()
        with engine.popen("rm", "-f", "web"):
            assert client.ask("POST", "/v1.51/containers/web/wait?condition=removed").json == {"StatusCode": 137}


def test_prune_with_filters(engine):
    engine.docker("create", "--name", "aa", "--label", "keep=yes", "busybox", "true")
    engine.docker("create", "--name", "bb", "--label", "keep=no", "busybox", "true")
    engine.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
    engine.docker("container", "prune", "-f", "--filter", "until=1h")
    assert sorted(engine.out("ps", "-a", "--format", "{{.Names}}").split()) == ["aa", "bb", "cc"]
    engine.docker("container", "prune", "-f", "--filter", "label!=keep=yes")
    assert sorted(engine.out("ps", "-a", "--format", "{{.Names}}").split()) == ["aa", "cc"]
    said = engine.out("container", "prune", "-f", "--filter", "label=keep=yes")
    assert "Total reclaimed space" in said
    assert engine.out("ps", "-a", "--format", "{{.Names}}") == "cc"


# ---- groups below

INNER_GROUPS = {
    1: "for each in memory pids; do mkdir /sys/fs/cgroup/$each/in; echo 1 > /sys/fs/cgroup/$each/in/cgroup.procs; done",
    2: "cd /sys/fs/cgroup; mkdir in; echo 1 > in/cgroup.procs; echo +memory +pids > cgroup.subtree_control",
}


def test_control_groups_that_a_container_makes_are_its_own(engine):
    """As systemd's are. Version 2 lets no process into a group that has given controllers to those below."""
    version = cgroups.version(cgroups.hierarchies())
    script = f"set -e; {INNER_GROUPS[version]}; echo made; sleep 600 & wait"
    options = ("--privileged", "--cgroupns", "private", "--memory", "64m", "--memory-swap", "64m")
    engine.docker("run", "-d", "--name", "nests", *options, "busybox", "sh", "-c", script)
    wait_until(lambda: "made" in engine.out("logs", "nests"), f"groups are made: {engine.out('logs', 'nests')}")
    for _ in range(2):
        assert "/in" in engine.out("exec", "nests", "cat", "/proc/1/cgroup")
        assert "sleep 600" in engine.out("top", "nests", "-o", "pid,args")
        pids, memory = engine.out("stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", "nests").split(" ", 1)
        assert int(pids) >= 2
        assert "/ 64MiB" in memory
        assert not memory.startswith("0B")
        engine.docker("pause", "nests")
        assert engine.inspect("nests")["State"]["Status"] == "paused"
        engine.docker("unpause", "nests")
        engine.restart()
    greedy = "dd if=/dev/zero of=/dev/null bs=100M count=1"
    assert engine.docker("exec", "nests", "sh", "-c", greedy, check=False).returncode == 137
    engine.docker("stop", "-t", "0", "nests")
    assert engine.inspect("nests")["State"]["OOMKilled"] is True
    engine.docker("rm", "nests")
