"""Images made of containers, as the docker CLI makes them."""

import json
import subprocess

import pytest

from tests.clients.raw import RawClient
from tests.engines import wait_until

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def web(engine):
    """A container that runs and has changed things."""
    engine.docker(
        "run", "-d", "--name", "web", "-e", "FROM=container", "-e", "BOTH=container", "-u", "web", "-w", "/tmp",
        "-l", "own=1", "--expose", "80", "-v", "vol:/data", "--stop-signal", "SIGINT", "busybox",
        "sh", "-c", "echo changed >/tmp/changed; exec sleep 1000",
    )  # fmt: skip
    engine.docker("exec", "-u", "root", "web", "sh", "-c", "rm /etc/group; echo in >/data/in; mkdir /new")
    wait_until(lambda: "A /tmp/changed" in engine.out("diff", "web"), "the container has written")
    return "web"


def image(engine, name):
    return json.loads(engine.out("image", "inspect", name))[0]


def test_what_cannot_be_committed(engine, web):
    with RawClient(engine.socket) as raw:
        assert raw.ask("POST", "/commit").message == 'invalid name or ID supplied: ""'
        assert raw.ask("POST", "/commit?container=nosuch").message == "No such container: nosuch"
        assert raw.ask("POST", f"/commit?container={web}&repo=UPPER").status == 400
        refused = raw.ask("POST", f"/commit?container={web}&changes=NONSENSE%20x")
        assert (refused.status, "nonsense is not a valid change command" in refused.message) == (400, True)
        assert raw.ask("POST", f"/commit?container={web}", {"Env": "no list"}).status == 400
    assert engine.inspect(web)["State"]["Status"] == "running"


def test_a_container_becomes_an_image(engine, web):
    identity = engine.out("commit", "-a", "somebody", "-m", "why", web, "made:1")
    made, base = image(engine, "made:1"), image(engine, "busybox")
    assert made["Id"] == identity
    assert (made["Author"], made["Comment"], made["Parent"]) == ("somebody", "why", base["Id"])
    assert made["RootFS"]["Layers"][:-1] == base["RootFS"]["Layers"]
    config = made["Config"]
    assert {"FROM=container", "BOTH=container"} <= set(config["Env"])
    assert (config["User"], config["WorkingDir"], config["StopSignal"]) == ("web", "/tmp", "SIGINT")
    assert config["Cmd"] == ["sh", "-c", "echo changed >/tmp/changed; exec sleep 1000"]
    assert (config["Labels"], config["ExposedPorts"]) == ({"own": "1"}, {"80/tcp": {}})
    newest = engine.out("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "made:1").splitlines()[0]
    assert newest == "sh -c echo changed >/tmp/changed; exec sleep 1000|why"
    script = "cat /tmp/changed; ls -d /new /data; ls /etc /data"
    assert engine.out("run", "--rm", "made:1", "sh", "-c", script).split() == [
        "changed", "/data", "/new", "/data:", "/etc:", "hostname", "hosts", "passwd", "resolv.conf",
    ]  # fmt: skip
    assert engine.inspect(web)["State"]["Status"] == "running"


def test_changes_and_what_they_leave_open(engine, web):
    engine.docker(
        "commit", "-c", "ENV BOTH=image", "-c", 'CMD ["echo", "default"]', "-c", "LABEL more=2", "-c", "USER root",
        "-c", "EXPOSE 443", web, "made:2",
    )  # fmt: skip
    config = image(engine, "made:2")["Config"]
    assert "BOTH=image" in config["Env"]
    assert "FROM=container" in config["Env"]
    assert (config["Cmd"], config["User"]) == (["echo", "default"], "root")
    assert (config["Labels"], set(config["ExposedPorts"])) == ({"own": "1", "more": "2"}, {"80/tcp", "443/tcp"})
    assert engine.out("run", "--rm", "made:2") == "default"


def test_a_body_states_the_configuration(engine, web):
    with RawClient(engine.socket) as raw:
        answer = raw.ask("POST", f"/commit?container={web}&repo=made&tag=3&pause=0", {"Cmd": ["id"], "Env": ["A=b"]})
    assert answer.status == 201
    made = image(engine, "made:3")
    assert made["Id"] == answer.json["Id"]
    assert made["Config"]["Cmd"] == ["id"]
    assert {"A=b", "FROM=container"} <= set(made["Config"]["Env"])


def test_a_container_without_changes_adds_no_layer(engine):
    engine.docker("create", "--name", "plain", "busybox", "true")
    engine.docker("commit", "plain", "made:4")
    assert image(engine, "made:4")["RootFS"] == image(engine, "busybox")["RootFS"]
    engine.docker("rm", "plain")


def test_a_stopped_container_and_a_chain_of_commits(engine):
    engine.docker("run", "--name", "first", "busybox", "sh", "-c", "mkdir /d; echo 1 >/d/one; echo 2 >/d/two")
    engine.docker("commit", "first", "chain:1")
    engine.docker("run", "--name", "second", "chain:1", "sh", "-c", "rm -r /d; mkdir /d; echo 3 >/d/three")
    engine.docker("commit", "second", "chain:2")
    assert engine.out("run", "--rm", "chain:2", "ls", "/d") == "three"
    assert len(image(engine, "chain:2")["RootFS"]["Layers"]) == 3
    engine.docker("rm", "first", "second")
    assert engine.out("run", "--rm", "chain:2", "cat", "/d/three") == "3"


def actions(engine, name):
    told = engine.out(
        "events", "--since", "0", "--until", "0s", "--filter", f"container={name}", "--format", "{{.Action}}"
    )
    return told.splitlines()


def test_pause_and_events(engine, web):
    engine.docker("commit", web, "made:5")
    engine.docker("commit", "--pause=false", web, "made:5")
    expected = ["pause", "unpause", "commit", "commit"]
    wait_until(lambda: actions(engine, web)[-4:] == expected, "it is told")  # up to the second in which one asks


def test_a_kill_in_the_middle(engine, web):
    """Whatever had come about by then: the container goes on, and the answer is one of both, for ever."""
    commit = engine.popen("commit", web, "killed:1")
    wait_until(lambda: "commit" in engine.log() or commit.poll() is not None or _is_paused(engine, web), "it began")
    engine.restart()
    try:
        commit.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        commit.kill()
        commit.communicate()
    wait_until(lambda: engine.inspect(web)["State"]["Status"] == "running", "the container goes on", 30)
    assert engine.out("exec", web, "echo", "alive") == "alive"
    engine.docker("commit", web, "killed:1")
    assert engine.out("run", "--rm", "killed:1", "cat", "/tmp/changed") == "changed"


def _is_paused(engine, name):
    return engine.inspect(name)["State"]["Paused"]
