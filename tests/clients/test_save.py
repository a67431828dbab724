"""Images as archives: what `docker save` sends can be loaded again, here and by others, and is the same each time."""

import hashlib
import io
import json
import random
import subprocess
import tarfile

import pytest

from tests.clients.raw import RawClient
from tests.engines import busybox_archive, wait_until

pytestmark = pytest.mark.root


def opened(archive: bytes) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(archive))


def read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


@pytest.fixture(scope="module")
def images(engine):
    """`busybox:latest` and `box:1` of one id, `other:1` upon it."""
    engine.docker("tag", "busybox", "box:1")
    engine.docker("create", "--name", "changed", "busybox", "true")
    engine.docker("cp", "-", "changed:/", stdin=busybox_archive())
    engine.docker("commit", "changed", "other:1")
    engine.docker("rm", "changed")
    return engine


def test_what_is_not_there(images):
    with RawClient(images.socket) as raw:
        assert raw.ask("GET", "/images/get?names=nosuch").message == "No such image: nosuch:latest"
        assert raw.ask("GET", "/images/nosuch/get").status == 404
        assert raw.ask("GET", "/images/get").status == 400


def test_both_forms_upon_the_same_blobs(images):
    with opened(images.docker("save", "busybox:latest", "other:1").stdout) as tar:
        assert json.loads(read(tar, "oci-layout")) == {"imageLayoutVersion": "1.0.0"}
        manifest, index = json.loads(read(tar, "manifest.json")), json.loads(read(tar, "index.json"))
        assert [image["RepoTags"] for image in manifest] == [["busybox:latest"], ["other:1"]]
        for entry in index["manifests"]:
            described = read(tar, f"blobs/sha256/{entry['digest'][7:]}")
            assert (len(described), hashlib.sha256(described).hexdigest()) == (entry["size"], entry["digest"][7:])
            for blob in (json.loads(described)["config"], *json.loads(described)["layers"]):
                content = read(tar, f"blobs/sha256/{blob['digest'][7:]}")
                assert (len(content), hashlib.sha256(content).hexdigest()) == (blob["size"], blob["digest"][7:])
        names = [entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]]
        assert names == ["docker.io/library/busybox:latest", "docker.io/library/other:1"]
        repositories = json.loads(read(tar, "repositories"))
        assert set(repositories) == {"busybox", "other"}
        assert manifest[0]["Layers"][0] == manifest[1]["Layers"][0]
        assert len(tar.getnames()) == len(set(tar.getnames()))


def test_a_layer_is_the_very_tar_that_came(images):
    with opened(busybox_archive()) as original, opened(images.docker("save", "busybox:latest").stdout) as tar:
        saved = json.loads(read(tar, "manifest.json"))[0]
        assert read(tar, saved["Layers"][0]) == read(original, "layer.tar")
        assert read(tar, saved["Config"]) == read(original, "config.json")


def test_the_same_bytes_each_time(images):
    assert images.docker("save", "other:1").stdout == images.docker("save", "other:1").stdout


def test_names_and_ids(images):
    identity = images.out("images", "-q", "--no-trunc", "busybox")
    with opened(images.docker("save", identity).stdout) as tar:
        assert json.loads(read(tar, "manifest.json"))[0]["RepoTags"] is None
        assert "repositories" not in tar.getnames()
    with opened(images.docker("save", "box").stdout) as tar:
        assert json.loads(read(tar, "manifest.json"))[0]["RepoTags"] == ["box:1"]
    with opened(images.docker("save", "box", "busybox").stdout) as tar:
        assert [image["RepoTags"] for image in json.loads(read(tar, "manifest.json"))] == [["box:1", "busybox:latest"]]


def test_what_was_saved_can_be_loaded(images, tmp_path):
    images.docker("save", "-o", str(tmp_path / "all.tar"), "busybox", "other:1")
    before = {name: images.out("images", "-q", "--no-trunc", name) for name in ("busybox", "other:1")}
    images.docker("rmi", "busybox", "other:1")
    lines = images.out("load", "-i", str(tmp_path / "all.tar")).splitlines()
    assert lines == ["Loaded image: busybox:latest", "Loaded image: other:1"]
    assert {name: images.out("images", "-q", "--no-trunc", name) for name in before} == before
    assert images.out("run", "--rm", "other:1", "ls", "/manifest.json") == "/manifest.json"


def test_it_is_told(images):
    arguments = ("--since", "0", "--until", "0s", "--filter", "event=save", "--format", "{{.Action}}")
    wait_until(lambda: "save" in images.out("events", *arguments).splitlines(), "it is told")


def test_a_platform_that_the_image_is_not_for(images):
    failed = images.docker("save", "--platform", "linux/s390x", "busybox", check=False)
    assert failed.returncode == 1
    assert "does not match the specified platform" in failed.stderr.decode()


def test_an_image_that_is_removed_while_it_is_saved_arrives_whole_and_leaves_nothing(images):
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        entry = tarfile.TarInfo("big")
        entry.size = 24 << 20  # more than pipes and sockets hold
        tar.addfile(entry, io.BytesIO(random.Random(1).randbytes(entry.size)))
    images.docker("import", "-", "big:1", stdin=layer.getvalue())
    layers = images.data_root / "overlay2"
    before = len(list(layers.iterdir()))
    saving = images.popen("save", "big:1", stdin=subprocess.DEVNULL)
    assert saving.stdout is not None
    with saving:
        head = saving.stdout.read(1 << 20)
        assert b"Deleted: sha256:" in images.docker("rmi", "big:1").stdout
        assert len(list(layers.iterdir())) == before
        archive = head + saving.stdout.read()
        assert saving.wait(60) == 0
    with opened(archive) as tar:
        (name,) = json.loads(read(tar, "manifest.json"))[0]["Layers"]
        assert read(tar, name) == layer.getvalue()
    wait_until(lambda: len(list(layers.iterdir())) == before - 1, "the layer goes with its last reader")
