"""Health checks as clients see them."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.engines import wait_until

pytestmark = pytest.mark.root
PATIENCE_S = 60.0
QUICK = ("--health-interval", "100ms", "--health-timeout", "20s")


@pytest.fixture(autouse=True)
def clean(engine):
    yield
    if ids := engine.out("ps", "-aq").split():
        engine.docker("rm", "-f", *ids)


def health(engine, name: str) -> Any:
    return engine.inspect(name)["State"].get("Health")


def until(engine, name: str, status: str) -> None:
    wait_until(lambda: health(engine, name)["Status"] == status, f"{name} is {status}", PATIENCE_S)


def actions(engine, name: str) -> list[str]:
    words = ("--since", "0", "--until", f"{time.time():.9f}", "--filter", f"container={name}", "--format", "{{json .}}")
    return [json.loads(line)["Action"] for line in engine.out("events", *words).splitlines()]


def test_from_starting_to_healthy_to_unhealthy_and_back(engine):
    engine.docker(
        "run", "-d", "--name", "web", *QUICK, "--health-retries", "2", "--health-cmd", "echo looked; test -e /well",
        "busybox", "sleep", "1000",
    )  # fmt: skip
    assert health(engine, "web")["Status"] in ("starting", "unhealthy")
    until(engine, "web", "unhealthy")
    engine.docker("exec", "web", "touch", "/well")
    until(engine, "web", "healthy")
    found = health(engine, "web")
    assert found["FailingStreak"] == 0
    assert 0 < len(found["Log"]) <= 5
    assert (found["Log"][-1]["ExitCode"], found["Log"][-1]["Output"]) == (0, "looked\n")
    assert found["Log"][-1]["Start"] < found["Log"][-1]["End"]
    assert "(healthy)" in engine.out("ps", "--format", "{{.Status}}")
    assert engine.out("ps", "-q", "--filter", "health=healthy") != ""
    assert engine.out("ps", "-q", "--filter", "health=unhealthy", "--filter", "health=none") == ""
    assert [action for action in actions(engine, "web") if "health" in action] == [
        "health_status: unhealthy",
        "health_status: healthy",
    ]
    # beside the exec that a client asked for there is none to be heard of
    assert [action for action in actions(engine, "web") if action.startswith("exec_create")] == [
        "exec_create: touch /well"
    ]
    assert engine.inspect("web")["ExecIDs"] is None


def test_a_probe_that_takes_too_long_is_killed(engine):
    engine.docker(
        "run", "-d", "--name", "slow", "--health-interval", "50ms", "--health-timeout", "500ms", "--health-retries",
        "1", "--health-cmd", "echo begun; sleep 1000", "busybox", "sleep", "1000",
    )  # fmt: skip
    until(engine, "slow", "unhealthy")
    first = health(engine, "slow")["Log"][0]
    assert first["ExitCode"] == -1
    assert first["Output"].startswith("Health check exceeded timeout (0.5s)")
    listed = engine.out("top", "slow", "-o", "pid,args").splitlines()
    assert len([line for line in listed if "sleep 1000" in line]) <= 3  # its own, and at most one probe


def test_a_start_period_forgives(engine):
    engine.docker(
        "run", "-d", "--name", "late", *QUICK, "--health-retries", "1", "--health-start-period", "1h",
        "--health-start-interval", "50ms", "--health-cmd", "test -e /well", "busybox", "sleep", "1000",
    )  # fmt: skip
    wait_until(lambda: len(health(engine, "late")["Log"]) >= 3, "it was probed some times", PATIENCE_S)
    assert (health(engine, "late")["Status"], health(engine, "late")["FailingStreak"]) == ("starting", 0)
    assert "(health: starting)" in engine.out("ps", "--format", "{{.Status}}")
    engine.docker("exec", "late", "touch", "/well")
    until(engine, "late", "healthy")


def test_the_images_check_counts_unless_it_is_switched_off(engine):
    archive = engine.directory / "rootfs.tar"
    with archive.open("wb") as file:
        file.write(b"\0" * 10240)
    engine.docker(
        "import", "--change", "HEALTHCHECK --interval=100ms CMD exit 0", "--change", 'CMD ["/bin/sleep"]',
        str(archive), "checked",
    )  # fmt: skip
    assert engine.inspect("checked")["Config"]["Healthcheck"]["Test"] == ["CMD-SHELL", "exit 0"]
    mount = ("-v", "/bin/busybox:/bin/sleep:ro", "-v", "/bin/busybox:/bin/sh:ro")
    engine.docker("run", "-d", "--name", "with", *mount, "checked", "/bin/sleep", "1000")
    engine.docker("run", "-d", "--name", "without", "--no-healthcheck", *mount, "checked", "/bin/sleep", "1000")
    until(engine, "with", "healthy")
    assert health(engine, "without") is None
    assert engine.out("ps", "--filter", "health=none", "--format", "{{.Names}}") == "without"
    assert engine.inspect("without")["Config"]["Healthcheck"]["Test"] == ["NONE"]


def test_what_does_not_run_is_not_probed(engine):
    engine.docker("run", "-d", "--name", "one", *QUICK, "--health-cmd", "exit 0", "busybox", "sleep", "1000")
    until(engine, "one", "healthy")
    engine.docker("pause", "one")
    assert "(Paused)" in engine.out("ps", "--format", "{{.Status}}")
    engine.docker("unpause", "one")
    before = health(engine, "one")["Log"][-1]["End"]
    wait_until(lambda: health(engine, "one")["Log"][-1]["End"] > before, "it is probed again", PATIENCE_S)
    engine.docker("stop", "-t", "0", "one")
    assert health(engine, "one")["Status"] == "unhealthy"
    engine.docker("start", "one")
    until(engine, "one", "healthy")


def test_over_a_killed_daemon(engine):
    engine.docker(
        "run", "-d", "--name", "one", "--health-interval", "100ms", "--health-timeout", "2s", "--health-retries", "99",
        "--health-cmd", "test ! -e /hangs || sleep 1234", "busybox", "sleep", "1000",
    )  # fmt: skip
    until(engine, "one", "healthy")
    engine.docker("exec", "one", "touch", "/hangs")
    wait_until(lambda: hanging(engine), "a probe hangs", PATIENCE_S)
    engine.kill()
    left = hanging_pids()
    engine.start()
    assert health(engine, "one")["Status"] == "healthy"
    assert not left & hanging_pids()
    engine.docker("exec", "one", "rm", "/hangs")
    until(engine, "one", "healthy")
    wait_until(
        lambda: health(engine, "one")["Log"][-1:] and health(engine, "one")["Log"][-1]["ExitCode"] == 0,
        "the new daemon probes",
        PATIENCE_S,
    )


def hanging(engine) -> bool:
    return "sleep 1234" in engine.out("top", "one", "-o", "pid,args")


def hanging_pids() -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if (entry / "cmdline").read_bytes() == b"sleep\0001234\0":
                    found.add(int(entry.name))
    return found
