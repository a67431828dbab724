"""Volumes of this host against the real kernel: what is copied, what is mounted, and what must never be deleted."""

import os
import shutil
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from events.errors import DeadlineExceeded, SystemFailure
from handlers.kernel.mounts import mount, mounts, unmount
from handlers.kernel.trees import delete_tree
from handlers.volumes.drivers import arrival, device
from handlers.volumes.drivers.local import LocalDriver
from tests.fakes.deep_trees import dig

pytestmark = pytest.mark.root
DEADLINE_S = 20.0
ROUNDS = 6
DIRECTORIES = tuple(f"directory-{number}" for number in range(100))
MEMORY = {"type": "tmpfs", "device": "tmpfs"}
COPIER = """
import anyio, pathlib, sys
from handlers.volumes.drivers.local import LocalDriver
root, rootfs = sys.argv[1:]
anyio.run(LocalDriver(pathlib.Path(root)).populate, "killed", rootfs, "/srv")
"""


@pytest.fixture
def root(tmp_path: Path):
    """Where the driver under test keeps its volumes; nothing stays mounted below it."""
    directory = tmp_path / "volumes"
    yield directory
    for point in reversed(mounts()):
        if Path(point.path).is_relative_to(tmp_path):
            unmount(point.path)


@pytest.fixture
def driver(root) -> LocalDriver:
    return LocalDriver(root)


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    directory = tmp_path / "rootfs"
    (directory / "srv").mkdir(parents=True)
    return directory


@pytest.mark.parametrize("options", [{}, MEMORY], ids=["plain", "device"])
async def test_the_copy_has_everything_that_a_file_system_knows(driver, root, rootfs, options):
    source = rootfs / "srv"
    fill(source)
    await driver.create("copy", options)
    data = Path(await driver.mount("copy", options))
    await driver.populate("copy", str(rootfs), "/srv")

    for path in (source, *source.rglob("*")):
        copied = data / path.relative_to(source)
        assert facts(copied) == facts(path), path
    assert (data / "again").samefile(data / "file")
    assert (data / "inner" / "again").samefile(data / "file")
    assert (data / "holes").stat().st_blocks < 1024
    assert (data / "holes").read_bytes() == (source / "holes").read_bytes()
    assert len(names(data)) == len(names(source))
    assert set(names(root / "copy")) == {".shiplog", "_data"} | ({".shiplog-device"} if options else set())


