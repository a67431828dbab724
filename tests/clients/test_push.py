"""Images sent to a registry, as the docker CLI pushes them: what goes, what is resumed, what is refused."""

import gzip
import json
import random
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.clients.raw import RawClient
from tests.engines import EngineUnderTest, busybox_archive, wait_until
from tests.fakes.image_archives import SampleImage, docker_archive, sample
from tests.fakes.tars import TarBuilder
from tests.faults import Fault, FaultyProxy
from tests.registries import DOCKER_MANIFEST, Registry, digest
from tests.tokens import PASSWORD, USER, TokenServer

pytestmark = pytest.mark.root
PUSH_S = 120.0
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
    yield subject
    subject.close()


@pytest.fixture(scope="module")
def shared_proxy(engine, registry):
    subject = FaultyProxy(engine.namespace, registry)
    yield subject
    subject.close()


@pytest.fixture
def proxy(shared_proxy):
    shared_proxy.clear()
    yield shared_proxy
    shared_proxy.clear()


def push(engine, name: str, *options: str) -> list[str]:
    lines: list[str] = engine.out("push", *options, name, timeout_s=PUSH_S).splitlines()
    return lines


def refused(engine, name: str) -> str:
    result = engine.docker("push", name, check=False, timeout_s=PUSH_S)
    assert result.returncode == 1, result.stdout
    said: str = result.stderr.decode()
    return said


def load(engine, image: SampleImage, *names: str) -> None:
    named = SampleImage(layers=image.layers, names=names, config=image.config)
    engine.docker("load", stdin=docker_archive(named), timeout_s=PUSH_S)


def large_image(size_bytes: int, seed: int) -> SampleImage:
    """One layer that can't be compressed."""
    return SampleImage(layers=(TarBuilder().file("blob", random.Random(seed).randbytes(size_bytes)).bytes(),))


def manifest(registry, name: str) -> dict[str, Any]:
    repository, _, tag = name.partition(":")
    status, _, content = registry.ask("GET", f"{repository}/manifests/{tag}", accept=DOCKER_MANIFEST)
    assert status == 200, content
    found: dict[str, Any] = json.loads(content)
    return found


def test_what_is_pushed_can_be_pulled_again(engine, registry):
    engine.docker("load", stdin=busybox_archive())
    name = f"{registry.address}/team/busybox:1"
    engine.docker("tag", "busybox", name)
    identity = engine.inspect(name)["Id"]
    lines = push(engine, name)
    assert lines[0] == f"The push refers to repository [{registry.address}/team/busybox]"
    assert any(re.fullmatch(r"[0-9a-f]{12}: Pushed", line) for line in lines)
    assert re.fullmatch(r"1: digest: sha256:[0-9a-f]{64} size: \d+", lines[-1])
    again = push(engine, name)
    assert any(line.endswith("Layer already exists") for line in again)
    assert again[-1] == lines[-1]
    found = engine.inspect(name)["RepoDigests"]
    assert found == [f"{registry.address}/team/busybox@{lines[-1].split()[2]}"]
    engine.docker("rmi", "-f", identity)
    engine.out("pull", name, timeout_s=PUSH_S)
    assert engine.inspect(name)["Id"] == identity
    assert engine.out("run", "--rm", name, "echo", "back") == "back"
    engine.docker("rmi", "-f", identity)


def test_the_last_line_tells_what_came_of_it(engine, registry):
    load(engine, sample("aux"), f"{registry.address}/aux:1")
    with RawClient(engine.socket, PUSH_S) as client:
        answer = client.ask("POST", f"/images/{registry.address}/aux/push?tag=1", x_registry_auth="e30=")
    last = json.loads(answer.body.splitlines()[-1])
    content = registry.ask("GET", "aux/manifests/1", accept=DOCKER_MANIFEST)[2]
    assert last == {
        "progressDetail": {},
        "aux": {"Tag": "1", "Digest": digest(content), "Size": len(content)},
    }


def test_a_pulled_image_is_mounted_from_where_it_came(engine, registry, proxy):
    image = sample("mounted one", "mounted two")
    registry.put_image("origin:1", image)
    source, target = f"{proxy.address}/origin:1", f"{proxy.address}/other/place:1"
    engine.out("pull", source, timeout_s=PUSH_S)
    engine.docker("tag", source, target)
    lines = push(engine, target)
    assert sum(line.endswith("Mounted from origin") for line in lines) == 2
    assert not proxy.requests("/blobs/uploads/", "PATCH")
    origin, pushed = manifest(registry, "origin:1"), manifest(registry, "other/place:1")
    assert pushed["layers"] == origin["layers"]
    engine.docker("rmi", "-f", image.id)


def test_all_tags(engine, registry):
    for number in (1, 2):
        load(engine, sample(f"all {number}"), f"{registry.address}/all:{number}")
    lines = push(engine, f"{registry.address}/all", "--all-tags")
    assert [line.partition(":")[0] for line in lines if "digest: sha256" in line] == ["1", "2"]
    assert manifest(registry, "all:2")["config"] != manifest(registry, "all:1")["config"]


