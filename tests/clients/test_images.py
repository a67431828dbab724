"""Images as the docker CLI loads, lists, names and removes them."""

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.engines import busybox_archive

pytestmark = pytest.mark.root


def test_what_was_loaded_is_listed(engine):
    assert engine.out("images", "--format", "{{.Repository}}:{{.Tag}}") == "busybox:latest"
    loaded = engine.docker("load", stdin=busybox_archive())
    assert loaded.stdout.decode().splitlines()[-1] == "Loaded image: busybox:latest"
    image = json.loads(engine.out("image", "inspect", "busybox"))[0]
    assert image["RepoTags"] == ["busybox:latest"]
    assert image["Config"]["Cmd"] == ["sh"]
    assert len(image["RootFS"]["Layers"]) == 1
    assert "busybox" in engine.out("history", "--no-trunc", "busybox")


def test_names_move_and_go(engine):
    engine.docker("tag", "busybox", "localhost:5000/team/box:1")
    assert "localhost:5000/team/box" in engine.out("images", "--format", "{{.Repository}}")
    identity = engine.out("images", "-q", "--no-trunc", "busybox")
    assert engine.out("inspect", "--format", "{{.Id}}", "localhost:5000/team/box:1") == identity
    assert engine.out("rmi", "localhost:5000/team/box:1") == "Untagged: localhost:5000/team/box:1"
    assert engine.out("run", "--rm", identity[:19], "echo", "by id") == "by id"


def test_import_with_changes(engine, tmp_path):
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "bin" / "busybox").chmod(0o755)
    archive = engine.inside("tar", "-C", str(root), "-c", ".").stdout
    identity = engine.out(
        "import", "-c", 'ENTRYPOINT ["/bin/busybox"]', "-c", "CMD echo default", "-c", "ENV A=b", "-m", "mine",
        "-", "made:1", stdin=archive,
    )  # fmt: skip
    assert identity.startswith("sha256:")
    assert engine.out("run", "--rm", "made:1", "echo", "hi") == "hi"
    image = json.loads(engine.out("image", "inspect", "made:1"))[0]
    assert (image["Comment"], image["Config"]["Env"]) == ("mine", ["A=b"])
    deleted = engine.out("rmi", "made:1").splitlines()
    assert deleted[0] == "Untagged: made:1"
    assert deleted[1] == f"Deleted: {identity}"


def test_an_image_in_use_stays(engine):
    engine.docker("create", "--name", "user", "busybox")
    refused = engine.docker("rmi", "busybox", check=False).stderr.decode()
    assert "conflict: unable to " in refused
    assert "(must be forced)" in refused
    engine.docker("rm", "user")


def test_an_image_that_is_gone_can_be_loaded_again(engine):
    identity = engine.out("images", "-q", "--no-trunc", "busybox")
    removed = engine.out("rmi", "busybox").splitlines()
    assert removed[0] == "Untagged: busybox:latest"
    assert removed[1] == f"Deleted: {identity}"
    assert removed[2].startswith("Deleted: sha256:")
    assert engine.out("images", "-q") == ""
    engine.load_busybox()
    assert engine.out("run", "--rm", "busybox", "echo", "back") == "back"


def test_disk_usage_is_what_du_counts(engine):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add("/usr/include", "include")
        for number in range(2000):
            entry = tarfile.TarInfo(f"small/{number}")
            entry.size = number % 900
            tar.addfile(entry, io.BytesIO(os.urandom(entry.size)))
        same = tarfile.TarInfo("small/same")
        same.type, same.linkname = tarfile.LNKTYPE, "small/7"
        tar.addfile(same)
    engine.docker("import", "-", "many:1", stdin=archive.getvalue())
    usage = asked(engine, "/system/df?type=image")
    layers = engine.data_root / "overlay2"
    counted = int(engine.inside("du", "-s", "--block-size=1", str(layers)).stdout.split()[0])
    assert abs(usage["LayersSize"] - counted) <= counted // 100
    many = next(image for image in usage["Images"] if image["RepoTags"] == ["many:1"])
    assert many["Size"] > engine.inspect("many:1")["Size"]
    engine.docker("rmi", "many:1")


def asked(engine, path: str) -> Any:
    """What the API answers."""
    return json.loads(engine.inside("curl", "-s", "--unix-socket", str(engine.socket), f"http://x{path}").stdout)


def test_manifests_are_those_of_saved_images(engine):
    archive = io.BytesIO(engine.docker("save", "busybox").stdout)
    with tarfile.open(fileobj=archive) as tar:
        index = tar.extractfile("index.json")
        assert index is not None
        (described,) = json.load(index)["manifests"]
    container = engine.out("create", "--name", "user", "busybox")
    (entry,) = asked(engine, "/v1.47/images/json?manifests=1")
    (manifest,) = entry["Manifests"]
    assert manifest["Descriptor"] == {key: described[key] for key in ("mediaType", "digest", "size")}
    assert (manifest["ID"], manifest["Kind"], manifest["Available"]) == (described["digest"], "image", True)
    assert manifest["ImageData"]["Containers"] == [container]
    assert manifest["ImageData"]["Platform"] == {"architecture": "amd64", "os": "linux"}
    assert manifest["Size"]["Total"] > manifest["ImageData"]["Size"]["Unpacked"] > entry["Size"]
    assert asked(engine, "/v1.48/images/busybox/json?manifests=1")["Manifests"] == [manifest]
    for quiet in ("/v1.47/images/busybox/json?manifests=1", "/v1.48/images/busybox/json"):
        assert "Manifests" not in asked(engine, quiet)
    for quiet in ("/v1.46/images/json?manifests=1", "/v1.47/images/json"):
        assert "Manifests" not in asked(engine, quiet)[0]
    platform = "%7B%22os%22:%22linux%22,%22architecture%22:%22amd64%22%7D"
    refused = asked(engine, f"/v1.49/images/busybox/json?manifests=1&platform={platform}")
    assert refused["message"] == "conflicting options: manifests and platform options cannot both be set"
    engine.docker("rm", "user")


def test_what_is_no_archive_is_refused(engine):
    refused = engine.docker("load", stdin=b"junk" * 1000, check=False)
    assert refused.returncode == 1
    assert refused.stderr
    assert engine.out("images", "--format", "{{.Repository}}") == "busybox"


def test_system_prune_clears_what_nobody_uses(engine):
    engine.docker("create", "--name", "unused", "busybox")
    assert "Total reclaimed space" in engine.out("system", "prune", "-f")
    assert engine.out("ps", "-aq") == ""
