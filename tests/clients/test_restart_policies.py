"""Restart policies: what starts again by itself, what doesn't, and what becomes of it when the daemon goes away."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.engines import EngineUnderTest, remove_cgroups, wait_until

pytestmark = pytest.mark.root
PATIENCE_S = 60.0
FAILS = ("sh", "-c", "echo run >> /runs; exit 3")
STAYS = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")


@pytest.fixture(scope="module")
def engine():
    """An engine that tests may kill: every test removes its containers."""
    subject = EngineUnderTest()
    try:
        subject.start()
        subject.load_busybox()
        yield subject
        assert subject.stop() == 0
        assert subject.leftovers() == []
    finally:
        subject.close()


@pytest.fixture(autouse=True)
def clean(engine):
    yield
    if ids := engine.out("ps", "-aq").split():
        engine.docker("rm", "-f", *ids)


def state(engine, name: str) -> Any:
    return engine.inspect(name)["State"]


def until(engine, name: str, holds, what: str) -> None:
    wait_until(lambda: holds(engine.inspect(name)), what, PATIENCE_S)


def restarts(engine, name: str) -> Any:
    return engine.inspect(name)["RestartCount"]


def events(engine, name: str) -> list[Any]:
    words = ("--since", "0", "--until", f"{time.time():.9f}", "--filter", f"container={name}", "--format", "{{json .}}")
    return [json.loads(line) for line in engine.out("events", *words).splitlines()]


def kill_process(engine, name: str) -> None:
    """Its first process dies of itself: nobody asked the engine."""
    os.kill(state(engine, name)["Pid"], signal.SIGKILL)


def test_a_failure_is_retried_as_often_as_was_said(engine):
    engine.docker("run", "-d", "--name", "fails", "--restart", "on-failure:3", "busybox", *FAILS)
    until(engine, "fails", lambda c: c["State"]["Status"] == "exited", "it gives up")
    found = engine.inspect("fails")
    assert (found["RestartCount"], found["State"]["ExitCode"], found["State"]["Restarting"]) == (3, 3, False)
    told = [each for each in events(engine, "fails") if each["Action"] in ("start", "die")]
    assert [each["Action"] for each in told] == ["start", "die"] * 4
    times = [each["timeNano"] for each in told]
    pauses = [(start - die) / 1e9 for die, start in zip(times[1::2], times[2::2], strict=False)]
    assert [pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True)] == [True] * 3
    engine.docker("start", "fails")  # counts anew
    until(engine, "fails", lambda c: c["State"]["Status"] == "exited" and c["RestartCount"] == 3, "it gives up again")


def test_success_ends_on_failure_but_not_always(engine):
    engine.docker("run", "-d", "--name", "well", "--restart", "on-failure", "busybox", "true")
    engine.docker("run", "-d", "--name", "again", "--restart", "always", "busybox", "true")
    until(engine, "well", lambda c: c["State"]["Status"] == "exited", "it has ended")
    until(engine, "again", lambda c: c["RestartCount"] >= 2, "it is started again")
    assert restarts(engine, "well") == 0


def test_a_stop_is_respected_also_between_two_runs(engine):
    engine.docker("run", "-d", "--name", "stays", "--restart", "always", "busybox", *STAYS)
    engine.docker("stop", "-t", "5", "stays")
    engine.docker("run", "-d", "--name", "waits", "--restart", "always", "busybox", *FAILS)
    until(engine, "waits", lambda c: c["State"]["Restarting"] and c["RestartCount"] >= 5, "it waits some seconds")
    assert state(engine, "waits")["Running"]
    assert "Restarting (3)" in engine.out("ps", "--filter", "name=waits", "--format", "{{.Status}}")
    said = engine.docker("rm", "waits", check=False).stderr
    assert b"container is restarting: stop the container before removing or force remove" in said
    for verb in (("exec", "waits", "true"), ("top", "waits"), ("pause", "waits")):
        assert b"is restarting, wait until the container is running" in engine.docker(*verb, check=False).stderr
    engine.docker("stop", "waits")
    for name in ("stays", "waits"):
        found = state(engine, name)
        assert (found["Status"], found["Restarting"], found["Running"]) == ("exited", False, False)
    count = restarts(engine, "waits")
    engine.docker("run", "--rm", "busybox", "sleep", "1")  # longer than a first pause
    assert (restarts(engine, "waits"), restarts(engine, "stays")) == (count, 0)


@pytest.mark.parametrize("verb", ["kill", "rm"])
def test_other_ways_out(engine, verb):
    engine.docker("run", "-d", "--name", "waits", "--restart", "always", "busybox", *FAILS)
    until(engine, "waits", lambda c: c["State"]["Restarting"] and c["RestartCount"] >= 5, "it waits some seconds")
    with engine.popen("wait", "waits") as waiting:
        engine.docker(*(("rm", "-f") if verb == "rm" else (verb,)), "waits")
        assert waiting.wait(PATIENCE_S) == 0
    if verb == "kill":
        assert state(engine, "waits")["Status"] == "exited"


def test_a_killed_container_stays_and_one_that_dies_comes_back(engine):
    engine.docker("run", "-d", "--name", "one", "--restart", "unless-stopped", "busybox", *STAYS)
    kill_process(engine, "one")
    until(engine, "one", lambda c: c["State"]["Running"] and c["RestartCount"] == 1 and c["State"]["Pid"], "it is back")
    engine.docker("kill", "one")
    assert state(engine, "one")["Status"] == "exited"
    engine.docker("restart", "one")
    assert restarts(engine, "one") == 0


def test_a_policy_excludes_rm(engine):
    done = engine.docker("create", "--rm", "--restart", "always", "busybox", "true", check=False)
    assert done.returncode != 0


def test_over_a_killed_daemon(engine):
    for name, policy in (("al", "always"), ("un", "unless-stopped"), ("no", "no")):
        engine.docker("run", "-d", "--name", name, "--restart", policy, "busybox", *STAYS)
        engine.docker("run", "-d", "--name", f"{name}-dies", "--restart", policy, "busybox", *STAYS)
        engine.docker("stop", "-t", "5", name)
    engine.docker("run", "-d", "--name", "waits", "--restart", "always", "busybox", *FAILS)
    until(engine, "waits", lambda c: c["State"]["Restarting"] and c["RestartCount"] >= 3, "it waits")
    pids = {name: state(engine, f"{name}-dies")["Pid"] for name in ("al", "un", "no")}
    count = restarts(engine, "waits")
    engine.kill()
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    engine.start()
    until(engine, "waits", lambda c: c["RestartCount"] > count, "the planned restart comes")
    for name in ("al", "al-dies", "un-dies"):
        until(engine, name, lambda c: c["State"]["Pid"] != 0, f"{name} runs")
    assert {name: state(engine, name)["Status"] for name in ("un", "no", "no-dies")} == dict.fromkeys(
        ("un", "no", "no-dies"), "exited"
    )
    assert state(engine, "no-dies")["ExitCode"] == 137


def reboot(engine, pids: list[int]) -> None:
    """What a reboot does: every process ends, unseen by anybody, and what is only in memory is gone."""
    engine.kill()
    for pid in [*(pid for pid, _ in engine._processes(forwarders=True)), *pids]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not list(engine._processes(forwarders=True)), "all processes have ended", PATIENCE_S)
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        place = line.split()[4]
        if str(engine.directory) in place:
            subprocess.run(["umount", "-l", place], check=False)
    shutil.rmtree(engine.exec_root, ignore_errors=True)
    remove_cgroups(engine.names.cgroup_parent)


def test_over_a_reboot(engine):
    for name, policy in (("al", "always"), ("un", "unless-stopped"), ("fa", "on-failure"), ("no", "no")):
        engine.docker("run", "-d", "--name", name, "--restart", policy, "busybox", *STAYS)
    guest = ("--name", "guest", "--network", "container:al", "--restart", "always")
    engine.docker("run", "-d", *guest, "busybox", *STAYS)
    pids = [state(engine, name)["Pid"] for name in ("al", "un", "fa", "no", "guest")]
    reboot(engine, pids)
    engine.start()
    for name in ("al", "un", "fa", "guest"):
        until(engine, name, lambda c: c["State"]["Pid"] != 0, f"{name} runs again")
    found = state(engine, "no")
    assert (found["Status"], found["ExitCode"]) == ("exited", 255)
