"""A daemon that is killed, and containers that don't notice."""

import os
import signal
import subprocess
import sys
import time
from datetime import datetime

import pytest

from tests.engines import ROOT, engine_with_image, wait_until

pytestmark = pytest.mark.root


@pytest.fixture
def engine():
    """An engine for tests that kill it."""
    with engine_with_image() as subject:
        yield subject


def test_a_killed_daemon_finds_its_containers_again(engine):
    script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"
    engine.docker("run", "-d", "--name", "counter", "-p", "8080:80", "busybox", "sh", "-c", script)
    engine.docker("exec", "-d", "counter", "httpd", "-p", "80", "-h", "/etc")
    before = engine.inspect("counter")["State"]
    engine.kill()
    assert b"root" in engine.inside("wget", "-qO-", "http://127.0.0.1:8080/passwd").stdout
    time.sleep(0.3)  # the container goes on writing meanwhile
    engine.start()
    after = engine.inspect("counter")["State"]
    assert (after["Status"], after["Pid"], after["StartedAt"]) == ("running", before["Pid"], before["StartedAt"])
    assert engine.out("exec", "counter", "echo", "hi") == "hi"
    assert b"root" in engine.inside("wget", "-qO-", "http://127.0.0.1:8080/passwd").stdout
    lines = [int(line) for line in engine.out("logs", "counter").split()]
    assert lines == list(range(1, len(lines) + 1))
    with engine.popen("wait", "counter") as waiting:
        engine.docker("kill", "-s", "9", "counter")
        assert waiting.stdout.read() == b"137\n"
    engine.docker("rm", "counter")
    assert engine.stop() == 0
    assert engine.leftovers() == []


def test_what_ended_meanwhile_has_its_true_status_and_time(engine):
    engine.docker("run", "-d", "--name", "brief", "busybox", "sh", "-c", "sleep 0.5; exit 42")
    engine.docker("run", "-d", "--rm", "--name", "gone", "busybox", "sh", "-c", "sleep 0.5")
    engine.kill()
    time.sleep(1.5)
    restarted = time.time()
    engine.start()
    state = engine.inspect("brief")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 42)
    finished = datetime.fromisoformat(state["FinishedAt"][:19] + "+00:00").timestamp()
    assert finished < restarted
    wait_until(lambda: engine.out("ps", "-aq", "--filter", "name=gone") == "", "what was to be removed is")


def test_an_orderly_stop_leaves_containers_running(engine):
    engine.docker("run", "-d", "--name", "stays", "busybox", "sleep", "600")
    pid = engine.inspect("stays")["State"]["Pid"]
    assert engine.stop() == 0
    engine.start()
    assert engine.inspect("stays")["State"]["Pid"] == pid


def test_live_restore_can_be_turned_off(engine):
    engine.stop()
    engine.start("--live-restore=false")
    engine.docker(
        "run", "-d", "--name", "ends", "busybox", "sh", "-c", 'trap "exit 0" TERM; while :; do sleep 0.05; done'
    )
    assert engine.stop() == 0
    engine.start()
    assert engine.inspect("ends")["State"]["Status"] == "exited"


def test_a_second_daemon_on_the_same_data_is_refused(engine):
    command = [sys.executable, "-m", "daemon", "--instance", "other", "-H", f"unix://{engine.directory}/2.sock"]
    command += ["--data-root", str(engine.data_root), "--exec-root", str(engine.directory / "e2")]
    second = subprocess.run(command, capture_output=True, timeout=30, check=False, cwd=ROOT)
    assert second.returncode == 1
    said = second.stderr.decode()
    assert str(engine.process.pid) in said
    assert "Traceback" not in said


def test_the_bus_dies_with_requests_in_flight(engine):
    bus = next(pid for pid, arguments in engine._processes() if arguments.startswith("/usr/sbin/nats-server"))
    runs = [engine.popen("run", "--rm", "busybox", "sh", "-c", f"sleep 0.2; echo {number}") for number in range(4)]
    time.sleep(0.15)
    subprocess.run(["kill", "-9", str(bus)], check=True)
    assert sorted(run.communicate(timeout=60)[0] for run in runs) == [b"0\n", b"1\n", b"2\n", b"3\n"]


def test_a_failed_start_is_undone_and_told(engine):
    engine.docker("create", "--name", "bad", "busybox", "/nosuch")
    assert engine.docker("start", "bad", check=False).returncode != 0
    state = engine.inspect("bad")["State"]
    assert (state["Status"], state["ExitCode"], state["Pid"]) == ("created", 127, 0)
    assert "no such file or directory" in state["Error"]
    engine.docker("rm", "bad")
    assert engine.stop() == 0
    assert engine.leftovers() == []


def test_what_ended_with_an_update_cut_off_has_ended(engine, tmp_path):
    engine.docker("run", "-d", "--name", "brief", "busybox", "sleep", "1000")
    pid = engine.inspect("brief")["State"]["Pid"]
    assert engine.stop() == 0
    plan = "container.update/exec.update_process/before=delay:20\n*/process.exited/after=kill\n"
    (tmp_path / "plan").write_text(plan)
    engine.start(environment={"SHIPLOG_FAILPOINTS": str(tmp_path)})
    with engine.popen("update", "--memory", "64m", "--memory-swap", "128m", "brief") as updating:
        passed = tmp_path / "passed"
        wait_until(lambda: passed.exists() and "update_process" in passed.read_text(), "the update has begun")
        os.kill(pid, signal.SIGKILL)
        assert engine.process is not None
        engine.process.wait(10)
        updating.communicate(timeout=10)
    engine.start()
    state = engine.inspect("brief")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 137)
    engine.docker("rm", "brief")
