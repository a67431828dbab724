"""The programs of ops/: they parse, the image that they make is one, and the units start what there is."""

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from daemon.flags import parse

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = [path for path in (*(ROOT / "ops").iterdir(), ROOT / ".ci" / "run") if path.is_file()]


@pytest.mark.parametrize("script", [path for path in SCRIPTS if b"bash" in path.read_bytes()[:30]], ids=str)
def test_shell_programs_parse(script):
    assert script.stat().st_mode & 0o111
    result = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_what_is_installed_already_is_left_alone():
    result = subprocess.run([ROOT / "ops/packages", "coreutils", "dpkg"], capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (0, b"")


def test_the_image_is_a_docker_archive(tmp_path):
    subprocess.run([ROOT / "ops/image", tmp_path / "image.tar", "some/name:tag"], check=True)
    with tarfile.open(tmp_path / "image.tar") as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    (manifest,) = json.loads(members["manifest.json"])
    assert manifest["RepoTags"] == ["some/name:tag"]
    config, layer = json.loads(members[manifest["Config"]]), members[manifest["Layers"][0]]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as files:
        assert files.getmember("./bin/busybox").mode == 0o755
        assert files.getmember("./bin/sh").linkname == "busybox"
        assert files.getmember("./tmp").mode & 0o1777 == 0o1777
        assert {member.uid for member in files} == {0}


def test_the_image_is_always_the_same(tmp_path):
    for name in ("one", "two"):
        subprocess.run([ROOT / "ops/image", tmp_path / name], check=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_unit_starts_the_daemon_with_flags_that_it_has():
    lines = (ROOT / "ops/systemd/shiplog.service").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    program, *arguments = settings["ExecStart"].split()
    assert Path(program).name == "shiplogd"
    assert parse(arguments) == {"hosts": ["fd://"]}
    assert (settings["KillMode"], settings["Delegate"], settings["Type"]) == ("process", "yes", "notify")
