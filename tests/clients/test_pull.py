"""Images from a registry, as the docker CLI pulls them: what comes, is shared, is resumed, is refused."""

import gzip
import json
import os
import random
import re
import threading
import time

import pytest
import zstandard
from typing_extensions import override

from tests.clients.raw import RawClient
from tests.engines import EngineUnderTest, wait_until
from tests.fakes.image_archives import SampleImage, sample
from tests.fakes.tars import TarBuilder
from tests.faults import Fault, FaultyProxy
from tests.registries import DOCKER_INDEX, OCI_INDEX, Registry, busybox_image, digest

pytestmark = pytest.mark.root
PULL_S = 120.0
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def engine():
    subject = EngineUnderTest()
    try:
        subject.start()
        yield subject
        assert subject.stop() == 0
        assert subject.leftovers() == []
    finally:
        subject.close()


@pytest.fixture(scope="module")
def registry(engine):
    subject = Registry(engine, engine.directory / "registry")
    subject.put_image("busybox:latest", busybox_image())
    yield subject
    subject.close()


@pytest.fixture(scope="module")
def shared_proxy(engine, registry):
    subject = FaultyProxy(engine.namespace, registry)
    yield subject
    subject.close()


@pytest.fixture
def proxy(shared_proxy):
    """Before the registry, without faults."""
    shared_proxy.clear()
    yield shared_proxy
    shared_proxy.clear()


def pull(engine, name: str, *options: str) -> list[str]:
    """The lines of a pull that has to succeed."""
    lines: list[str] = engine.out("pull", *options, name, timeout_s=PULL_S).splitlines()
    return lines


def refused(engine, name: str, *options: str) -> str:
    """What the CLI says of a pull that has to fail."""
    result = engine.docker("pull", *options, name, check=False, timeout_s=PULL_S)
    assert result.returncode == 1, result.stdout
    said: str = result.stderr.decode()
    return said


def drop(engine, *names: str) -> None:
    engine.docker("rmi", "-f", *names)


def layer_of(size_bytes: int, seed: int) -> bytes:
    """A layer whose content can't be compressed."""
    return TarBuilder().file(f"blob-{seed}", random.Random(seed).randbytes(size_bytes)).bytes()


def large_image(*sizes_bytes: int, seed: int = 1) -> SampleImage:
    return SampleImage(layers=tuple(layer_of(size, seed + n) for n, size in enumerate(sizes_bytes)))


def overlay_directories(engine) -> set[str]:
    return {path.name for path in (engine.data_root / "overlay2").iterdir()}


# ---- what comes


def test_a_pulled_image_runs(engine, registry):
    name = f"{registry.address}/busybox:latest"
    lines = pull(engine, name)
    assert lines[0] == "latest: Pulling from busybox"
    assert lines[-1] == name
    assert lines[-2] == f"Status: Downloaded newer image for {name}"
    assert re.fullmatch(r"Digest: sha256:[0-9a-f]{64}", lines[-3])
    assert any(re.fullmatch(r"[0-9a-f]{12}: Pull complete", line) for line in lines)
    assert engine.out("run", "--rm", name, "echo", "hi") == "hi"
    image = json.loads(engine.out("image", "inspect", name))[0]
    assert image["RepoTags"] == [name]
    assert image["RepoDigests"] == [f"{registry.address}/busybox@{lines[-3].removeprefix('Digest: ')}"]
    again = pull(engine, name)
    assert again[-2] == f"Status: Image is up to date for {name}"
    drop(engine, name)
    assert engine.out("images", "-q") == ""


def test_docker_run_pulls_what_is_missing(engine, registry):
    name = f"{registry.address}/busybox"
    result = engine.docker("run", "--rm", name, "echo", "pulled")
    assert result.stdout == b"pulled\n"
    assert b"Unable to find image" in result.stderr
    drop(engine, name)


def test_by_digest_there_is_no_tag(engine, registry):
    image = sample("by digest")
    manifest = registry.put_image("digests:1", image)
    name = f"{registry.address}/digests@{digest(json.dumps(manifest).encode())}"
    lines = pull(engine, name)
    assert lines[-2] == f"Status: Downloaded newer image for {name}"
    found = json.loads(engine.out("image", "inspect", name))[0]
    assert (found["Id"], found["RepoTags"], found["RepoDigests"]) == (image.id, [], [name])
    drop(engine, image.id)


