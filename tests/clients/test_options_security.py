"""Options of security: capabilities, filters, devices, masks; seen from inside a container that tries them."""

import json
import os
import stat
from pathlib import Path

import pytest

from handlers.exec import capabilities
from handlers.exec.drivers.host_facts import read_host_facts
from tests.clients.options import created, fields, held, refusal, run
from tests.clients.raw import RawClient

pytestmark = pytest.mark.root
STATUS = "cat /proc/self/status"


@pytest.fixture(scope="module")
def client(engine):
    with RawClient(engine.socket) as connection:
        yield connection


@pytest.fixture(scope="module")
def available() -> frozenset[str]:
    """What the engine itself has to give."""
    return frozenset(read_host_facts().bounding_capabilities)


# ---- capabilities


def test_capabilities_are_added_and_dropped(engine, available):
    seen = run(engine, "--cap-add", "net_admin", "--cap-add", "CAP_SYS_TIME", "--cap-drop", "KILL", script=STATUS)
    assert held(seen) == (capabilities.DEFAULT | {"CAP_NET_ADMIN", "CAP_SYS_TIME"} & available) - {"CAP_KILL"}
    assert held(run(engine, "--cap-drop", "ALL", script=STATUS)) == frozenset()
    assert held(run(engine, "--cap-drop", "ALL", "--cap-add", "CHOWN", script=STATUS)) == {"CAP_CHOWN"}
    assert held(run(engine, "--cap-add", "ALL", script=STATUS)) == available


def test_a_capability_opens_what_it_guards(engine):
    script = "hostname other 2>&1; ip link set lo mtu 1400 2>&1; cat /sys/class/net/lo/mtu"
    assert run(engine, script=script).splitlines()[-1] != "1400"
    assert run(engine, "--cap-add", "NET_ADMIN", script=script).splitlines()[-1] == "1400"
    assert "denied" in run(engine, "--cap-drop", "CHOWN", script="busybox chown 5 /tmp 2>&1 || echo denied")


def test_what_the_engine_lacks_is_warned_of(client, available):
    lacking = sorted(set(capabilities.ALL) - available)
    _, warnings = created(client, {"HostConfig": {"CapAdd": lacking}})
    told = f"capabilities that the engine itself lacks were left out: {', '.join(lacking)}"
    assert warnings == ([told] if lacking else [])


def test_an_unknown_capability(engine):
    assert 'invalid CapDrop: unknown capability: "CAP_NOSUCH"' in refusal(engine, "--cap-drop", "nosuch")


# ---- privileged


def test_a_privileged_container(engine, available):
    script = f"{STATUS}; mount; ls /dev; echo x > /proc/sys/kernel/domainname && echo written"
    seen = run(engine, "--privileged", script=script)
    assert held(seen) == available
    assert fields(seen)["Seccomp"] == "0"
    assert " on /sys type sysfs (rw," in seen
    assert " on /sys/firmware " not in seen
    assert "written" in seen
    shown = {path.name for path in Path("/dev").iterdir() if path.is_block_device()}
    assert shown <= set(seen.split())


def test_a_privileged_exec(engine, available):
    engine.docker("run", "-d", "--name", "host", "busybox", "sleep", "600")
    assert held(engine.out("exec", "--privileged", "host", "cat", "/proc/self/status")) == available
    assert held(engine.out("exec", "host", "cat", "/proc/self/status")) == capabilities.DEFAULT
    engine.docker("rm", "-f", "host")


# ---- security options


def test_no_new_privileges(engine):
    assert fields(run(engine, "--security-opt", "no-new-privileges", script=STATUS))["NoNewPrivs"] == "1"
    assert fields(run(engine, "--security-opt", "no-new-privileges=false", script=STATUS))["NoNewPrivs"] == "0"


