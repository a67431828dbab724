"""AppArmor: which profile a container runs under, and that it holds where nothing else does.

A kernel without AppArmor has no profiles: there a container runs all the same, and what was asked for is warned of.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.exec.drivers import apparmor
from handlers.exec.drivers.host_facts import read_host_facts
from tests.clients.options import refusal, run

pytestmark = pytest.mark.root
CONFINES = read_host_facts().apparmor
# all that would refuse a write to /proc/sys or a mount before the profile is asked
OPEN = (
    *("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"),
    *("--security-opt", "systempaths=unconfined"),
)
ATTEMPTS = (
    "(echo x > /proc/sys/kernel/domainname) 2> /dev/null && echo wrote || echo kept; "
    "mkdir -p /mnt; mount -t tmpfs x /mnt 2> /dev/null && echo mounted || echo refused"
)


@pytest.fixture(scope="module")
def profile(engine) -> Iterator[str]:
    """A profile of an administrator's own, which lets nobody write to /tmp/kept."""
    name = f"shiplog-{engine.instance}"
    text = (
        f"profile {name} flags=(attach_disconnected) "
        "{ file, capability, network, signal, ptrace, deny /tmp/kept w, }\n"
    )
    if CONFINES:
        subprocess.run(["apparmor_parser", "--replace", "--skip-cache"], input=text.encode(), check=True)
    yield name
    if CONFINES:
        subprocess.run(["apparmor_parser", "--remove"], input=text.encode(), check=True)


def confinement(engine, name: str, *options: str) -> tuple[str, str, str]:
    """The profile of a container that runs: by the kernel, by inspect, and that of an exec in it."""
    engine.docker("run", "-d", "--name", name, *options, "busybox", "sleep", "600")
    shown = engine.inspect(name)
    script = "cat /proc/self/attr/apparmor/current 2> /dev/null || true"
    inside = apparmor.of_label(engine.out("exec", name, "sh", "-c", script))
    engine_told = str(shown["AppArmorProfile"])
    kernel_told = apparmor.of_process(shown["State"]["Pid"])
    engine.docker("rm", "-f", name)
    return kernel_told, engine_told, inside


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), apparmor.NAME),
        (("--security-opt", "apparmor=unconfined"), "unconfined"),
        (("--privileged",), "unconfined"),
        (("--privileged", "--security-opt", f"apparmor={apparmor.NAME}"), apparmor.NAME),
    ],
    ids=["by itself", "unconfined", "privileged", "privileged under a profile"],
)
def test_the_profile_of_a_container_and_of_its_execs(engine, options, expected):
    assert set(confinement(engine, "guarded", *options)) == {expected if CONFINES else ""}


def test_the_default_profile_holds_where_nothing_else_does(engine):
    held = ["kept", "refused"]
    assert run(engine, *OPEN, "--security-opt", "apparmor=unconfined", script=ATTEMPTS).split() == ["wrote", "mounted"]
    assert run(engine, *OPEN, script=ATTEMPTS).split() == (held if CONFINES else ["wrote", "mounted"])
    assert run(engine, script=ATTEMPTS).split() == held


def test_the_default_profile_lets_ordinary_work_be(engine):
    script = (
        "echo x > /proc/self/comm; echo 70000 > /proc/sys/kernel/msgmax; cat /proc/sys/kernel/msgmax; "
        "sleep 60 & kill -9 $!; wait $!; echo $?; ping -c 1 127.0.0.1 > /dev/null && echo answered"
    )
    options = ("--security-opt", "systempaths=unconfined")
    assert run(engine, *options, script=script).split() == ["70000", "137", "answered"]


def test_a_profile_of_ones_own(engine, profile):
    script = "(echo x > /tmp/kept) 2> /dev/null && echo wrote || echo kept; echo x > /tmp/other && echo wrote"
    done = engine.docker("run", "--rm", "--security-opt", f"apparmor={profile}", "busybox", "sh", "-c", script)
    assert done.stdout.decode().split() == (["kept", "wrote"] if CONFINES else ["wrote", "wrote"])
    warned = f"this kernel has no AppArmor: profile {profile} is not applied" in done.stderr.decode()
    assert warned is not CONFINES
    told = confinement(engine, "guarded", "--security-opt", f"apparmor={profile}")
    assert set(told) == {profile if CONFINES else ""}


def test_a_profile_that_nobody_loaded(engine):
    options = ("--security-opt", "apparmor=nosuch")
    if CONFINES:
        said = refusal(engine, *options, status=127)  # the client's own choice, as it reads of a missing file
        assert "unable to apply apparmor profile: apparmor failed to apply profile" in said
    else:
        assert run(engine, *options, script="echo up") == "up"
    assert engine.out("ps", "-aq") == ""


def test_signals_reach_a_container_under_the_default_profile(engine):
    script = "trap 'exit 7' TERM; while :; do sleep 0.1; done"
    engine.docker("run", "-d", "--name", "guarded", "busybox", "sh", "-c", script)
    engine.docker("exec", "guarded", "true")
    engine.docker("stop", "guarded")
    assert engine.inspect("guarded")["State"]["ExitCode"] in (7, 143)
    engine.docker("rm", "guarded")


def test_information_tells_of_it(engine):
    told = engine.out("info", "--format", "{{json .SecurityOptions}}")
    assert ("name=apparmor" in told) is CONFINES
    loaded = Path("/sys/kernel/security/apparmor/profiles")
    if CONFINES:
        assert f"{apparmor.NAME} (enforce)" in loaded.read_text().splitlines()
