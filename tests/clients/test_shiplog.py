"""The `shiplog` command against a real engine: the everyday life of containers, images and volumes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from events import chain
from events.lines import lines as told_lines
from events.lines import read_line

pytestmark = pytest.mark.root
PROGRAM = Path(sys.executable).with_name("shiplog")
LIMIT_S = 60


@pytest.fixture
def shiplog(engine):
    def run(*words: str, check: bool = True, text: str = "", environment: dict[str, str] | None = None):
        done = subprocess.run(
            [PROGRAM, *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            env={**os.environ, "SHIPLOG_HOST": f"unix://{engine.socket}", **(environment or {})},
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return run


def out(done):
    return done.stdout.strip()


def test_a_containers_life(shiplog):
    identity = out(
        shiplog("run", "-d", "--name", "web", "-e", "COLOR=red", "-l", "tier=front", "busybox", "sleep", "1000")
    )
    assert out(shiplog("ps", "-q", "--no-trunc")) == identity
    assert out(shiplog("ps", "--format", '{{.Names}} {{.State}} {{.Label "tier"}}')) == "web running front"
    assert json.loads(out(shiplog("ps", "--format", "json")))["Image"] == "busybox"
    assert out(shiplog("inspect", "-f", "{{.State.Status}} {{index .Config.Env 0}}", "web")) == "running COLOR=red"
    assert out(shiplog("exec", "web", "sh", "-c", "echo $COLOR")) == "red"
    assert shiplog("exec", "web", "sh", "-c", "exit 3", check=False).returncode == 3
    assert shiplog("exec", "-i", "web", "cat", text="through\n").stdout == "through\n"
    assert "sleep 1000" in shiplog("top", "web").stdout
    shiplog("rename", "web", "site")
    shiplog("pause", "site")
    assert out(shiplog("ps", "-a", "--format", "{{.Status}}")).endswith("(Paused)")
    shiplog("unpause", "site")
    assert out(shiplog("stop", "-t", "0", "site")) == "site"
    assert out(shiplog("wait", "site")) == "137"
    shiplog("start", "site")
    assert shiplog("rm", "site", check=False).returncode == 1
    assert out(shiplog("rm", "-f", "site")) == "site"
    assert out(shiplog("ps", "-aq")) == ""


def test_run_ends_as_the_container_did(shiplog):
    assert shiplog("run", "--rm", "busybox", "echo", "hello").stdout == "hello\n"
    assert shiplog("run", "--rm", "busybox", "sh", "-c", "exit 7", check=False).returncode == 7
    assert shiplog("run", "--rm", "busybox", "/nope", check=False).returncode == 127
    assert shiplog("run", "--rm", "busybox", "/etc", check=False).returncode == 126
    refused = shiplog("run", "--rm", "--memory", "1", "busybox", check=False)
    assert refused.returncode == 125
    assert "Minimum memory limit allowed is 6MB" in refused.stderr
    both = shiplog("run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo late >&2", text="early\n")
    assert (both.stdout, both.stderr) == ("early\n", "late\n")


def test_files_go_in_and_out(shiplog, tmp_path):
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/file").write_text("content")
    (tmp_path / "tree/link").symlink_to("/etc/passwd")
    shiplog("create", "--name", "box", "busybox")
    shiplog("cp", str(tmp_path / "tree"), "box:/tmp/")
    shiplog("cp", str(tmp_path / "tree/sub/file"), "box:/tmp/renamed")
    shiplog("cp", "box:/tmp/tree", str(tmp_path / "back"))
    assert (tmp_path / "back/sub/file").read_text() == "content"
    assert (tmp_path / "back/link").readlink() == Path("/etc/passwd")
    shiplog("cp", "box:/tmp/renamed", str(tmp_path))
    assert (tmp_path / "renamed").read_text() == "content"
    (tmp_path / "contents").mkdir()
    shiplog("cp", "box:/tmp/tree/.", str(tmp_path / "contents"))
    assert (tmp_path / "contents/sub/file").exists()
    assert "A /tmp/renamed" in shiplog("diff", "box").stdout.splitlines()
    absent = shiplog("cp", "box:/nope", str(tmp_path), check=False)
    assert absent.returncode == 1
    assert "Could not find the file /nope in container box" in absent.stderr
    shiplog("rm", "box")


def test_images_and_volumes(shiplog, tmp_path):
    shiplog("tag", "busybox", "team/app:v1")
    assert "team/app" in out(shiplog("images", "--format", "{{.Repository}}")).split()
    assert out(shiplog("images", "team/app", "--format", "{{.Tag}}")) == "v1"
    assert out(shiplog("rmi", "team/app:v1")) == "Untagged: team/app:v1"
    assert shiplog("history", "-q", "busybox").stdout
    assert out(shiplog("volume", "create", "data")) == "data"
    shiplog("run", "--rm", "-v", "data:/data", "busybox", "touch", "/data/x")
    assert out(shiplog("volume", "ls", "-q", "-f", "name=data")) == "data"
    assert out(shiplog("volume", "inspect", "-f", "{{.Driver}}", "data")) == "local"
    assert out(shiplog("volume", "rm", "data")) == "data"
    assert "bridge" in out(shiplog("network", "ls", "--format", "{{.Name}}")).split()
    assert shiplog("network", "inspect", "nope", check=False).returncode == 1


def test_output_is_shown_again(shiplog):
    shiplog("run", "--name", "talker", "busybox", "sh", "-c", "echo one; echo two")
    assert shiplog("logs", "talker").stdout == "one\ntwo\n"
    assert shiplog("logs", "--tail", "1", "talker").stdout == "two\n"
    shiplog("rm", "talker")


def test_the_engine_tells_of_itself(shiplog):
    assert "runc" in shiplog("version").stdout
    assert out(shiplog("version", "--format", "{{.Server.Os}}")) == "linux"
    assert out(shiplog("info", "--format", "{{.Driver}}")) in ("overlay2", "vfs")
    assert shiplog("system", "df").stdout.startswith("TYPE")


def test_who_may_not_use_the_socket_is_told_so(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.sock"))
        listening.listen()
        os.chown(tmp_path / "s.sock", 65534, 65534)
        program = ["setpriv", "--bounding-set=-all", str(PROGRAM), "-H", f"unix://{tmp_path}/s.sock", "ps"]
        refused = subprocess.run(program, capture_output=True, check=False, timeout=LIMIT_S)
    assert refused.returncode == 1
    assert f"permission denied at unix://{tmp_path}/s.sock: use sudo" in refused.stderr.decode()


def test_the_past_can_be_asked_about(shiplog):
    shiplog("run", "--name", "gone", "busybox", "true")
    events = shiplog("events", "--since", "0", "--until", "0s", "--filter", "container=gone", "--format", "{{.Action}}")
    assert [action for action in events.stdout.split() if action != "attach"] == ["create", "start", "die"]
    then = json.loads(shiplog("diff", "--format", "json", "1", "now").stdout)["to"]["sequence"]
    shiplog("rm", "gone")
    told = shiplog("why", "gone").stdout
    assert "container.create by uid 0" in told
    assert "container.removed" in told
    assert "gone" in out(shiplog("--at", str(then), "ps", "-a", "--format", "{{.Names}}")).split()
    assert "gone" not in out(shiplog("ps", "-a", "--format", "{{.Names}}")).split()
    assert "- container gone" in shiplog("diff", str(then), "now").stdout.splitlines()
    refused = shiplog("--at", "999999999", "ps", check=False)
    assert refused.returncode == 1
    assert "999999999" in refused.stderr


def test_shells_complete_live_names(shiplog):
    shiplog("create", "--name", "completed", "busybox")
    environment = {"COMP_WORDS": "shiplog start comp", "COMP_CWORD": "2"}
    assert shiplog(environment={"_SHIPLOG_COMPLETE": "bash_complete", **environment}).stdout == "plain,completed\n"
    assert shiplog(environment={"_SHIPLOG_COMPLETE": "zsh_complete", **environment}).stdout == "plain\ncompleted\n_\n"
    environment["COMP_CWORD"] = "comp"  # fish tells the word itself
    assert shiplog(environment={"_SHIPLOG_COMPLETE": "fish_complete", **environment}).stdout == "plain,completed\n"
    shiplog("rm", "completed")


def test_auditors_see_who_did_what(shiplog, engine, tmp_path):
    shiplog("run", "--name", "audited", "busybox", "true")
    shiplog("rm", "nosuch", check=False)
    told = [
        json.loads(line)
        for line in shiplog("audit", "log", "--object", "audited", "--format", "json").stdout.splitlines()
    ]
    assert [entry["Command"] for entry in told][:1] == ["container.create"]
    assert all(entry["Caller"].startswith(("uid 0", "engine")) for entry in told)
    refused = shiplog("audit", "log", "--outcome", "refused", "--command", "remove", "--since", "10m")
    assert "No such container: nosuch" in refused.stdout
    exported = tmp_path / "log.jsonl"
    shiplog("audit", "export", "--output", str(exported))
    before = len(exported.read_text().splitlines())
    shiplog("rm", "audited")
    shiplog("audit", "export", "--output", str(exported))
    lines = [json.loads(line) for line in exported.read_text().splitlines()]
    assert len(lines) > before
    assert [line["sequence"] for line in lines] == list(range(1, len(lines) + 1))
    replayed = json.loads(shiplog("audit", "replay", "--format", "json", str(exported)).stdout)
    assert replayed["sequence"] == len(lines)
    assert out(shiplog("audit", "replay", "--compare", str(exported))) == f"equal up to event {len(lines)}"
    assert (
        json.loads(shiplog("audit", "export", "--as", "ocsf", "--first", "1", "--last", "1").stdout)["class_uid"]
        == 6003
    )
    (tmp_path / "foreign").write_text("nothing of ours\n")
    unusable = shiplog("audit", "replay", str(tmp_path / "foreign"), check=False)
    assert (unusable.returncode, unusable.stdout) == (1, "")
    assert "foreign" in unusable.stderr


def test_bad_input_is_told_and_changes_nothing(shiplog, engine, tmp_path):
    shiplog("create", "--name", "untouched", "busybox")
    log, newer, damaged, foreign = (tmp_path / name for name in ("log.jsonl", "newer", "damaged", "foreign"))
    shiplog("audit", "export", "--output", str(log))
    lines = log.read_bytes().splitlines(keepends=True)
    first = read_line(lines[0])
    record = bytes(first.record).replace(b'"schema":1', b'"schema":99')
    digest = chain.link(chain.genesis(first.log), record)
    newer.write_bytes(b"".join(told_lines(first.log, [(1, record, digest)])))
    damaged.write_bytes(b"".join(lines).replace(b'"uid":0', b'"uid":7', 1))
    foreign.write_text("nothing of ours\n")
    here = f"unix://{engine.socket}"
    for sentence, *commands in (
        ("choose one from 1 to", ("diff", "999999999", "now")),
        (
            "before the log begins",
            ("--at", "2001-01-01T00:00:00Z", "ps"),
        ),
        ("leave 'at' out", ("--at", "5", "rm", "untouched"), ("--at", "5", "rmi", "busybox")),
        ("was ever in this log", ("why", "nosuch")),
        ("choose one up to it", ("audit", "export", "--last", "999999999"), ("audit", "export", "--first", "0")),
        ("choose one up to it", ("audit", "replay", "--to", "999999999", str(log))),
        ("neither a log file", ("audit", "export", "--log", str(foreign)), ("audit", "verify", str(foreign))),
        ("neither a log file", ("replay", "--onto", here, str(foreign))),
        (
            "does not fit the hash chain",
            ("audit", "log", "--log", str(damaged)),
            ("replay", "--onto", here, str(damaged)),
        ),
        ("written by a newer one", ("audit", "replay", str(newer))),
        ("no public key", ("audit", "verify", "--key", str(foreign))),
        ("private key", ("replay", "--onto", here, "--keys", str(foreign), "--identity", str(foreign), str(log))),
        ("is no engine", ("replay", "--onto", "ftp://x", str(log))),
        ("another file", ("audit", "export", "--output", str(foreign))),
        ("no NATS server", ("audit", "export", "--nats", "nats://127.0.0.1:1", "--subject", "x")),
    ):
        for command in commands:
            refused = shiplog(*command, check=False)
            assert (refused.returncode, refused.stdout) == (1, ""), command
            assert sentence in refused.stderr, command
    assert foreign.read_text() == "nothing of ours\n"
    assert "untouched" in out(shiplog("ps", "-a", "--format", "{{.Names}}")).split()
    shiplog("rm", "untouched")


def test_keys_are_exported_for_their_recipient_alone(shiplog, tmp_path):
    public = out(shiplog("audit", "identity", str(tmp_path / "own.key")))
    assert shiplog("audit", "identity", str(tmp_path / "own.key"), check=False).returncode == 1
    shiplog("create", "--name", "sealed", "-e", "SECRET=hunter2", "busybox")
    shiplog("audit", "keys", public, "--output", str(tmp_path / "keys.json"))
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    assert b"hunter2" not in (tmp_path / "keys.json").read_bytes()
    assert shiplog("audit", "keys", "nonsense", "--output", str(tmp_path / "x.json"), check=False).returncode == 1
    shiplog("rm", "sealed")


def test_the_log_is_verified_with_the_public_key(shiplog, engine, tmp_path):
    key = engine.data_root / "checkpoints/public.pem"
    kept = tmp_path / "kept"
    kept.write_text(shiplog("audit", "checkpoint").stdout)
    shiplog("create", "--name", "later", "busybox")
    told = shiplog("audit", "verify", "--key", str(key), "--checkpoints", str(kept)).stdout
    assert "are complete and unchanged" in told
    assert "it bears out 1 checkpoints" in told
    exported = tmp_path / "log.jsonl"
    shiplog("audit", "export", "--output", str(exported))
    shiplog("audit", "verify", "--key", str(key), "--checkpoints", str(kept), str(exported))
    lines = exported.read_bytes().splitlines(keepends=True)
    exported.write_bytes(b"".join(lines[:2] + lines[3:]))
    damaged = shiplog("audit", "verify", str(exported), check=False)
    assert damaged.returncode == 1
    assert "event 3" in damaged.stderr
    (tmp_path / "cut").write_bytes(b"".join(lines[:2]))
    cut = shiplog("audit", "verify", "--key", str(key), "--checkpoints", str(kept), str(tmp_path / "cut"), check=False)
    assert "its tail was cut off" in cut.stderr
    foreign = tmp_path / "other.pem"
    foreign.write_text("nothing")
    assert shiplog("audit", "verify", "--key", str(foreign), check=False).returncode == 1
    shiplog("rm", "later")