def test_all_tags(engine, registry):
    images = [sample(word) for word in ("one", "two", "three")]
    for number, image in enumerate(images):
        registry.put_image(f"many:{number}", image)
    lines = pull(engine, f"{registry.address}/many", "--all-tags")
    assert lines[-2] == f"Status: Downloaded newer image for {registry.address}/many"
    found = engine.out("images", "--no-trunc", "--format", "{{.Tag}} {{.ID}}", f"{registry.address}/many")
    assert sorted(found.splitlines()) == [f"{number} {image.id}" for number, image in enumerate(images)]
    drop(engine, *(image.id for image in images))


@pytest.mark.parametrize("oci", [False, True], ids=["docker", "oci"])
def test_an_index_has_an_image_for_each_platform(engine, registry, oci):
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    other = "s390x"
    entries, images = [], {}
    for architecture in (other, machine):
        images[architecture] = sample(f"{oci} for {architecture}", architecture=architecture)
        manifest = registry.put_image(f"index{oci:d}:{architecture}".lower(), images[architecture], oci=oci)
        content = json.dumps(manifest).encode()
        entries.append(
            {
                "mediaType": manifest["mediaType"],
                "digest": digest(content),
                "size": len(content),
                "platform": {"os": "linux", "architecture": architecture},
            }
        )
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX if oci else DOCKER_INDEX, "manifests": entries}
    top = registry.put_manifest(f"index{oci:d}", "latest", index)
    name = f"{registry.address}/index{oci:d}"
    assert f"Digest: {top}" in pull(engine, name)
    assert engine.inspect(name)["Id"] == images[machine].id
    pull(engine, name, "--platform", f"linux/{other}")
    assert engine.inspect(name)["Id"] == images[other].id
    assert "no matching manifest for linux/riscv64 in the manifest list entries" in refused(
        engine, name, "--platform", "linux/riscv64"
    )
    drop(engine, *(image.id for image in images.values()))


def test_all_compressions_and_deletion_marks(engine, registry):
    busybox = busybox_image()
    second = TarBuilder().file("gone", "x").file("kept/hidden", "x").file("kept/replaced", "old").bytes()
    third = TarBuilder().file(".wh.gone", "").file("kept/.wh..wh..opq", "").file("kept/replaced", "new").bytes()
    image = SampleImage(layers=(*busybox.layers, second, third))
    blobs = [gzip.compress(image.layers[0]), zstandard.compress(second), third]
    registry.put_image("compressions:1", image, oci=True, blobs=blobs)
    name = f"{registry.address}/compressions:1"
    pull(engine, name)
    assert engine.out("run", "--rm", name, "sh", "-c", "ls /gone; ls /kept; cat /kept/replaced", check=False) == (
        "replaced\nnew"
    )
    drop(engine, name)


def test_events_tell_of_a_pull(engine, registry):
    registry.put_image("told:1", sample("told"))
    name = f"{registry.address}/told:1"
    pull(engine, name)
    until = str(int(time.time()) + 1)  # whole seconds: what happens in the last one isn't told
    told = engine.out("events", "--since", "0", "--until", until, "--filter", "event=pull", "--format", "{{json .}}")
    last = json.loads(told.splitlines()[-1])
    assert last["Actor"] == {"ID": name, "Attributes": {"name": f"{registry.address}/told"}}
    drop(engine, name)


# ---- what is shared


def test_layers_that_are_there_are_not_fetched(engine, registry, proxy):
    base, top = large_image(MIB, seed=100), large_image(MIB, MIB, seed=100)
    registry.put_image("base:1", base)
    manifest = registry.put_image("top:1", top)
    pull(engine, f"{proxy.address}/base:1")
    proxy.clear()
    lines = pull(engine, f"{proxy.address}/top:1")
    assert any(line.endswith("Already exists") for line in lines)
    assert proxy.fetched(manifest["layers"][0]["digest"]) == 0
    assert proxy.fetched(manifest["layers"][1]["digest"]) > MIB
    drop(engine, f"{proxy.address}/base:1", f"{proxy.address}/top:1")


