"""What the daemon is told for all containers: seen in one that says nothing, and overruled by one that does."""

import json
import re
import shutil

import pytest

from handlers.exec.drivers.host_facts import read_host_facts
from tests.clients.options import fields, run
from tests.clients.test_options_limits import Group
from tests.engines import EngineUnderTest, remove_cgroups

pytestmark = pytest.mark.root
STATUS = "cat /proc/self/status"


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """An engine with a word about everything."""
    profile = tmp_path_factory.mktemp("defaults") / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    subject = EngineUnderTest()
    parent = f"/{subject.instance}-all"
    subject.arguments = (
        "--default-ulimit", "nofile=99:199", "--default-shm-size", "7m", "--dns", "9.9.9.9", "--dns-search", "d.test",
        "--dns-opt", "ndots:4", "--init", "--default-address-pool", "base=10.234.0.0/16,size=24",
        "--cgroup-parent", parent, "--default-ipc-mode", "shareable", "--default-cgroupns-mode", "private",
        "--no-new-privileges", "--seccomp-profile", str(profile), "--mtu", "1400", "--host-gateway-ip", "10.1.2.3",
        "--add-runtime", f"other={shutil.which('runc')}", "--icc=false",
        *(("--cpu-rt-runtime", "50000") if read_host_facts().cpu_realtime else ()),
    )  # fmt: skip
    try:
        subject.start()
        subject.load_busybox()
        yield subject
        assert subject.stop() == 0
        assert subject.leftovers() == []
    finally:
        subject.close()
        remove_cgroups(parent)


def test_limits_and_sizes(engine):
    script = "cat /proc/self/limits; df -k /dev/shm | tail -n 1"
    seen = run(engine, script=script)
    assert re.search(r"^Max open files +99 +199 ", seen, re.MULTILINE)
    assert seen.splitlines()[-1].split()[1] == str(7 * 1024)
    seen = run(engine, "--ulimit", "nofile=98:98", "--shm-size", "1m", script=script)
    assert re.search(r"^Max open files +98 +98 ", seen, re.MULTILINE)
    assert seen.splitlines()[-1].split()[1] == "1024"


def test_resolvers_and_names(engine):
    seen = run(engine, "--add-host", "up:host-gateway", script="cat /etc/resolv.conf /etc/hosts").splitlines()
    assert seen[:3] == ["nameserver 9.9.9.9", "search d.test", "options ndots:4"]
    assert "10.1.2.3\tup" in seen
    own = ("--dns", "8.8.8.8", "--dns-search", "own.test", "--dns-option", "ndots:1")
    assert run(engine, *own, script="cat /etc/resolv.conf").splitlines() == [
        "nameserver 8.8.8.8",
        "search own.test",
        "options ndots:1",
    ]


def test_addresses_and_packets(engine):
    seen = run(engine, script="ip -4 addr show eth0; cat /sys/class/net/eth0/mtu")
    assert "inet 10.234." in seen
    assert "/24 " in seen
    assert seen.splitlines()[-1] == "1400"


def test_an_init(engine):
    assert run(engine, script="cat /proc/1/comm") in ("docker-init", "tini")
    assert run(engine, "--init=false", script="cat /proc/1/comm; true") == "sh"


def test_namespaces(engine):
    identity = engine.out("run", "-d", "busybox", "sleep", "600")
    host = engine.inspect(identity)["HostConfig"]
    assert (host["IpcMode"], host["CgroupnsMode"]) == ("shareable", "private")
    engine.docker("exec", identity, "touch", "/dev/shm/shared")
    assert run(engine, "--ipc", f"container:{identity}", script="ls /dev/shm") == "shared"
    assert engine.out("exec", identity, "sh", "-c", "grep -c ':/$' /proc/self/cgroup") != "0"
    engine.docker("rm", "-f", identity)


def test_the_parent_of_control_groups(engine):
    identity = engine.out("run", "-d", "busybox", "sleep", "600")
    assert str(Group(engine, identity).place("memory")).endswith(f"/{engine.instance}-all/{identity}")
    engine.docker("rm", "-f", identity)


def test_security(engine):
    script = f"mkdir /x 2>&1; {STATUS}"
    seen = run(engine, script=script)
    assert "No space left on device" in seen
    assert fields(seen)["NoNewPrivs"] == "1"
    seen = run(engine, "--security-opt", "no-new-privileges=false", "--security-opt", "seccomp=builtin", script=script)
    assert "No space left on device" not in seen
    assert (fields(seen)["NoNewPrivs"], fields(seen)["Seccomp"]) == ("0", "2")


def test_runtimes(engine):
    identity = engine.out("run", "-d", "--runtime", "other", "busybox", "sleep", "600")
    assert engine.inspect(identity)["HostConfig"]["Runtime"] == "other"
    assert engine.out("exec", identity, "echo", "up") == "up"
    states = [path.parent.name for path in engine.exec_root.glob(f"r/*/{identity}")]
    plain = engine.out("run", "-d", "busybox", "sleep", "600")
    assert engine.inspect(plain)["HostConfig"]["Runtime"] == "runc"
    assert len(states) == 1
    engine.docker("rm", "-f", identity, plain)
    refused = engine.docker("run", "--rm", "--runtime", "nosuch", "busybox", check=False)
    assert b"unknown or invalid runtime name: nosuch" in refused.stderr


def test_containers_that_may_not_talk_to_each_other(engine):
    engine.docker("run", "-d", "--name", "web", "busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
    address = engine.inspect("web")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    assert run(engine, script=f"echo x | nc -w 2 {address} 80 || echo cut off") == "cut off"
    linked = engine.docker("create", "--name", "linked", "--link", "web", "busybox")
    assert b"links give names only" in linked.stderr
    engine.docker("rm", "-f", "linked", "web")


def test_time_of_the_realtime_scheduler(engine):
    options = ("--cpu-rt-runtime", "20000", "--cpu-rt-period", "1000000")
    if not read_host_facts().cpu_realtime:
        refused = engine.docker("run", "--rm", *options, "busybox", "true", check=False)
        assert b"Your kernel does not support CPU real-time scheduler" in refused.stderr
        return
    identity = engine.out("run", "-d", *options, "busybox", "sleep", "600")
    assert (Group(engine, identity).place("cpu") / "cpu.rt_runtime_us").read_text().strip() == "20000"
    engine.docker("rm", "-f", identity)
    refused = engine.docker("run", "--rm", "--cpu-rt-runtime", "60000", "busybox", "true", check=False)
    assert b"all containers together may have 50000 us" in refused.stderr
