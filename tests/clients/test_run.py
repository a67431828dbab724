"""`docker run` and what people do with containers all day."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time

import pytest

from tests.engines import wait_until

pytestmark = pytest.mark.root


def test_output_and_status_of_a_foreground_run(engine):
    done = engine.docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 7)
    assert engine.out("ps", "-aq") == ""


def test_stdin_reaches_the_process_and_its_end_too(engine):
    data = os.urandom(200_000)
    done = engine.docker("run", "--rm", "-i", "busybox", "cat", stdin=data)
    assert done.stdout == data


def test_a_large_output_is_complete(engine):
    done = engine.docker("run", "--rm", "busybox", "seq", "1", "200000")
    assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 200_001))


@pytest.mark.parametrize(
    ("command", "status", "text"),
    [
        (["/nosuch"], 127, "no such file or directory"),
        (["nosuch"], 127, "executable file not found in $PATH"),
        (["/etc"], 126, "permission denied"),
    ],
)
def test_a_command_that_cannot_run(engine, command, status, text):
    done = engine.docker("run", "--rm", "busybox", *command, check=False)
    assert done.returncode == status
    assert text in done.stderr.decode()
    wait_until(lambda: engine.out("ps", "-aq") == "", "the container is removed")


def test_an_engines_refusal_is_125(engine):
    done = engine.docker("run", "--rm", "--memory", "1k", "busybox", "true", check=False)
    assert done.returncode == 125
    assert b"Minimum memory limit allowed is 6MB" in done.stderr


def test_an_unknown_image(engine):
    done = engine.docker("run", "--pull", "never", "--rm", "nosuch", "true", check=False)
    assert done.returncode == 125
    assert b"No such image: nosuch:latest" in done.stderr


def test_a_terminal(engine):
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    with engine.popen("run", "--rm", "-it", "busybox", "sh", stdin=terminal, stdout=terminal, stderr=terminal) as run:
        os.close(terminal)
        os.write(controller, b"stty size; tty; exit 3\n")
        assert run.wait(20) == 3
    output = b""
    while True:
        try:
            chunk = os.read(controller, 65536)
        except OSError:
            break
        output += chunk
    os.close(controller)
    assert b"\r\n" in output
    assert b"33 77" in output


def test_detach_keys_leave_the_container_running(engine):
    controller, terminal = pty.openpty()
    with engine.popen("run", "-it", "--name", "kept", "busybox", "sh", stdin=terminal, stdout=terminal) as run:
        os.close(terminal)
        wait_until(lambda: engine.out("ps", "-q", "--filter", "name=kept") != "", "it runs")
        os.write(controller, b"\x10\x11")
        run.wait(20)
    os.close(controller)
    assert engine.inspect("kept")["State"]["Running"] is True
    engine.docker("rm", "-f", "kept")


def test_a_detached_run_and_its_life(engine):
    identity = engine.out("run", "-d", "--name", "life", "--label", "a=b", "busybox", "sleep", "600")
    assert re.fullmatch("[0-9a-f]{64}", identity)
    assert (
        engine.out("ps", "--format", "{{.Names}} {{.Image}} {{.State}}", "--filter", "label=a=b")
        == "life busybox running"
    )
    engine.docker("pause", "life")
    assert engine.inspect("life")["State"]["Status"] == "paused"
    engine.docker("unpause", "life")
    engine.docker("rename", "life", "death")
    engine.docker("restart", "-t", "0", "death")
    assert engine.inspect("death")["State"]["Running"] is True
    top = engine.out("top", "death")
    assert "sleep 600" in top
    engine.docker("stop", "-t", "1", "death")
    state = engine.inspect("death")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 137)
    engine.docker("start", "death")
    engine.docker("kill", "death")
    assert engine.out("wait", "death") == "137"
    engine.docker("rm", "death")
    assert b"No such container: death" in engine.docker("rm", "death", check=False).stderr


def test_a_restart_keeps_what_removes_itself(engine):
    engine.docker("run", "-d", "--rm", "--name", "again", "busybox", "sleep", "600")
    engine.docker("restart", "-t", "0", "again")
    assert engine.inspect("again")["State"]["Running"] is True
    engine.docker("stop", "-t", "0", "again")
    wait_until(lambda: engine.out("ps", "-aq", "--filter", "name=again") == "", "it is removed at its end")


def test_a_killed_pause_ends(engine):
    engine.docker("run", "-d", "--name", "frozen", "busybox", "sleep", "600")
    engine.docker("pause", "frozen")
    engine.docker("kill", "frozen")
    assert engine.inspect("frozen")["State"]["Status"] == "exited"
    engine.docker("rm", "frozen")


def test_stop_heeds_the_signal(engine):
    script = 'trap "echo bye; exit 4" TERM; echo ready; while :; do sleep 0.05; done'
    engine.docker("run", "-d", "--name", "polite", "busybox", "sh", "-c", script)
    wait_until(lambda: "ready" in engine.out("logs", "polite"), "the trap is set")
    began = time.monotonic()
    engine.docker("stop", "polite")
    assert time.monotonic() - began < 5
    assert engine.inspect("polite")["State"]["ExitCode"] == 4
    assert engine.out("logs", "polite") == "ready\nbye"
    engine.docker("rm", "polite")


def test_kill_overtakes_a_stop(engine):
    engine.docker("run", "-d", "--name", "deaf", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    with engine.popen("stop", "-t", "60", "deaf") as stopping:
        wait_until(
            lambda: (
                "kill"
                in engine.out(
                    "events",
                    "--since",
                    "0",
                    "--until",
                    str(time.time()),
                    "--filter",
                    "container=deaf",
                    "--format",
                    "{{.Action}}",
                )
            ),
            "the stop began",
        )
        engine.docker("kill", "deaf")
        assert stopping.wait(10) == 0
    engine.docker("rm", "deaf")


def test_logs(engine):
    script = "for i in 1 2 3 4 5; do echo line $i; done; echo oops >&2; printf end"
    engine.docker("run", "--name", "talk", "busybox", "sh", "-c", script)
    assert engine.out("logs", "talk") == "line 1\nline 2\nline 3\nline 4\nline 5\nend"
    assert engine.out("logs", "-n", "2", "talk") in ("line 5\nend", "end")
    stamped = engine.out("logs", "-t", "talk").splitlines()[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z line 1", stamped)
    stamp = stamped.partition(" ")[0]
    assert engine.out("logs", "--until", "2000-01-01T00:00:00Z", "talk") == ""
    assert engine.out("logs", "--since", stamp, "talk").startswith("line 1")
    engine.docker("rm", "talk")


def test_logs_follow_until_the_end(engine):
    engine.docker("run", "-d", "--name", "slow", "busybox", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done")
    assert engine.out("logs", "-f", "slow") == "1\n2\n3"
    wait_until(lambda: engine.inspect("slow")["State"]["Status"] == "exited", "it is settled")
    assert engine.out("logs", "-f", "slow", timeout_s=5) == "1\n2\n3"
    engine.docker("rm", "-f", "slow")


def test_attach_to_a_running_container(engine):
    engine.docker("run", "-di", "--name", "echo", "busybox", "cat")
    with engine.popen("attach", "--sig-proxy=false", "echo") as attached:
        attached.stdin.write(b"hello\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == b"hello\n"
        engine.docker("kill", "echo")
        attached.wait(10)
    engine.docker("rm", "echo")


def test_exec(engine):
    engine.docker("run", "-d", "--name", "host", "-e", "A=1", "busybox", "sleep", "600")
    assert engine.out("exec", "host", "echo", "hi") == "hi"
    assert engine.docker("exec", "host", "sh", "-c", "exit 9", check=False).returncode == 9
    assert engine.out(
        "exec", "-e", "B=2", "-w", "/tmp", "-u", "web", "host", "sh", "-c", "echo $A $B $PWD $(id -un)"
    ) == ("1 2 /tmp web")
    assert engine.docker("exec", "-i", "host", "cat", stdin=b"in").stdout == b"in"
    missing = engine.docker("exec", "host", "nosuch", check=False)
    assert missing.returncode == 127
    assert b"executable file not found in $PATH" in missing.stderr + missing.stdout
    engine.docker("exec", "-d", "host", "touch", "/tmp/made")
    wait_until(lambda: engine.docker("exec", "host", "ls", "/tmp/made", check=False).returncode == 0, "it ran")
    engine.docker("rm", "-f", "host")


def test_what_the_process_sees(engine):
    seen = engine.out(
        "run", "--rm", "--hostname", "box", "-e", "X=y", "-w", "/home", "-u", "1000:1001", "busybox",
        "sh", "-c", "hostname; echo $X; pwd; id -u; id -g; cat /proc/self/status",
    ).splitlines()  # fmt: skip
    assert seen[:5] == ["box", "y", "/home", "1000", "1001"]
    status = dict(line.split(":\t", 1) for line in seen[5:] if ":\t" in line)
    assert status["Seccomp"] == "2"
    assert status["CapEff"] == "0000000000000000"
    assert status["CapBnd"] == "00000000a80425fb"


def test_least_privilege(engine):
    script = "mount -t tmpfs x /tmp; cat /proc/kcore; echo 1 > /proc/sys/kernel/panic; ls /sys/firmware | wc -l"
    done = engine.docker("run", "--rm", "busybox", "sh", "-c", script, check=False)
    said = done.stderr.decode()
    assert "mount: permission denied" in said
    assert "Read-only file system" in said
    assert done.stdout.strip().endswith(b"0")


def test_read_only_and_tmpfs(engine):
    script = "touch /x; touch /scratch/y && ls /scratch"
    done = engine.docker("run", "--rm", "--read-only", "--tmpfs", "/scratch", "busybox", "sh", "-c", script)
    assert b"Read-only file system" in done.stderr
    assert done.stdout == b"y\n"


def test_limits_reach_the_kernel(engine):
    engine.docker(
        "run", "-d", "--name", "small", "-m", "32m", "--cpus", "0.5", "--pids-limit", "20", "busybox", "sleep", "60"
    )
    host = engine.inspect("small")["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (32 << 20, 500_000_000, 20)
    done = engine.docker("exec", "small", "sh", "-c", "for i in $(seq 40); do sleep 5 & done", check=False)
    assert b"fork" in done.stderr
    engine.docker("rm", "-f", "small")


def test_out_of_memory_is_told(engine):
    engine.docker(
        "run",
        "--name",
        "hungry",
        "-m",
        "8m",
        "--memory-swap",
        "8m",
        "busybox",
        "sh",
        "-c",
        "tail /dev/zero",
        check=False,
    )
    state = engine.inspect("hungry")["State"]
    assert (state["OOMKilled"], state["ExitCode"]) == (True, 137)
    engine.docker("rm", "hungry")


def test_wait_tells_the_status_of_what_has_ended(engine):
    engine.docker("create", "--name", "later", "busybox", "sh", "-c", "exit 5")
    assert engine.docker("start", "-a", "later", check=False).returncode == 5
    assert engine.out("wait", "later") == "5"
    engine.docker("rm", "later")


def test_events_tell_the_whole_life_in_order(engine):
    since = f"{time.time():.9f}"
    engine.docker("run", "--rm", "--name", "story", "-v", "tale:/x", "busybox", "true")
    wait_until(lambda: "destroy" in _actions(engine, since), "the container is destroyed")
    assert _actions(engine, since) == [
        "create", "create", "attach", "mount", "connect", "start", "disconnect", "unmount", "die", "destroy",
    ]  # fmt: skip
    engine.docker("volume", "rm", "tale")


def _actions(engine, since: str) -> list[str]:
    until = f"{time.time() + 1:.9f}"
    lines = engine.out("events", "--since", since, "--until", until, "--format", "{{json .}}").splitlines()
    return [json.loads(line)["Action"] for line in lines]


def test_a_client_that_goes_away_stops_nothing(engine):
    run = engine.popen("run", "--name", "orphan", "busybox", "sleep", "600")
    wait_until(lambda: engine.out("ps", "-q", "--filter", "name=orphan") != "", "it runs")
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=10)
    assert engine.inspect("orphan")["State"]["Running"] is True
    engine.docker("rm", "-f", "orphan")


def test_names_are_unique_and_free_again(engine):
    engine.docker("create", "--name", "one", "busybox")
    taken = engine.docker("create", "--name", "one", "busybox", check=False)
    assert b'Conflict. The container name "/one" is already in use by container' in taken.stderr
    engine.docker("rm", "one")
    engine.docker("create", "--name", "one", "busybox")
    engine.docker("rm", "one")


def test_ps_filters(engine):
    engine.docker("create", "--name", "alpha", "--label", "k=v", "busybox")
    engine.docker("run", "--name", "beta", "busybox", "sh", "-c", "exit 3", check=False)
    names = ["ps", "-a", "--format", "{{.Names}}", "--filter"]
    assert engine.out(*names, "status=created") == "alpha"
    assert engine.out(*names, "exited=3") == "beta"
    assert engine.out(*names, "label=k=v") == "alpha"
    assert engine.out(*names, "since=alpha") == "beta"
    assert engine.out(*names, "before=beta") == "alpha"
    assert engine.out(*names, "ancestor=busybox").splitlines() == ["beta", "alpha"]
    assert engine.out(*names, "name=^/alpha$") == "alpha"
    engine.docker("rm", "alpha", "beta")


def test_prefixes_and_wrong_names(engine):
    identity = engine.out("create", "busybox")
    assert engine.inspect(identity[:6])["Id"] == identity
    engine.docker("rm", identity[:6])
    assert b"No such container: nosuch" in engine.docker("start", "nosuch", check=False).stderr


def test_two_runs_write_one_log(engine):
    engine.docker("run", "--name", "twice", "busybox", "echo", "again")
    engine.docker("start", "-a", "twice")
    assert engine.out("logs", "twice") == "again\nagain"
    engine.docker("rm", "twice")


def test_many_at_once(engine):
    runs = [
        engine.popen("run", "--rm", "busybox", "echo", str(number), stdin=subprocess.DEVNULL) for number in range(8)
    ]
    outputs = sorted(int(run.communicate(timeout=60)[0]) for run in runs)
    assert outputs == list(range(8))
    wait_until(lambda: engine.out("ps", "-aq") == "", "all are removed")
