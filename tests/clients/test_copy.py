"""Files of containers as the docker CLI moves them: `cp`, `diff`, `export`, and the endpoints below."""

import base64
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.clients.raw import RawClient
from tests.engines import wait_until
from tests.fakes.tars import TarBuilder, gzipped

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def running(engine):
    """A container that runs, with a volume, a bind that is read-only, and a user of its own."""
    shared = engine.directory / "shared"
    shared.mkdir()
    (shared / "given").write_text("from the host")
    engine.docker(
        "run", "-d", "--name", "running", "-u", "web", "-v", "vol:/data", "-v", f"{shared}:/shared:ro",
        "busybox", "sleep", "1000",
    )  # fmt: skip
    return "running"


@pytest.fixture(scope="module")
def stopped(engine):
    """A container that has run, with a volume."""
    engine.docker(
        "run", "--name", "stopped", "-v", "vol2:/data", "busybox",
        "sh", "-c", "echo kept >/data/kept; echo inside >/root/inside; ln -s /root /alias",
    )  # fmt: skip
    return "stopped"


@pytest.fixture
def raw(engine):
    with RawClient(engine.socket) as client:
        yield client


def test_what_is_not_there(engine, running, tmp_path):
    failed = engine.docker("cp", f"{running}:/nosuch", str(tmp_path), check=False)
    assert failed.returncode == 1
    assert f"Could not find the file /nosuch in container {running}" in failed.stderr.decode()
    failed = engine.docker("cp", "nosuch:/x", str(tmp_path), check=False)
    assert "No such container: nosuch" in failed.stderr.decode()
    failed = engine.docker("cp", str(tmp_path), f"{running}:/nosuch/dir/x", check=False)
    assert failed.returncode == 1


def test_errors_of_the_endpoints(engine, running, raw):
    target = f"/containers/{running}/archive"
    assert raw.ask("GET", target).message == "bad parameter: path cannot be empty"
    assert raw.ask("GET", f"{target}?path=/nosuch").message == f"Could not find the file /nosuch in container {running}"
    assert raw.ask("HEAD", f"{target}?path=/nosuch").status == 404
    tar = TarBuilder().file("x", "x").bytes()
    for path, status, text in (
        ("/nosuch", 404, f"Could not find the file /nosuch in container {running}"),
        ("/etc/passwd", 400, "extraction point is not a directory"),
        ("/shared", 403, "mounted volume is marked read-only"),
    ):
        answer = raw.ask("PUT", f"{target}?path={path}", tar)
        assert (answer.status, answer.message) == (status, text)
    assert raw.ask("PUT", f"{target}?path=/tmp", b"junk" * 500).status == 400
    assert raw.ask("PUT", "/containers/nosuch/archive?path=/tmp", tar).message == "No such container: nosuch"


def test_out_of_and_into_a_running_container(engine, running, tmp_path):
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_text("hello")
    (source / "sub" / "link").symlink_to("../file")
    os.chown(source / "file", 1000, 1001)
    engine.docker("cp", str(source), f"{running}:/tmp")
    assert engine.out("exec", running, "stat", "-c", "%u:%g", "/tmp/source/file") == "1000:1001"
    assert engine.out("exec", running, "cat", "/tmp/source/sub/link") == "hello"
    engine.docker("cp", f"{running}:/tmp/source", str(tmp_path / "back"))
    assert (tmp_path / "back/sub/link").is_symlink()
    assert (tmp_path / "back/file").read_text() == "hello"
    engine.docker("cp", f"{running}:/etc/passwd", str(tmp_path / "passwd"))
    assert (tmp_path / "passwd").read_text().startswith("root:")


def test_by_the_standard_streams(engine, running):
    archive = TarBuilder().file("piped", "by stdin").bytes()
    engine.docker("cp", "-", f"{running}:/tmp", stdin=archive)
    assert engine.out("exec", running, "cat", "/tmp/piped") == "by stdin"
    engine.docker("cp", "-", f"{running}:/tmp", stdin=gzipped(TarBuilder().file("packed", "gz").bytes()))
    assert engine.out("exec", running, "cat", "/tmp/packed") == "gz"
    out = engine.docker("cp", f"{running}:/tmp/piped", "-").stdout
    assert tarfile.open(fileobj=io.BytesIO(out)).extractfile("piped").read() == b"by stdin"  # type: ignore[union-attr]


def test_everything_belongs_to_the_containers_user_with_a(engine, running, tmp_path):
    (tmp_path / "mine").write_text("x")
    engine.docker("cp", "-a", str(tmp_path / "mine"), f"{running}:/tmp/mine")
    assert engine.out("exec", running, "stat", "-c", "%u:%g", "/tmp/mine") == "1000:1000"


def test_volumes_and_binds_as_the_container_sees_them(engine, running, stopped, tmp_path):
    engine.docker("exec", "-u", "root", running, "sh", "-c", "echo v >/data/v")
    for container, path, content in (
        (running, "/data/v", "v\n"),
        (running, "/shared/given", "from the host"),
        (stopped, "/data/kept", "kept\n"),
        (stopped, "/alias/inside", "inside\n"),
    ):
        engine.docker("cp", f"{container}:{path}", str(tmp_path / "out"))
        assert (tmp_path / "out").read_text() == content
    (tmp_path / "new").write_text("new")
    engine.docker("cp", str(tmp_path / "new"), f"{stopped}:/data/new")
    mountpoint = Path(engine.out("volume", "inspect", "--format", "{{.Mountpoint}}", "vol2"))
    assert (mountpoint / "new").read_text() == "new"


