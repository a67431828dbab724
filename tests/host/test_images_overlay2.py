"""Images on the real kernel: from an archive to a mounted tree and back to nothing, also across kills."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from events.messages import image as m
from events.messages.layer import CreateContainerLayer, RemoveContainerLayer, UnmountContainerLayer
from handlers.images.handler import ImageHandler
from handlers.kernel import mounts
from handlers.layers.drivers.container_files import HelperFiles
from handlers.layers.drivers.overlay2 import Overlay2
from handlers.layers.handler import LayerHandler
from tests.fakes.image_archives import docker_archive, sample, write
from tests.fakes.sender import Engine
from tests.fakes.tars import TarBuilder, digest

pytestmark = pytest.mark.root
LIMIT_S = 10.0
KILLED = """
import sys, anyio
from pathlib import Path
from handlers.layers.drivers.overlay2 import Overlay2

async def main(root, source):
    driver = Overlay2(Path(root))
    await driver.prepare()
    await driver.unpack("c0ffee", [], source, 0, -1)

anyio.run(main, *sys.argv[1:])
"""


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[Overlay2]:
    made = Overlay2(tmp_path / "overlay2")
    await made.prepare()
    yield made
    for cache_id in await made.list():
        await made.remove(cache_id)
    mounts.unmount(str(tmp_path / "overlay2"))


@pytest.fixture
def engine(driver: Overlay2, tmp_path: Path) -> Engine:
    layers = LayerHandler(driver, HelperFiles(driver, tmp_path))
    return Engine(ImageHandler(tmp_path / "content", tmp_path / "scratch"), layers)


async def test_an_archive_becomes_a_tree_and_nothing_again(engine, driver, tmp_path):
    image = sample("base", "top", names=["busybox:latest"])
    await engine.send(m.LoadImages(path=write(tmp_path, docker_archive(image))))
    parent = engine.state.images.get(image.id).layers[-1]
    await engine.send(CreateContainerLayer(container_id="c", parent=parent))
    lineage = [layer.cache_id for layer in engine.state.layers.lineage(parent)]
    tree = Path(await driver.mount("container-c", lineage))
    assert below(tree) == ["base", "top"]
    await engine.send(UnmountContainerLayer(container_id="c"))
    await engine.send(RemoveContainerLayer(container_id="c"))
    await engine.send(m.RemoveImage(name="busybox"))
    assert await driver.list() == frozenset()


async def test_mounts_outlive_the_driver_and_are_found_again(driver, tmp_path):
    await driver.create("c", [])
    tree = await driver.mount("c", [])
    (Path(tree) / "x").write_text("x")
    successor = Overlay2(tmp_path / "overlay2")
    await successor.prepare()
    assert mounts.is_mounted(tree)
    assert await successor.mount("c", []) == tree
    await successor.unmount("c")
    assert not mounts.is_mounted(tree)


def wait_until(condition) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ended(pid: int) -> bool:
    """Gone, or a zombie that its new parent hasn't reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_killed_daemon_takes_its_unpacking_process_along_and_remove_clears_the_rest(tmp_path):
    """The source is a FIFO that delivers half a layer, so the kill hits the middle of the extraction."""
    fifo, root = tmp_path / "fifo", tmp_path / "overlay2"
    os.mkfifo(fifo)
    half = TarBuilder().directory("d").file("d/x", b"x" * 3_000_000).bytes()[:2_000_000]
    daemon = subprocess.Popen([sys.executable, "-c", KILLED, str(root), str(fifo)])
    try:
        with fifo.open("wb", buffering=0) as source:
            source.write(half)
            wait_until((root / "c0ffee/diff/d/x").exists)
            (unpacker,) = children(daemon.pid)
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.wait(LIMIT_S)
            wait_until(lambda: ended(unpacker))
    finally:
        daemon.kill()
        daemon.wait()
    driver = Overlay2(root)
    anyio.run(driver.prepare)
    assert anyio.run(driver.list) == {"c0ffee"}
    anyio.run(driver.remove, "c0ffee")
    assert anyio.run(driver.list) == frozenset()
    mounts.unmount(str(root))


def test_the_unpacking_process_has_few_powers(tmp_path):
    """Seen from outside while it waits for its source: its root is the layer, its capabilities are seven."""
    fifo, root = tmp_path / "fifo", tmp_path / "overlay2"
    os.mkfifo(fifo)
    daemon = subprocess.Popen([sys.executable, "-c", KILLED, str(root), str(fifo)], env={"SECRET": "x"})
    try:
        with fifo.open("wb", buffering=0):
            wait_until(lambda: children(daemon.pid))
            (unpacker,) = children(daemon.pid)
            status = Path(f"/proc/{unpacker}/status")
            wait_until(lambda: "NoNewPrivs:\t1" in status.read_text())
            wait_until(lambda: len(effective(status)) == 7)
            assert effective(status) == {0, 1, 3, 4, 21, 27, 31}
            assert Path(f"/proc/{unpacker}/root").readlink() == root / "c0ffee/diff"
            assert b"SECRET" not in Path(f"/proc/{unpacker}/environ").read_bytes()
        daemon.wait(LIMIT_S)
    finally:
        daemon.kill()
        daemon.wait()
    driver = Overlay2(root)
    anyio.run(driver.prepare)
    anyio.run(driver.remove, "c0ffee")
    mounts.unmount(str(root))


def effective(status: Path) -> set[int]:
    mask = int(status.read_text().partition("CapEff:")[2].split()[0], 16)
    return {number for number in range(64) if mask >> number & 1}


async def test_the_root_of_a_container_is_as_its_image_has_it(driver, tmp_path):
    path = TarBuilder().directory("./", mode=0o711, uid=5, gid=6).file("x").write(tmp_path / "layer.tar")
    await driver.unpack("base", [], str(path), 0, -1)
    await driver.create("c", ["base"])
    status = os.stat(await driver.mount("c", ["base"]))  # noqa: PTH116
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o711, 5, 6)


def below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


async def test_a_foreign_archive_of_the_hosts_own_tar_is_taken(driver, tmp_path):
    """GNU tar's own forms, with what the host has: long names, hard links, sparse files."""
    tree = tmp_path / "tree"
    (tree / ("long" * 40)).mkdir(parents=True)
    (tree / ("long" * 40) / ("name" * 30)).write_text("x")
    (tree / "link").hardlink_to(tree / ("long" * 40) / ("name" * 30))
    with (tree / "sparse").open("wb") as file:
        file.truncate(10_000_000)
    for form in ("gnu", "pax"):
        archive = tmp_path / f"{form}.tar"
        await anyio.run_process(["tar", f"--format={form}", "-S", "-C", str(tree), "-cf", str(archive), "."])
        unpacked = await driver.unpack(form, [], str(archive), 0, -1)
        assert unpacked.diff_id == digest(archive.read_bytes())
        assert unpacked.size_bytes == 10_000_001
        await driver.create(f"c-{form}", [form])
        merged = Path(await driver.mount(f"c-{form}", [form]))
        assert below(merged) == below(tree)