def fill(source: Path) -> None:
    (source / "file").write_text("content")
    os.chown(source / "file", 1000, 2000)
    (source / "file").chmod(0o4751)
    os.utime(source / "file", ns=(1_234_567_890_123_456_789, 1_234_567_890_987_654_321))
    os.setxattr(source / "file", "user.kind", b"\x00odd\xff")
    os.setxattr(source / "file", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    os.link(source / "file", source / "again")
    (source / "link").symlink_to("/etc/passwd")
    os.chown(source / "link", 7, 8, follow_symlinks=False)
    os.mknod(source / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(source / "pipe", 0o622)
    (source / "pipe").chmod(0o622)
    with (source / "holes").open("wb") as file:
        file.seek(16 * 1024 * 1024)
        file.write(b"middle")
        file.truncate(64 * 1024 * 1024)
    (source / "inner" / "deep").mkdir(parents=True)
    os.link(source / "file", source / "inner" / "again")
    os.chown(source / "inner", 33, 44)
    (source / "inner").chmod(0o1711)
    (source / "inner" / "empty").touch()
    os.utime(source / "inner", ns=(1, 4_000_000_005))
    os.chown(source, 33, 44)
    source.chmod(0o2770)
    os.setxattr(source, "user.directory", b"yes")
    os.utime(source, ns=(1, 2_000_000_003))


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def facts(path: Path) -> tuple[object, ...]:
    """Everything that must be equal in a copy."""
    status = path.lstat()
    attributes = {name: os.getxattr(path, name) for name in os.listxattr(path, follow_symlinks=False)}
    target = path.readlink() if path.is_symlink() else None
    size = 0 if path.is_dir() else status.st_size
    links = 0 if path.is_dir() else status.st_nlink
    owner = (status.st_uid, status.st_gid)
    return status.st_mode, owner, size, links, status.st_mtime_ns, status.st_rdev, attributes, target


@pytest.mark.parametrize("link", ["/etc", "../../../../../../../../etc", "/proc/self/root/etc"])
async def test_no_link_leads_out_of_the_root(driver, root, rootfs, link):
    (rootfs / "srv" / "link").symlink_to(link)
    await driver.create("safe", {})
    await driver.populate("safe", str(rootfs), "/srv/link")
    assert names(root / "safe" / "_data") == []


async def test_an_absolute_link_is_taken_inside_the_root(driver, root, rootfs):
    (rootfs / "srv" / "inside").write_text("x")
    (rootfs / "link").symlink_to("/srv")
    await driver.create("inside", {})
    await driver.populate("inside", str(rootfs), "/link")
    assert names(root / "inside" / "_data") == ["inside"]


async def test_a_container_that_has_the_volume_sees_the_content_arrive(driver, root, rootfs):
    (rootfs / "srv" / "late").write_text("x")
    await driver.create("shared", {})
    held = os.open(root / "shared" / "_data", os.O_RDONLY)
    try:
        await driver.populate("shared", str(rootfs), "/srv")
        assert names(Path(f"/proc/self/fd/{held}")) == ["late"]
    finally:
        os.close(held)


async def in_memory(driver: LocalDriver) -> Path:
    """A mounted volume whose content arrives inside of it, where a container that has it can reach."""
    await driver.create("memory", MEMORY)
    return Path(await driver.mount("memory", MEMORY))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What a container would like the engine to write to, or to take away."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "precious").write_text("x")
    return directory


@pytest.mark.parametrize("name", [arrival.INCOMING, arrival.ARRIVED])
async def test_a_planted_link_leads_nowhere(driver, rootfs, outside, name):
    (rootfs / "srv" / "one").write_text("image")
    data = await in_memory(driver)
    (data / name).symlink_to(outside)
    await driver.populate("memory", str(rootfs), "/srv")
    assert names(outside) == ["precious"]
    assert names(data) == ["one"]


@pytest.mark.parametrize("owner", [0, 1000])
async def test_what_only_looks_like_complete_content_is_discarded(driver, outside, owner):
    data = await in_memory(driver)
    arrived = data / arrival.ARRIVED
    arrived.mkdir(mode=0o700)
    os.chown(arrived, owner, owner)
    if owner:
        (arrived / arrival.CONTENT).mkdir()
    else:
        (arrived / arrival.CONTENT).symlink_to(outside)
    assert not await driver.settle_populate("memory")
    assert names(outside) == ["precious"]
    assert names(data) == []


@pytest.mark.slow
async def test_a_copy_that_is_taken_away_and_replaced_by_links_stays_inside(driver, rootfs, outside):
    """What a container that has the volume can do at any moment of the copy."""
    for name in DIRECTORIES:
        (rootfs / "srv" / name).mkdir()
        (rootfs / "srv" / name / "file").write_text("image")
    data = await in_memory(driver)
    stop, planted, rounds = anyio.Event(), 0, 0

    async def plant() -> None:
        nonlocal planted
        while not stop.is_set():
            planted += await anyio.to_thread.run_sync(replace_by_links, data / arrival.INCOMING, outside)
            if rounds % 3 == 2:
                await anyio.to_thread.run_sync(take_away, data / arrival.INCOMING, outside)

    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(plant)
            while rounds < ROUNDS or not planted:
                with suppress(SystemFailure):
                    await driver.populate("memory", str(rootfs), "/srv")
                for entry in data.iterdir():
                    await anyio.to_thread.run_sync(delete_tree, entry)
                rounds += 1
            stop.set()
    assert names(outside) == ["precious"]
    assert (outside / "precious").read_text() == "x"


def replace_by_links(incoming: Path, outside: Path) -> int:
    """Put links in the place of what is being copied; how many."""
    planted = 0
    for path in (incoming / arrival.CONTENT / name for name in DIRECTORIES):
        with suppress(OSError):
            shutil.rmtree(path)
            path.symlink_to(outside)
            planted += 1
    return planted


def take_away(incoming: Path, outside: Path) -> None:
    with suppress(OSError):
        incoming.rename(incoming.with_name("taken"))
        incoming.symlink_to(outside)


async def test_incomplete_content_is_discarded(driver, root):
    await driver.create("half", {})
    (root / "half" / arrival.INCOMING).mkdir()
    (root / "half" / arrival.INCOMING / "part").write_text("x")
    assert not await driver.settle_populate("half")
    assert names(root / "half") == [".shiplog", "_data"]
    assert names(root / "half" / "_data") == []


async def test_complete_content_moves_in_and_replaces_nothing(driver, root):
    await driver.create("late", {})
    data, arrived = root / "late" / "_data", root / "late" / arrival.ARRIVED
    content = arrived / arrival.CONTENT
    content.mkdir(mode=0o751, parents=True)
    (content / "one").write_text("image")
    (content / "two").write_text("image")
    (data / "two").write_text("container")
    assert await driver.settle_populate("late")
    assert (data / "one").read_text() == "image"
    assert (data / "two").read_text() == "container"
    assert mode(data) == 0o751
    assert not arrived.exists()


@pytest.mark.slow
async def test_a_copy_that_is_killed_leaves_all_or_nothing(driver, root, rootfs):
    files = {f"file-{number}" for number in range(2000)}
    for name in files:
        (rootfs / "srv" / name).write_text(name)
    await driver.create("killed", {})
    incoming = root / "killed" / arrival.INCOMING
    async with await anyio.open_process([sys.executable, "-c", COPIER, str(root), str(rootfs)]) as copier:
        with anyio.fail_after(DEADLINE_S):
            while not incoming.exists() and copier.returncode is None:
                await anyio.lowlevel.checkpoint()
        copier.kill()
    arrived = await driver.settle_populate("killed")
    content = set(names(root / "killed" / "_data"))
    assert content in (set(), files)
    assert not arrived or content == files
    await driver.populate("killed", str(rootfs), "/srv")
    assert set(names(root / "killed" / "_data")) == files


async def test_a_device_is_mounted_once_and_unmounted(driver, root):
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=0750,noexec"}
    await driver.create("memory", options)
    path = await driver.mount("memory", options)
    await driver.mount("memory", options)
    points = [point for point in mounts() if point.path == path]
    assert len(points) == 1
    assert points[0].filesystem == "tmpfs"
    assert "noexec" in points[0].options
    assert mode(Path(path)) == 0o750
    await driver.unmount("memory")
    assert not [point for point in mounts() if point.path == path]


async def test_what_is_mounted_too_late_does_not_stay(driver, root, monkeypatch):
    answered, ended, act = threading.Event(), threading.Event(), device._mount

    def answer_late(*arguments: Any, **fields: Any) -> None:
        assert answered.wait(DEADLINE_S)
        mount(*arguments, **fields)

    def act_noted(*arguments: Any) -> None:
        act(*arguments)
        ended.set()

    monkeypatch.setattr(device, "TIMEOUT_S", 0.01)
    monkeypatch.setattr(device, "mount", answer_late)
    monkeypatch.setattr(device, "_mount", act_noted)
    await driver.create("late", MEMORY)
    with pytest.raises(DeadlineExceeded, match="no answer in 0 s"):
        await driver.mount("late", MEMORY)
    answered.set()
    assert await anyio.to_thread.run_sync(ended.wait, DEADLINE_S)
    assert not [point.path for point in mounts() if Path(point.path).is_relative_to(root)]


async def test_a_mounted_device_is_populated_inside(driver, root, rootfs):
    (rootfs / "srv" / "one").write_text("x")
    options = {"type": "tmpfs", "device": "tmpfs"}
    await driver.create("memory", options)
    path = await driver.mount("memory", options)
    await driver.populate("memory", str(rootfs), "/srv")
    assert names(Path(path)) == ["one"]
    await driver.unmount("memory")
    assert names(Path(path)) == []


async def test_a_read_only_bind_is_read_only(driver, tmp_path):
    behind = tmp_path / "behind"
    behind.mkdir()
    options = {"type": "none", "device": str(behind), "o": "bind,ro"}
    await driver.create("bound", options)
    path = Path(await driver.mount("bound", options))
    with pytest.raises(OSError, match="Read-only"):
        (path / "file").touch()


async def test_removal_never_reaches_behind_a_mount(driver, root, tmp_path):
    behind = tmp_path / "behind"
    behind.mkdir()
    (behind / "precious").write_text("x")
    options = {"type": "none", "device": str(behind), "o": "bind"}
    await driver.create("bound", options)
    await driver.mount("bound", options)
    await driver.remove("bound")
    assert (behind / "precious").read_text() == "x"
    assert not (root / "bound").exists()


async def test_a_foreign_mount_in_a_plain_volume_refuses_the_removal(driver, root):
    await driver.create("plain", {})
    data = root / "plain" / "_data"
    mount("tmpfs", str(data), filesystem="tmpfs")
    (data / "precious").write_text("x")
    await driver.unmount("plain")
    with pytest.raises(SystemFailure, match="still mounted"):
        await driver.remove("plain")
    assert (data / "precious").read_text() == "x"


async def test_a_mount_that_fails_is_told_without_its_data(driver):
    options = {"type": "ext4", "device": "/dev/absent", "o": "password=secret"}
    await driver.create("broken", options)
    with pytest.raises(SystemFailure, match=r"failed to mount local volume: mount /dev/absent:.*_data: \w") as caught:
        await driver.mount("broken", options)
    assert "secret" not in str(caught.value)


async def test_a_tree_deeper_than_any_path_goes_with_its_volume(driver, root):
    await driver.create("deep", {})
    dig(root / "deep" / "_data")
    dig(root / "deep" / arrival.INCOMING)
    assert not await driver.settle_populate("deep")
    assert names(root / "deep") == [".shiplog", "_data"]
    await driver.remove("deep")
    assert not (root / "deep").exists()


async def test_unmarked_directories_are_nobodys(driver, root):
    await driver.create("ours", {})
    (root / "theirs" / "_data").mkdir(parents=True)
    await LocalDriver(root, mark="another").create("others", {})
    assert await driver.list() == {"ours"}


async def test_modes_are_dockers(driver, root):
    await driver.create("modes", {})
    assert [mode(path) for path in (root, root / "modes", root / "modes" / "_data")] == [
        0o701,
        0o701,
        0o755,
    ]


async def test_host_names_become_addresses():
    assert await device.resolve("127.0.0.1") == "127.0.0.1"
    with pytest.raises(SystemFailure, match="error resolving passed in network volume address"):
        await device.resolve("host.invalid")