def test_a_stopped_container_keeps_what_was_put_into_it(engine, stopped, tmp_path):
    (tmp_path / "put").write_text("put")
    engine.docker("cp", str(tmp_path / "put"), f"{stopped}:/alias/")
    engine.docker("cp", f"{stopped}:/root/put", str(tmp_path / "got"))
    assert (tmp_path / "got").read_text() == "put"


def test_a_container_that_never_ran(engine, tmp_path):
    engine.docker("create", "--name", "fresh", "-v", "vol3:/made/here", "busybox", "cat", "/made/here/x", "/y")
    (tmp_path / "x").write_text("x")
    engine.docker("cp", str(tmp_path / "x"), "fresh:/made/here/x")
    engine.docker("cp", str(tmp_path / "x"), "fresh:/y")
    assert engine.out("start", "-a", "fresh") == "xx"


def test_a_read_only_container_takes_files_in_its_volumes_only(engine, raw):
    engine.docker("run", "-d", "--name", "sealed", "--read-only", "-v", "vol4:/data", "busybox", "sleep", "1000")
    tar = TarBuilder().file("x", "x").bytes()
    refused = raw.ask("PUT", "/containers/sealed/archive?path=/tmp", tar)
    assert (refused.status, refused.message) == (403, "container rootfs is marked read-only")
    assert raw.ask("PUT", "/containers/sealed/archive?path=/data", tar).status == 200
    assert engine.out("exec", "sealed", "cat", "/data/x") == "x"
    engine.docker("rm", "-f", "-v", "sealed")


def test_a_file_is_described(running, raw):
    answer = raw.ask("HEAD", f"/containers/{running}/archive?path=/bin/sh")
    assert answer.status == 200
    told = json.loads(base64.b64decode(answer.headers["x-docker-container-path-stat"]))
    assert (told["name"], told["size"], told["linkTarget"]) == ("sh", 7, "/bin/busybox")
    assert told["mode"] == 1 << 27 | 0o777
    assert told["mtime"] == "1970-01-01T00:00:00Z"
    answer = raw.ask("GET", f"/containers/{running}/archive?path=/tmp/")
    assert answer.headers["content-type"] == "application/x-tar"
    told = json.loads(base64.b64decode(answer.headers["x-docker-container-path-stat"]))
    assert (told["name"], told["mode"]) == ("tmp", 1 << 31 | 1 << 20 | 0o777)


def test_kinds_are_kept_when_the_client_wants_it(running, raw):
    target = f"/containers/{running}/archive?path=/&noOverwriteDirNonDir=true"
    refused = raw.ask("PUT", target, TarBuilder().file("tmp", "x").bytes())
    assert (refused.status, "cannot overwrite directory" in refused.message) == (400, True)


def test_differences(engine):
    script = "echo x >/home/a; rm /etc/group; mkdir -p /var/q/w; echo y >/var/q/w/e; sleep 1000"
    engine.docker("run", "-d", "--name", "differs", "-v", "vol5:/data", "busybox", "sh", "-c", script)
    expected = ["C /home", "A /home/a", "C /etc", "D /etc/group", "C /var", "A /var/q", "A /var/q/w", "A /var/q/w/e"]
    wait_until(lambda: "A /var/q/w/e" in engine.out("diff", "differs"), "all is written", 30)
    found = engine.out("diff", "differs").splitlines()
    assert sorted(found) == sorted([*expected, "A /data"])  # as dockerd has it: a place made for a volume is told
    engine.docker("kill", "differs")
    assert sorted(engine.out("diff", "differs").splitlines()) == sorted(found)


def test_an_export(engine, stopped, tmp_path):
    engine.docker("export", "-o", str(tmp_path / "out.tar"), stopped)
    with tarfile.open(tmp_path / "out.tar") as tar:
        names = tar.getnames()
        assert {"bin/busybox", "root/inside", "data"} <= set(names)
        assert "data/kept" not in names
    image = engine.out("import", str(tmp_path / "out.tar"), "imported:1")
    assert engine.out("run", "--rm", "imported:1", "cat", "/root/inside") == "inside"
    engine.docker("rmi", image)


def test_what_is_told_of_it(engine, running, raw):
    tar = TarBuilder().file("told", "").bytes()
    assert raw.ask("PUT", f"/containers/{running}/archive?path=/tmp", tar).status == 200
    assert raw.ask("GET", f"/containers/{running}/archive?path=/tmp/told").status == 200
    arguments = ("--since", "0", "--until", "0s", "--filter", f"container={running}", "--format", "{{.Action}}")

    def told() -> bool:
        return {"archive-path", "extract-to-dir"} <= set(engine.out("events", *arguments).splitlines())

    wait_until(told, "both are told")


def test_a_kill_in_the_middle_leaves_an_outcome(engine, running, raw):
    """What the daemon was told to do and did before the kill is told; the container can be used."""
    tar = TarBuilder().file("before", "x" * 100_000).bytes()
    assert raw.ask("PUT", f"/containers/{running}/archive?path=/tmp", tar).status == 200
    engine.restart()
    assert engine.out("exec", running, "sh", "-c", "wc -c </tmp/before").strip() == "100000"
    with RawClient(engine.socket) as client:
        assert client.ask("PUT", f"/containers/{running}/archive?path=/tmp", tar).status == 200