def test_layers_are_the_very_tars_that_came(engine, registry):
    image = sample("exact", "twice")
    load(engine, image, f"{registry.address}/exact:1")
    push(engine, f"{registry.address}/exact:1")
    for layer, described in zip(image.layers, manifest(registry, "exact:1")["layers"], strict=True):
        blob = registry.ask("GET", f"exact/blobs/{described['digest']}")[2]
        assert gzip.decompress(blob) == layer
        assert (digest(blob), len(blob)) == (described["digest"], described["size"])


@pytest.mark.parametrize("fault", ["reset", "busy"])
def test_an_upload_that_breaks_goes_on(engine, registry, proxy, fault):
    image = large_image(20 * MIB, seed=len(fault))
    name = f"{proxy.address}/{fault}:1"
    load(engine, image, name)
    proxy.faults = [
        Fault(pattern="PATCH ", times=0 if fault == "busy" else 1, reset_after=0),
        Fault(pattern="PATCH ", times=1 if fault == "busy" else 0, status=503),
        Fault(pattern="PUT .*/blobs/uploads/", status=502),
    ]
    push(engine, name)
    assert len(proxy.requests("/blobs/uploads/", "PATCH")) in (2, 3)
    described = manifest(registry, f"{fault}:1")["layers"][0]
    assert registry.ask("HEAD", f"{fault}/blobs/{described['digest']}")[0] == 200
    engine.docker("rmi", "-f", image.id)


def test_a_client_that_leaves_ends_the_push(engine, registry, proxy):
    image = large_image(20 * MIB, seed=77)
    name = f"{proxy.address}/left:1"
    load(engine, image, name)
    gate = threading.Event()
    proxy.faults = [Fault(pattern="PATCH ", hold=gate)]
    process = engine.popen("push", name)
    wait_until(lambda: proxy.requests("/blobs/uploads/", "PATCH"), "it has begun to send", PUSH_S)
    process.kill()
    process.communicate(timeout=PUSH_S)
    wait_until(lambda: "image.push refused (unavailable): context canceled" in engine.log(), "it ends", PUSH_S)
    gate.set()
    proxy.clear()
    push(engine, name)
    engine.docker("rmi", "-f", image.id)


def test_an_image_that_is_removed_meanwhile_is_pushed_whole(engine, registry, proxy):
    image = large_image(20 * MIB, seed=88)
    name = f"{proxy.address}/removed:1"
    load(engine, image, name)
    gate = threading.Event()
    proxy.faults = [Fault(pattern="PATCH ", hold=gate)]
    process = engine.popen("push", name)
    wait_until(lambda: proxy.requests("/blobs/uploads/", "PATCH"), "it has begun to send", PUSH_S)
    engine.docker("rmi", "-f", image.id)
    gate.set()
    said, errors = process.communicate(timeout=PUSH_S)
    assert process.returncode == 0, said + errors
    directories = engine.data_root / "overlay2"
    wait_until(lambda: not any(len(path.name) == 64 for path in directories.iterdir() if _is_of(path)), "gone")


def _is_of(path) -> bool:
    blob: Path = path / "diff" / "blob"
    return blob.exists() and blob.stat().st_size == 20 * MIB


def test_a_killed_daemon_lets_go_of_the_layers(engine, registry, proxy):
    image = large_image(20 * MIB, seed=99)
    name = f"{proxy.address}/killed:1"
    load(engine, image, name)
    gate = threading.Event()
    proxy.faults = [Fault(pattern="PATCH ", hold=gate)]
    process = engine.popen("push", name)
    wait_until(lambda: proxy.requests("/blobs/uploads/", "PATCH"), "it has begun to send", PUSH_S)
    engine.restart()
    gate.set()
    process.communicate(timeout=PUSH_S)
    engine.docker("rmi", "-f", image.id)
    directories = engine.data_root / "overlay2"
    wait_until(lambda: not any(_is_of(path) for path in directories.iterdir()), "its layer is gone")


def test_what_can_not_be_pushed(engine, registry, proxy):
    assert "An image does not exist locally with the tag: 127.0.0.1:1/nosuch" in refused(engine, "127.0.0.1:1/nosuch:1")
    load(engine, sample("refused"), "127.0.0.1:1/x:1", f"{proxy.address}/x:1")
    assert "connect: connection refused" in refused(engine, "127.0.0.1:1/x:1")
    body = json.dumps({"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]})
    proxy.faults = [Fault(pattern="POST ", status=403, body=body.encode(), times=-1)]
    assert "denied: requested access to the resource is denied" in refused(engine, f"{proxy.address}/x:1")


def test_a_push_with_a_token(engine, registry):
    tokens = TokenServer(engine.namespace, engine.directory)
    private = Registry(engine, engine.directory / "registry-token", auth=tokens.settings())
    try:
        name = f"{private.address}/private/app:1"
        load(engine, sample("with a token"), name)
        assert "denied" in refused(engine, name) or "unauthorized" in refused(engine, name)
        config = engine.directory / "cli"
        engine.docker(
            "--config", str(config), "login", "-u", USER, "--password-stdin", private.address, stdin=PASSWORD.encode()
        )
        said = engine.docker("--config", str(config), "push", name, timeout_s=PUSH_S).stdout
        assert b"digest: sha256:" in said
    finally:
        private.close()
        tokens.close()