def test_filters_of_system_calls(engine, tmp_path):
    profile = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    said = run(engine, "--security-opt", f"seccomp={profile}", script=f"mkdir /x 2>&1; {STATUS}")
    assert "No space left on device" in said
    assert fields(said)["Seccomp"] == "2"
    assert fields(run(engine, "--security-opt", "seccomp=unconfined", script=STATUS))["Seccomp"] == "0"
    assert fields(run(engine, "--security-opt", "seccomp=builtin", script=STATUS))["Seccomp"] == "2"


def test_a_filter_that_is_none(engine, client, tmp_path):
    (tmp_path / "bad.json").write_text('{"defaultAction": 5}')
    assert "seccomp" in refusal(engine, "--security-opt", f"seccomp={tmp_path / 'bad.json'}")
    host = {"SecurityOpt": ["seccomp={"]}
    answer = client.ask("POST", "/containers/create", {"Image": "busybox", "HostConfig": host})
    assert (answer.status, answer.message.partition(":")[0]) == (400, "decoding seccomp profile failed")


def test_paths_of_the_system(engine, client):
    assert " on /sys/firmware " in run(engine, script="mount")
    opened = run(engine, "--security-opt", "systempaths=unconfined", script="mount")
    assert " on /sys/firmware " not in opened
    assert " on /proc/sys " not in opened
    shown, _ = created(client, {"HostConfig": {"SecurityOpt": ["systempaths=unconfined"]}})
    assert (shown["HostConfig"]["MaskedPaths"], shown["HostConfig"]["ReadonlyPaths"]) == ([], [])


def test_paths_of_ones_own_choice(client, engine):
    host = {"MaskedPaths": ["/etc/passwd"], "ReadonlyPaths": ["/home"]}
    body = {"Image": "busybox", "HostConfig": host, "Cmd": ["sh", "-c", "cat /etc/passwd | wc -c; touch /home/x 2>&1"]}
    assert client.ask("POST", "/containers/create?name=masked", body).status == 201
    seen = engine.docker("start", "-a", "masked", check=False).stdout.decode()
    assert seen.splitlines()[0] == "0"
    assert "Read-only file system" in seen
    engine.docker("rm", "masked")


def test_labels_and_profiles_are_applied_or_warned_of(engine, client):
    facts = read_host_facts()
    options = ["label=disable"]
    _, warnings = created(client, {"HostConfig": {"SecurityOpt": options}})
    assert warnings == []
    _, warnings = created(client, {"HostConfig": {"SecurityOpt": ["label=type:spc_t"]}})
    assert ["label=type:spc_t is not applied" in warning for warning in warnings] == [True]
    if not facts.apparmor:
        _, warnings = created(client, {"HostConfig": {"SecurityOpt": ["apparmor=other"]}})
        assert warnings == ["this kernel has no AppArmor: profile other is not applied"]
    _, warnings = created(client, {"HostConfig": {"SecurityOpt": ["apparmor=unconfined"]}})
    assert warnings == []


def test_control_groups_can_be_made_writable(engine):
    script = "mount | grep cgroup"
    assert "(ro," in run(engine, script=script)
    writable = run(engine, "--security-opt", "writable-cgroups=true", "--cgroupns", "private", script=script)
    assert "(rw," in writable


@pytest.mark.parametrize("option", ["foo", "foo=bar", "no-new-privileges=maybe", "seccomp", "systempaths=x"])
def test_an_option_that_is_none(client, option):
    body = {"Image": "busybox", "HostConfig": {"SecurityOpt": [option]}}
    answer = client.ask("POST", "/containers/create", body)
    assert answer.status in (400, 500)
    assert answer.message == f'invalid --security-opt 2: "{option}"'


# ---- devices


@pytest.fixture(scope="module")
def device() -> tuple[str, str]:
    """A device that containers don't get by themselves: its path and `major:minor`."""
    paths = (Path("/dev") / name for name in ("fuse", "loop-control", "kmsg"))
    path = next(path for path in paths if path.is_char_device())
    number = path.stat().st_rdev
    return str(path), f"{os.major(number)}:{os.minor(number)}"