def test_two_pulls_of_the_same_layers_share_a_download(engine, registry, proxy):
    first, second = large_image(4 * MIB, MIB, seed=200), large_image(4 * MIB, 2 * MIB, seed=200)
    manifest = registry.put_image("first:1", first)
    registry.put_image("second:1", second)
    shared = manifest["layers"][0]["digest"]
    gate = threading.Event()
    proxy.faults = [Fault(pattern=f"GET .*{shared}", hold=gate, hold_after=MIB)]
    pulls = [engine.popen("pull", f"{proxy.address}/{name}:1") for name in ("first", "second")]
    wait_until(lambda: len(proxy.requests("manifests/1")) == 2, "both pulls have begun", PULL_S)
    own = registry.put_image("second:1", second)["layers"][1]["digest"]
    wait_until(lambda: proxy.requests(own), "the second fetches its own layer", PULL_S)
    gate.set()
    for process in pulls:
        said, errors = process.communicate(timeout=PULL_S)
        assert process.returncode == 0, said + errors
    assert len(proxy.requests(shared)) == 1
    drop(engine, first.id, second.id)


def test_two_pulls_of_one_image_and_the_first_leaves(engine, registry, proxy):
    image = large_image(4 * MIB, seed=300)
    blob = registry.put_image("left:1", image)["layers"][0]["digest"]
    gate = threading.Event()
    proxy.faults = [Fault(pattern=f"GET .*{blob}", hold=gate, hold_after=MIB)]
    first = engine.popen("pull", f"{proxy.address}/left:1")
    wait_until(lambda: proxy.requests(blob), "the first one fetches", PULL_S)
    second = engine.popen("pull", f"{proxy.address}/left:1")
    wait_until(lambda: len(proxy.requests("manifests/1")) == 2, "the second one has begun", PULL_S)
    first.kill()
    first.communicate(timeout=PULL_S)
    gate.set()
    said, errors = second.communicate(timeout=PULL_S)
    assert second.returncode == 0, said + errors
    assert engine.inspect(f"{proxy.address}/left:1")["Id"] == image.id
    drop(engine, image.id)


# ---- what is resumed


def spooled_bytes(engine, blob) -> int:
    path = engine.data_root / "downloads" / blob["digest"].removeprefix("sha256:")
    return path.stat().st_size if path.exists() else 0


def test_a_reset_connection_goes_on_where_it_broke(engine, registry, proxy):
    image = large_image(12 * MIB, seed=400)
    blob = registry.put_image("reset:1", image)["layers"][0]
    proxy.faults = [Fault(pattern=f"GET .*{blob['digest']}", reset_after=9 * MIB)]
    pull(engine, f"{proxy.address}/reset:1")
    requests = proxy.requests(blob["digest"])
    assert len(requests) == 2
    assert re.fullmatch(r"bytes=\d+-", requests[1].headers["range"])
    assert proxy.fetched(blob["digest"]) <= blob["size"] + 8 * MIB
    drop(engine, image.id)
    assert spooled_bytes(engine, blob) == 0


def test_a_body_that_ends_early_goes_on_too(engine, registry, proxy):
    image = large_image(4 * MIB, seed=500)
    blob = registry.put_image("early:1", image)["layers"][0]
    proxy.faults = [
        Fault(pattern=f"GET .*{blob['digest']}", truncate_after=3 * MIB),
        Fault(pattern=f"GET .*{blob['digest']}", ignore_range=True),
    ]
    pull(engine, f"{proxy.address}/early:1")
    assert len(proxy.requests(blob["digest"])) == 2
    drop(engine, image.id)


@pytest.mark.parametrize("status", [429, 503])
def test_a_registry_that_is_busy_is_asked_again(engine, registry, proxy, status):
    image = large_image(MIB, seed=600 + status)
    blob = registry.put_image(f"busy{status}:1", image)["layers"][0]
    proxy.faults = [Fault(pattern=f"GET .*{blob['digest']}", status=status, headers={"retry-after": "1"})]
    lines = pull(engine, f"{proxy.address}/busy{status}:1")
    assert any("Retrying in 1 second" in line for line in lines)
    drop(engine, image.id)


