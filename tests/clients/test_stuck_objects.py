"""One object that hangs: neither the daemon's start nor anybody else waits for it."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.engines import EngineUnderTest, wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow]

BOUND_S = 20.0  # what hangs is given 30
FREEZER = Path("/sys/fs/cgroup/freezer")

# Everything is passed on to runc; while the file is there, it never answers about a container.
RUNTIME = """\
#!/bin/sh
[ "$1" = --version ] && echo "a runtime that may hang" && exit
for word; do
    case "$word" in
        state|delete|kill) while [ -e {stuck} ]; do sleep 0.05; done ;;
    esac
done
exec runc "$@"
"""


@pytest.fixture
def engine():
    """With a runtime that hangs while the file `stuck` is in the engine's directory."""
    subject = EngineUnderTest()
    program = subject.directory / "runtime"
    program.write_text(RUNTIME.format(stuck=subject.directory / "stuck"))
    program.chmod(0o755)
    subject.arguments = ("--add-runtime", f"slow={program}")
    try:
        subject.start()
        subject.load_busybox()
        yield subject
    finally:
        (subject.directory / "stuck").unlink(missing_ok=True)
        subject.close()


def hangs(engine: EngineUnderTest) -> bool:
    """Whether the runtime is being asked for something that it doesn't answer."""
    return any("delete" in arguments for _, arguments in engine._processes())


def test_a_runtime_that_hangs_holds_up_neither_the_start_nor_others(engine):
    engine.docker("run", "-d", "--name", "stuck", "--runtime", "slow", "busybox", "sleep", "1000")
    engine.docker("run", "-d", "--name", "fine", "busybox", "sleep", "1000")
    pid = engine.inspect("stuck")["State"]["Pid"]
    engine.kill()
    (engine.directory / "stuck").touch()
    began = time.monotonic()
    engine.start()
    engine.docker("exec", "fine", "true")
    engine.docker("run", "--rm", "busybox", "true")
    engine.docker("rm", "-f", "fine")
    assert time.monotonic() - began < BOUND_S
    assert engine.inspect("stuck")["State"]["Pid"] == pid
    (engine.directory / "stuck").unlink()
    engine.docker("stop", "-t", "0", "stuck")
    engine.docker("rm", "stuck")
    assert engine.stop() == 0
    assert engine.leftovers() == []


def test_a_removal_that_hangs_is_told_and_goes_on_once_it_can(engine):
    engine.docker("run", "-d", "--name", "stuck", "--runtime", "slow", "busybox", "sleep", "1000")
    (engine.directory / "stuck").touch()
    with engine.popen("rm", "-f", "stuck"):
        wait_until(lambda: hangs(engine), "the runtime was asked and hangs")
        engine.kill()
    began = time.monotonic()
    engine.start()
    engine.docker("run", "--rm", "busybox", "true")
    assert time.monotonic() - began < BOUND_S
    assert b"is already in progress" in engine.docker("rm", "-f", "stuck", check=False).stderr
    (engine.directory / "stuck").unlink()
    wait_until(lambda: engine.out("ps", "-aq") == "", "the removal has ended")
    assert engine.stop() == 0
    assert engine.leftovers() == []


@contextlib.contextmanager
def undying(pid: int):
    """A process that not even SIGKILL ends, as if it waited in the kernel.

    It is frozen in a control group of its own, where the engine's thawing of the container doesn't reach it.
    """
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    place = next(line.split(":", 2)[2] for line in lines if line.split(":")[1] == "freezer")
    own = FREEZER / place.lstrip("/") / "stuck"
    own.mkdir()
    try:
        (own / "cgroup.procs").write_text(str(pid))
        (own / "freezer.state").write_text("FROZEN")
        wait_until(lambda: (own / "freezer.state").read_text() == "FROZEN\n", "it is frozen")
        yield
    finally:
        if own.exists():
            (own / "freezer.state").write_text("THAWED")


@pytest.mark.skipif(not FREEZER.is_dir(), reason="what is frozen can be killed where freezing is of version 2")
def test_a_process_that_can_t_be_killed_holds_up_nobody_else(engine):
    engine.docker("run", "-d", "--name", "stuck", "-p", "8081:80", "busybox", "sleep", "1000")
    engine.docker("run", "-d", "--name", "fine", "busybox", "sleep", "1000")
    pid = engine.inspect("stuck")["State"]["Pid"]
    with undying(pid):
        with engine.popen("rm", "-f", "stuck"):
            wait_until(lambda: engine.inspect("stuck")["State"]["Status"] != "created", "it is known")
            began = time.monotonic()
            engine.docker("exec", "fine", "true")
            engine.docker("run", "--rm", "busybox", "true")
            engine.kill()
        engine.start()
        engine.docker("exec", "fine", "true")
        engine.docker("run", "--rm", "busybox", "true")
        engine.docker("rm", "-f", "fine")
        assert time.monotonic() - began < BOUND_S
        os.kill(pid, 0)  # it is still there
    wait_until(lambda: removed(engine, "stuck"), "it can be removed", 60)
    engine.docker("run", "--rm", "-p", "8081:80", "busybox", "true")
    assert engine.stop() == 0
    assert engine.leftovers() == []


def removed(engine: EngineUnderTest, name: str) -> bool:
    """Whether it is gone, after another try where a first one has failed."""
    engine.docker("rm", "-f", name, check=False)
    return name not in engine.out("ps", "-a", "--format", "{{.Names}}").split()


def test_mounts_that_stay_busy_hold_up_nobody(engine):
    tmpfs = ("--opt", "type=tmpfs", "--opt", "device=tmpfs")
    engine.docker("volume", "create", *tmpfs, "vol")
    engine.docker("run", "-d", "--name", "busy", "-v", "vol:/data", "busybox", "sleep", "1000")
    places = (
        engine.inspect("busy")["GraphDriver"]["Data"]["MergedDir"],
        engine.out("volume", "inspect", "--format", "{{.Mountpoint}}", "vol"),
    )
    holders = [subprocess.Popen(["sleep", "1000"], cwd=place) for place in places]
    try:
        engine.docker("rm", "-f", "busy")
        engine.docker("run", "--rm", "-v", "vol:/data", "busybox", "true")
        engine.docker("volume", "rm", "vol")
        engine.restart()
        engine.docker("run", "--rm", "busybox", "true")
    finally:
        for holder in holders:
            holder.send_signal(signal.SIGKILL)
            holder.wait(30)
    assert engine.stop() == 0
    assert engine.leftovers() == []