def opens(path: str, how: str) -> str:
    """A script that says whether a file can be opened."""
    return f"(exec 3{how}{path}) 2> /dev/null && echo opened || echo refused"


def test_a_device_with_its_permissions(engine, device):
    path, _ = device
    script = f"{opens('/dev/x', '<')}; {opens('/dev/x', '>')}"
    assert run(engine, "--device", f"{path}:/dev/x:r", script=script).split() == ["opened", "refused"]
    assert run(engine, "--device", f"{path}:/dev/x", script=script).split() == ["opened", "opened"]
    assert run(engine, script=f"ls {path} 2> /dev/null || echo none") == "none"


def test_a_directory_of_devices(engine, tmp_path):
    (tmp_path / "deep").mkdir()
    for place in ("null", "deep/zero"):
        os.mknod(tmp_path / place, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (tmp_path / "file").touch()
    seen = run(engine, "--device", f"{tmp_path}:/dev/all", script="cd /dev/all; find . -type c; find . -type f")
    assert set(seen.split()) == {"./null", "./deep/zero"}


def test_rules_of_devices(engine, device):
    _, numbers = device
    script = f"mknod /tmp/x c {numbers.replace(':', ' ')}; {opens('/tmp/x', '<>')}"
    assert run(engine, script=script) == "refused"
    assert run(engine, "--device-cgroup-rule", f"c {numbers} rw", script=script) == "opened"


def test_an_update_leaves_devices_as_they_were(engine, device):
    path, numbers = device
    engine.docker("run", "-d", "--name", "has", "--device", path, "busybox", "sleep", "600")
    engine.docker("run", "-d", "--name", "lacks", "busybox", "sleep", "600")
    engine.docker("update", "--memory", "64m", "--memory-swap", "64m", "has", "lacks")
    script = f"mknod /tmp/x c {numbers.replace(':', ' ')}; {opens('/tmp/x', '<>')}"
    assert engine.out("exec", "has", "sh", "-c", script) == "opened"
    assert engine.out("exec", "lacks", "sh", "-c", script) == "refused"
    engine.docker("rm", "-f", "has", "lacks")


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        (("--device", "/dev/nosuch"), 127,
         'error gathering device information while adding custom device "/dev/nosuch": no such file or directory'),
        (("--device", "/etc/passwd"), 125,
         'error gathering device information while adding custom device "/etc/passwd": not a device node'),
        (("--gpus", "all"), 125, 'could not select device driver "" with capabilities: [[gpu]]'),
    ],
    ids=str,
)  # fmt: skip
def test_a_device_that_cannot_be_had(engine, options, status, text):
    assert text in refusal(engine, *options, status=status)


@pytest.mark.parametrize("rule", ["x 1:1 r", "c 1:1", "c 1:1 x", "c a:1 r", ""])
def test_a_rule_that_is_none(client, rule):
    body = {"Image": "busybox", "HostConfig": {"DeviceCgroupRules": [rule]}}
    answer = client.ask("POST", "/containers/create", body)
    assert (answer.status, answer.message) == (400, f'invalid device cgroup rule format: "{rule}"')


def test_inspect_shows_security_as_it_was_given(client):
    host = {
        "CapAdd": ["NET_ADMIN"], "CapDrop": ["KILL"], "SecurityOpt": ["no-new-privileges", "label=disable"],
        "Devices": [{"PathOnHost": "/dev/zero", "PathInContainer": "/dev/z", "CgroupPermissions": "r"}],
        "DeviceCgroupRules": ["c 1:3 rwm"], "GroupAdd": ["5"], "ReadonlyPaths": ["/a"], "MaskedPaths": ["/b"],
    }  # fmt: skip
    shown, warnings = created(client, {"HostConfig": host})
    assert warnings == []
    assert {name: shown["HostConfig"][name] for name in host} == host