def test_a_killed_daemon_resumes(engine, registry, proxy):
    image = large_image(24 * MIB, seed=700)
    blob = registry.put_image("killed:1", image)["layers"][0]
    before = overlay_directories(engine)
    gate = threading.Event()
    proxy.faults = [Fault(pattern=f"GET .*{blob['digest']}", hold=gate, hold_after=16 * MIB)]
    process = engine.popen("pull", f"{proxy.address}/killed:1")
    wait_until(lambda: spooled_bytes(engine, blob) >= 15 * MIB, "most of it is there", PULL_S)
    engine.restart()
    gate.set()
    process.communicate(timeout=PULL_S)
    assert process.returncode != 0
    assert engine.docker("image", "inspect", image.id, check=False).returncode == 1
    wait_until(lambda: overlay_directories(engine) == before, "nothing half made is left")
    proxy.clear()
    pull(engine, f"{proxy.address}/killed:1")
    assert proxy.fetched(blob["digest"]) <= blob["size"] - 16 * MIB + 8 * MIB
    drop(engine, image.id)
    assert spooled_bytes(engine, blob) == 0


def test_a_client_that_leaves_ends_the_pull_and_the_next_one_resumes(engine, registry, proxy):
    image = large_image(24 * MIB, seed=800)
    blob = registry.put_image("gone:1", image)["layers"][0]
    before = overlay_directories(engine)
    gate = threading.Event()
    proxy.faults = [Fault(pattern=f"GET .*{blob['digest']}", hold=gate, hold_after=16 * MIB)]
    process = engine.popen("pull", f"{proxy.address}/gone:1")
    wait_until(lambda: spooled_bytes(engine, blob) >= 15 * MIB, "most of it is there", PULL_S)
    process.kill()
    process.communicate(timeout=PULL_S)
    wait_until(lambda: overlay_directories(engine) == before, "what was begun is undone", PULL_S)
    proxy.clear()
    pull(engine, f"{proxy.address}/gone:1")
    assert proxy.fetched(blob["digest"]) <= blob["size"] - 16 * MIB + 8 * MIB
    drop(engine, image.id)


# ---- what is refused


def nothing_is_left(engine, before: set[str], *images: SampleImage) -> None:
    assert overlay_directories(engine) == before
    for image in images:
        assert engine.docker("image", "inspect", image.id, check=False).returncode == 1


def test_what_docker_says_of_what_is_not_there(engine, registry):
    name = f"{registry.address}/busybox:nosuch"
    assert f"manifest for {name} not found: manifest unknown: manifest unknown" in refused(engine, name)
    assert "dial tcp 127.0.0.1:1: connect: connection refused" in refused(engine, "127.0.0.1:1/x")
    assert "invalid reference format" in refused(engine, "x/UPPER")
    with RawClient(engine.socket, PULL_S) as client:
        answer = client.ask("POST", f"/images/create?fromImage={registry.address}/busybox&tag=nosuch")
        assert (answer.status, answer.message[:12]) == (404, "manifest for")
        assert client.ask("POST", "/images/create?fromImage=127.0.0.1:1/x&tag=y").status == 500
        assert client.ask("POST", "/images/create?fromImage=x/UPPER").status == 400


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (404, "NAME_UNKNOWN", "repository {name} not found: name unknown: told"),
        (403, "DENIED", "pull access denied for {name}, repository does not exist or may require 'docker login'"),
        (401, "UNAUTHORIZED", "unauthorized: told"),
        (429, "TOOMANYREQUESTS", "toomanyrequests: told"),
        (500, "", "received unexpected HTTP status: 500 Internal Server Error"),
    ],
)
def test_what_docker_says_of_what_a_registry_refuses(engine, proxy, status, code, text):
    body = json.dumps({"errors": [{"code": code, "message": "told"}]}).encode() if code else b""
    proxy.faults = [Fault(pattern="GET .*/manifests/", times=-1, status=status, body=body)]
    name = f"{proxy.address}/told"
    assert text.format(name=name) in refused(engine, name)


