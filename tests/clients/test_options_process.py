"""Options of the process: environment, user, directory, command, signals, init, terminal; seen from inside."""

import json
import time

import pytest

from tests.clients.options import created, refusal, run
from tests.clients.raw import RawClient
from tests.engines import wait_until

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def client(engine):
    with RawClient(engine.socket) as connection:
        yield connection


# ---- environment


def test_variables_come_from_everywhere_and_the_last_counts(engine, tmp_path):
    file = tmp_path / "variables"
    file.write_text("# a comment\nFROM_FILE=1\nBOTH=file\nWITH_SPACES=two words\n")
    seen = run(
        engine, "--env-file", str(file), "-e", "BOTH=flag", "-e", "EMPTY=", "-e", "EQUALS=a=b=c", "-e", "FAR=ü",
        script="env; cat /proc/self/environ | tr '\\0' '\\n'",
    ).splitlines()  # fmt: skip
    assert {"FROM_FILE=1", "BOTH=flag", "EMPTY=", "EQUALS=a=b=c", "FAR=ü", "WITH_SPACES=two words"} <= set(seen)
    assert "BOTH=file" not in seen


def test_what_every_process_has(engine):
    seen = dict(line.partition("=")[::2] for line in run(engine, "--hostname", "box", script="env").splitlines())
    assert seen["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert (seen["HOSTNAME"], seen["HOME"]) == ("box", "/root")
    assert "TERM" not in seen
    assert run(engine, "-t", "-e", "HOME=/elsewhere", script="echo $TERM $HOME").strip() == "xterm /elsewhere"


# ---- user, directory, command


@pytest.mark.parametrize(
    ("user", "seen"),
    [
        ("web", "1000 1000 1000 1001 /home"),
        ("web:extra", "1000 1001 1001 /home"),
        ("1000", "1000 1000 1000 1001 /home"),
        ("1000:0", "1000 0 0 /home"),
        ("4711", "4711 0 0 /"),
        ("4711:4712", "4711 4712 4712 /"),
        (":extra", "0 1001 1001 /root"),
    ],
)
def test_a_user_by_name_and_number(engine, user, seen):
    assert run(engine, "-u", user, script="echo $(id -u) $(id -g) $(id -G) $HOME") == seen


def test_groups_are_added_by_name_and_number(engine):
    groups = run(engine, "-u", "web", "--group-add", "extra", "--group-add", "77", script="id -G")
    assert set(groups.split()) == {"1000", "1001", "77"}
    assert set(run(engine, "-u", "4711:5", "--group-add", "extra", script="id -G").split()) == {"5", "1001"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("-u", "nobody-here"), "unable to find user nobody-here: no matching entries in passwd file"),
        (("-u", "web:nogroup"), "unable to find group nogroup: no matching entries in group file"),
        (("--group-add", "nogroup"), "Unable to find group nogroup: no matching entries in group file"),
        (("-u", "2147483648"), "uids and gids must be in range 0-2147483647"),
    ],
)
def test_a_user_that_is_not_there(engine, options, text):
    assert text in refusal(engine, *options)


def test_a_directory_that_is_made_and_an_entrypoint(engine):
    assert run(engine, "-w", "/made/deep", script="pwd") == "/made/deep"
    assert engine.out("run", "--rm", "--entrypoint", "echo", "busybox", "a", "b c") == "a b c"
    assert engine.out("run", "--rm", "-w", "/etc", "--entrypoint", "/bin/sh", "busybox", "-c", "pwd") == "/etc"


def test_an_entrypoint_can_be_taken_away(engine):
    assert engine.out("run", "--rm", "--entrypoint", "", "busybox", "echo", "plain") == "plain"


def test_an_exec_has_the_containers_environment_user_and_directory(engine):
    engine.docker(
        "run", "-d", "--name", "host", "-e", "A=1", "-u", "web", "-w", "/home", "--group-add", "77", "busybox",
        "sleep", "600",
    )  # fmt: skip
    script = "echo $A $(id -u) $(id -G) $PWD $HOME"
    assert engine.out("exec", "host", "sh", "-c", script) == "1 1000 1000 77 1001 /home /home"
    assert engine.out("exec", "-u", "0", "-w", "/etc", "host", "sh", "-c", script) == "1 0 0 77 /etc /root"
    engine.docker("rm", "-f", "host")


# ---- ending


def test_the_stop_signal_is_the_one_that_was_asked_for(engine):
    script = 'trap "exit 41" USR1; trap "exit 42" TERM; echo ready; while :; do sleep 0.05; done'
    engine.docker("run", "-d", "--name", "polite", "--stop-signal", "USR1", "busybox", "sh", "-c", script)
    wait_until(lambda: "ready" in engine.out("logs", "polite"), "the traps are set")
    shown = engine.inspect("polite")["Config"]
    assert shown["StopSignal"] == "USR1"
    engine.docker("stop", "polite")
    assert engine.inspect("polite")["State"]["ExitCode"] == 41
    engine.docker("rm", "polite")


