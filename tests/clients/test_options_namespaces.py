"""Options of namespaces: whose processes, memory, names and control groups a container shares."""

import os
from pathlib import Path

import pytest

from handlers.kernel import cgroups
from tests.clients.options import created, refusal, run
from tests.clients.raw import RawClient

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def client(engine):
    with RawClient(engine.socket) as connection:
        yield connection


@pytest.fixture(scope="module")
def donor(engine):
    """A container that lets others into its namespaces."""
    engine.docker("run", "-d", "--name", "donor", "--ipc", "shareable", "--shm-size", "3m", "busybox", "sleep", "600")
    yield "donor"
    engine.docker("rm", "-f", "donor")


def namespace(engine, name: str, kind: str) -> str:
    """A namespace of a running container, as the host sees it."""
    pid = engine.inspect(name)["State"]["Pid"]
    return str((Path("/proc") / str(pid) / "ns" / kind).readlink())


def own(kind: str) -> str:
    """The host's namespace."""
    return str(Path(f"/proc/self/ns/{kind}").readlink())


# ---- processes


def test_processes_are_the_containers_own(engine):
    assert run(engine, script="echo $$") == "1"


def test_processes_of_the_host(engine):
    assert run(engine, "--pid", "host", script="readlink /proc/self/ns/pid") == own("pid")
    assert run(engine, "--pid", "host", script="cat /proc/1/comm") == Path("/proc/1/comm").read_text().strip()


def test_processes_of_another_container(engine, donor):
    assert run(engine, "--pid", "container:donor", script="tr '\\0' ' ' < /proc/1/cmdline").startswith("sleep 600")
    shown = engine.out("create", "--pid", "container:donor", "busybox", "true")
    mode = engine.inspect(shown)["HostConfig"]["PidMode"]
    assert mode == f"container:{engine.inspect('donor')['Id']}"
    engine.docker("rm", shown)


# ---- memory between processes


def test_shared_memory_has_the_size_that_was_asked_for(engine):
    assert run(engine, "--shm-size", "5m", script="df -k /dev/shm | tail -n 1").split()[1] == "5120"
    assert run(engine, script="df -k /dev/shm | tail -n 1").split()[1] == "65536"


def test_memory_is_shared_with_who_joins(engine, donor):
    engine.docker("exec", "donor", "sh", "-c", "echo hello > /dev/shm/word")
    assert run(engine, "--ipc", "container:donor", script="cat /dev/shm/word; readlink /proc/self/ns/ipc") == (
        f"hello\n{namespace(engine, 'donor', 'ipc')}"
    )


def test_memory_of_the_host_and_none(engine):
    assert run(engine, "--ipc", "host", script="readlink /proc/self/ns/ipc") == own("ipc")
    assert "/dev/shm" not in run(engine, "--ipc", "none", script="mount")


def test_private_memory_cannot_be_joined(engine):
    engine.docker("run", "-d", "--name", "private", "--ipc", "private", "busybox", "sleep", "600")
    said = refusal(engine, "--ipc", "container:private")
    assert "non-shareable IPC (hint: use IpcMode:shareable for the donor container)" in said
    engine.docker("rm", "-f", "private")


# ---- names


def test_names_of_ones_own(engine):
    script = "hostname; cat /etc/hostname /proc/sys/kernel/domainname /etc/hosts"
    seen = run(engine, "--hostname", "box", "--domainname", "example.test", script=script).splitlines()
    assert seen[:3] == ["box", "box", "example.test"]
    assert any(line.endswith("\tbox.example.test box") for line in seen)


def test_names_of_the_host(engine):
    assert run(engine, "--uts", "host", script="hostname; readlink /proc/self/ns/uts").splitlines() == [
        os.uname().nodename,
        own("uts"),
    ]


def test_users_of_the_host(engine):
    assert run(engine, "--userns", "host", script="readlink /proc/self/ns/user") == own("user")


# ---- control groups