def test_a_wrong_digest_is_never_seen(engine, registry, proxy):
    image = large_image(MIB, MIB, seed=900)
    manifest = registry.put_image("wrong:1", image)
    before = overlay_directories(engine)
    blob = manifest["layers"][1]["digest"]
    proxy.faults = [Fault(pattern=f"GET .*{blob}", alter=lambda content: content[:-1] + b"x")]
    assert f"filesystem layer verification failed for digest {blob}" in refused(engine, f"{proxy.address}/wrong:1")
    nothing_is_left(engine, before, image)
    proxy.faults = [Fault(pattern=f"GET .*{blob}", times=-1, alter=lambda content: content + b"more")]
    assert "instead of the" in refused(engine, f"{proxy.address}/wrong:1")
    config = manifest["config"]["digest"]
    proxy.faults = [Fault(pattern=f"GET .*{config}", alter=lambda content: content + b" ")]
    assert f"image config verification failed for digest {config}" in refused(engine, f"{proxy.address}/wrong:1")
    reference = digest(json.dumps(manifest).encode())
    proxy.faults = [Fault(pattern="GET .*/manifests/", alter=lambda content: content + b" ")]
    assert "manifest verification failed for digest" in refused(engine, f"{proxy.address}/wrong@{reference}")
    nothing_is_left(engine, before)
    proxy.clear()
    pull(engine, f"{proxy.address}/wrong:1")
    drop(engine, image.id)


def test_a_layer_that_is_damaged_or_lies_is_refused(engine, registry):
    before = overlay_directories(engine)
    honest = sample("honest")
    cut = gzip.compress(layer_of(MIB, 1))[:-1000]
    cases = {
        "cutgzip": ((cut,), "unexpected EOF"),
        "badgzip": ((b"\x1f\x8b\x08" + b"\xff" * 1000,), "gzip"),
        "badzstd": ((b"\x28\xb5\x2f\xfd" + b"\xff" * 1000,), "zstd"),
        "other": ((gzip.compress(sample("other").layers[0]),), "invalid diffID for layer"),
        "notar": ((b"this is no tar" * 100,), "archive/tar"),
    }
    for name, (blobs, text) in cases.items():
        registry.put_image(f"{name}:1", honest, blobs=blobs)
        assert text in refused(engine, f"{registry.address}/{name}:1"), name
        nothing_is_left(engine, before, honest)
    registry.put_image("toomany:1", honest, blobs=[gzip.compress(layer) for layer in honest.layers * 2])
    assert "layers length mismatch: expected 1, got 2" in refused(engine, f"{registry.address}/toomany:1")
    lying = SampleImage(layers=honest.layers, config={"history": [{"created_by": "a"}, {"created_by": "b"}]})
    registry.put_image("lying:1", lying)
    assert "its history tells of 2 layers" in refused(engine, f"{registry.address}/lying:1")
    nothing_is_left(engine, before)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"schemaVersion": 2, "layers": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "manifest"),
        (b"[" * 1_000_000, "manifest"),
        (b'{"schemaVersion": 2', "invalid manifest"),
        (b'{"schemaVersion": 1}', "schema 1"),
        (b'{"schemaVersion": 2, "layers": [{"digest": "../../etc/passwd", "size": 1}], "config": 1}', "manifest"),
        (b"{" + b" " * (100 * MIB) + b"}", "at most"),
    ],
    ids=["deep", "deeper", "cut", "schema1", "path", "100MB"],
)
def test_manifests_that_are_nonsense(engine, proxy, body, text):
    proxy.faults = [Fault(pattern="GET .*/manifests/", status=200, body=body)]
    with RawClient(engine.socket, PULL_S) as client:
        answer = client.ask("POST", f"/images/create?fromImage={proxy.address}/nonsense&tag=1")
    assert answer.status == 400, answer.body
    assert text in answer.message


def test_configurations_that_are_nonsense(engine, registry):
    honest = sample("nonsense")
    for content, text in [
        (b'{"rootfs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "configuration"),
        (b"[]", "configuration"),
        (json.dumps({"os": "windows", "rootfs": {"type": "layers"}}).encode(), "windows"),
    ]:

        class Nonsense(SampleImage, frozen=True, kw_only=True):
            @property
            @override
            def content(self) -> bytes:
                return content  # noqa: B023

        registry.put_image("nonsense:1", Nonsense(layers=honest.layers))
        assert text in refused(engine, f"{registry.address}/nonsense:1")