def test_the_stop_timeout_is_the_containers_own(engine):
    engine.docker(
        "run", "-d", "--name", "deaf", "--stop-timeout", "1", "busybox", "sh", "-c",
        "trap '' TERM; while :; do sleep 0.1; done",
    )  # fmt: skip
    assert engine.inspect("deaf")["Config"]["StopTimeout"] == 1
    began = time.monotonic()
    engine.docker("stop", "deaf")
    assert time.monotonic() - began < 9.5  # ten seconds are the default
    assert engine.inspect("deaf")["State"]["ExitCode"] == 137
    engine.docker("rm", "deaf")


def test_an_init_is_the_first_process_and_reaps(engine):
    assert run(engine, "--init", script="cat /proc/1/comm; ps -o pid,args").splitlines()[0] in ("docker-init", "tini")
    orphan = "(sleep 0.1 & exec true) & sleep 1.5; ps -o stat,args | grep -c '^Z' || true"
    assert run(engine, "--init", script=orphan).splitlines()[-1] == "0"
    script = 'trap "exit 7" TERM; echo ready; while :; do sleep 0.05; done'
    engine.docker("run", "-d", "--init", "--name", "kept", "busybox", "sh", "-c", script)
    wait_until(lambda: "ready" in engine.out("logs", "kept"), "the trap is set")
    engine.docker("stop", "kept")
    assert engine.inspect("kept")["State"]["ExitCode"] == 7
    engine.docker("rm", "kept")


def test_how_soon_the_kernel_ends_it_for_want_of_memory(engine):
    assert run(engine, "--oom-score-adj", "321", script="cat /proc/self/oom_score_adj") == "321"


# ---- which image, and whose id


def test_a_platform_that_the_image_has_or_has_not(engine):
    assert engine.out("run", "--rm", "--platform", "linux/amd64", "--pull", "never", "busybox", "echo", "up") == "up"
    refused = engine.docker(
        "run", "--rm", "--platform", "linux/arm64", "--pull", "never", "busybox", "true", check=False
    )
    assert refused.returncode == 125
    assert b"does not match the specified platform" in refused.stderr


def test_an_id_is_written_to_a_file(engine, tmp_path):
    identity = engine.out("create", "--cidfile", str(tmp_path / "id"), "busybox", "true")
    assert (tmp_path / "id").read_text() == identity
    assert engine.inspect(identity)["HostConfig"]["ContainerIDFile"] == str(tmp_path / "id")
    engine.docker("rm", identity)


# ---- what is shown


def test_labels_and_annotations_are_shown(engine, tmp_path):
    file = tmp_path / "labels"
    file.write_text("from.file=yes\n")
    engine.docker(
        "create", "--name", "marked", "--label", "a=b", "--label", "bare", "--label-file", str(file),
        "--annotation", "x.y=z", "busybox", "true",
    )  # fmt: skip
    shown = engine.inspect("marked")
    assert shown["Config"]["Labels"] == {"a": "b", "bare": "", "from.file": "yes"}
    assert shown["HostConfig"]["Annotations"] == {"x.y": "z"}
    engine.docker("start", "marked")
    engine.docker("wait", "marked")
    engine.docker("rm", "marked")


def test_annotations_reach_the_runtime(engine):
    identity = engine.out("run", "-d", "--annotation", "x.y=z", "busybox", "sleep", "600")
    told = [json.loads(path.read_text())["annotations"] for path in engine.exec_root.glob("c/*/config.json")]
    assert {"x.y": "z"} in told
    engine.docker("rm", "-f", identity)


def test_inspect_shows_the_process_as_it_was_given(client):
    body = {
        "Hostname": "box", "Domainname": "example.test", "User": "web:extra", "Tty": True, "OpenStdin": True,
        "StdinOnce": True, "Env": ["A=1", "B="], "Cmd": ["echo", "x"], "WorkingDir": "/w", "Entrypoint": ["/e"],
        "Labels": {"a": "b"}, "StopSignal": "SIGINT", "StopTimeout": 3, "Shell": ["/bin/sh", "-c"],
        "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "OnBuild": ["RUN x"],
    }  # fmt: skip
    shown, warnings = created(client, body)
    assert warnings == []
    config = shown["Config"]
    assert config["Env"][:2] == body["Env"]
    assert {name: config[name] for name in body if name != "Env"} == {
        name: value for name, value in body.items() if name != "Env"
    }
    assert (shown["Path"], shown["Args"]) == ("/e", ["echo", "x"])