def test_control_groups_private_and_of_the_host(engine):
    private = run(engine, "--cgroupns", "private", script="readlink /proc/self/ns/cgroup; cat /proc/self/cgroup")
    first, *groups = private.splitlines()
    assert first != own("cgroup")
    assert [line for line in groups if line.endswith(":/")]
    assert run(engine, "--cgroupns", "host", script="readlink /proc/self/ns/cgroup") == own("cgroup")


def test_control_groups_of_who_does_not_say(engine):
    """Private with version 2 unless privileged, the host's with version 1."""
    script = "readlink /proc/self/ns/cgroup"
    is_private = cgroups.version(cgroups.hierarchies()) == 2
    assert (run(engine, script=script) != own("cgroup")) is is_private
    assert run(engine, "--privileged", script=script) == own("cgroup")
    if is_private:
        assert run(engine, script="cat /proc/self/cgroup; ls /sys/fs/cgroup/cgroup.events").splitlines() == [
            "0::/",
            "/sys/fs/cgroup/cgroup.events",  # which the root of the host doesn't have
        ]


def test_a_control_group_that_is_shared(engine, client):
    """Docker's clients can't ask for it; the API can."""

    def start(name: str, mode: str) -> int:
        body = {"Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": {"CgroupnsMode": mode}}
        assert client.ask("POST", f"/containers/create?name={name}", body).status == 201
        return int(client.ask("POST", f"/containers/{name}/start").status)

    assert start("sharer", "shareable") == 204
    assert start("joins", "container:sharer") == 204
    assert namespace(engine, "joins", "cgroup") == namespace(engine, "sharer", "cgroup") != own("cgroup")
    assert start("keeps", "private") == 204
    assert start("refused", "container:keeps") == 409
    engine.docker("rm", "-f", "sharer", "joins", "keeps", "refused")


# ---- what cannot be


@pytest.mark.parametrize(
    ("host", "status", "text"),
    [
        ({"PidMode": "foo"}, 400, "invalid PID mode: foo"),
        ({"IpcMode": "foo"}, 400, "invalid IPC mode: foo"),
        ({"UTSMode": "foo"}, 400, "invalid UTS mode: foo"),
        ({"UsernsMode": "foo"}, 400, "invalid USER mode: foo"),
        ({"CgroupnsMode": "foo"}, 400, "invalid cgroup namespace mode: foo"),
        ({"PidMode": "container:nosuch"}, 400, "No such container: nosuch"),
        ({"IpcMode": "container:nosuch"}, 400, "No such container: nosuch"),
        ({"CgroupnsMode": "container:nosuch"}, 400, "No such container: nosuch"),
        ({"PidMode": "container:"}, 400, "invalid PID mode: container:"),
        ({"NetworkMode": "container:"}, 400, "invalid network mode: invalid container format container:<name|id>"),
    ],
)
def test_a_mode_that_is_none(client, host, status, text):
    answer = client.ask("POST", "/containers/create", {"Image": "busybox", "HostConfig": host})
    assert (answer.status, answer.message) == (status, text)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"Hostname": "a"}, "conflicting options: hostname and the UTS mode"),
        ({"Domainname": "a"}, "conflicting options: domainname and the UTS mode"),
    ],
)
def test_a_name_for_the_host(client, config, text):
    answer = client.ask("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"UTSMode": "host"}} | config)
    assert (answer.status, answer.message) == (400, text)


def test_a_namespace_of_what_has_ended(engine):
    engine.docker("create", "--name", "still", "busybox", "true")
    assert "cannot join namespace of a non running container" in refusal(engine, "--pid", "container:still")
    engine.docker("rm", "still")


def test_inspect_shows_the_modes(client, donor):
    host = {
        "PidMode": "host", "IpcMode": "shareable", "UTSMode": "host", "UsernsMode": "host", "CgroupnsMode": "host",
        "ShmSize": 1 << 20,
    }  # fmt: skip
    shown, warnings = created(client, {"HostConfig": host})
    assert warnings == []
    assert {name: shown["HostConfig"][name] for name in host} == host
