"""What every graph driver promises, held against the fake and the real ones on the real kernel."""

import bz2
import lzma
import os
import stat
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
import zstandard

from events.errors import InvalidParameter, NotFound, SystemFailure
from handlers.kernel import mounts
from handlers.kernel.programs import find_program
from handlers.kernel.trees import delete_tree
from handlers.layers.drivers.aufs import Aufs
from handlers.layers.drivers.btrfs import Btrfs
from handlers.layers.drivers.devicemapper import DeviceMapper
from handlers.layers.drivers.fuse_overlayfs import FuseOverlayfs
from handlers.layers.drivers.overlay2 import Overlay2
from handlers.layers.drivers.vfs import Vfs
from handlers.layers.drivers.zfs import Zfs
from handlers.layers.ports import GraphDriver
from tests.fakes.deep_trees import dig
from tests.fakes.graph_driver import FakeGraphDriver
from tests.fakes.tars import SECOND_NS, TIME_NS, TarBuilder, digest, gzipped
from tests.filesystems import Grounds

pytestmark = pytest.mark.root
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep, revision 2
GIB = 1024**3
REAL: dict[str, Callable[[Path], GraphDriver]] = {
    "overlay2": Overlay2,
    "fuse-overlayfs": FuseOverlayfs,
    "vfs": Vfs,
    "btrfs": Btrfs,
    "zfs": Zfs,
    "devicemapper": lambda root: DeviceMapper(root, base_bytes=GIB, data_bytes=4 * GIB, metadata_bytes=GIB // 16),
}
DRIVERS: dict[str, Callable[[Path], GraphDriver]] = {"fake": FakeGraphDriver} | REAL


class Stack:
    """A driver and the layers put on it so far."""

    def __init__(self, driver: GraphDriver, directory: Path) -> None:
        self.driver, self.directory = driver, directory
        self.lineage: list[str] = []
        self.time_unit_ns = SECOND_NS if driver.name == "zfs" else 1  # zfs-fuse has no better

    def kept(self, time_ns: int) -> int:
        """What a file system makes of a time."""
        return time_ns // self.time_unit_ns * self.time_unit_ns

    async def push(self, layer: TarBuilder | bytes) -> str:
        cache_id = f"{len(self.lineage):064x}"
        await self.unpack(cache_id, layer if isinstance(layer, bytes) else layer.bytes())
        self.lineage.insert(0, cache_id)
        return cache_id

    async def unpack(self, cache_id: str, content: bytes) -> None:
        path = self.directory / "layer.tar"
        path.write_bytes(content)
        unpacked = await self.driver.unpack(cache_id, self.lineage, str(path), 0, -1)
        assert unpacked.diff_id.startswith("sha256:")

    async def tree(self) -> Path:
        await self.driver.create("top", self.lineage)
        return Path(await self.driver.mount("top", self.lineage))


@asynccontextmanager
async def opened(name: str, directory: Path, grounds: Grounds) -> AsyncIterator[Stack]:
    root = grounds.root(name, directory) / f"driver-{name}"
    driver = DRIVERS[name](root)
    await driver.prepare()
    try:
        yield Stack(driver, directory)
    finally:
        present = await driver.list()
        for cache_id in sorted(present, reverse=True):  # "top" first, then from the newest to the oldest
            await driver.remove(cache_id)
        mounts.unmount(str(root))


@pytest.fixture(params=DRIVERS)
async def stack(request: pytest.FixtureRequest, tmp_path: Path, grounds: Grounds) -> AsyncIterator[Stack]:
    async with opened(request.param, tmp_path, grounds) as made:
        yield made


@pytest.fixture(params=["fake", "overlay2", "vfs"])
async def reading_stack(request: pytest.FixtureRequest, tmp_path: Path, grounds: Grounds) -> AsyncIterator[Stack]:
    """For what is decided by reading the archive, which all real drivers share."""
    async with opened(request.param, tmp_path, grounds) as made:
        yield made


@pytest.fixture(params=REAL)
async def real_stack(request: pytest.FixtureRequest, tmp_path: Path, grounds: Grounds) -> AsyncIterator[Stack]:
    """For what a table in memory can't show: processes, symbolic links on the way, depth."""
    async with opened(request.param, tmp_path, grounds) as made:
        yield made


def described(root: Path) -> dict[str, tuple[Any, ...]]:
    """Everything about a tree but the root's own time and the numbers of inodes; hard links by their first name."""
    found: dict[str, tuple[Any, ...]] = {}
    firsts: dict[int, str] = {}
    for path in sorted(root.rglob("*")):
        name, status = str(path.relative_to(root)), path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        same = firsts.setdefault(status.st_ino, name) if kind != stat.S_IFDIR else name
        content: object = None
        if kind == stat.S_IFREG:
            content = path.read_bytes()
        elif kind == stat.S_IFLNK:
            content = str(path.readlink())
        attributes = str({key: os.getxattr(path, key, follow_symlinks=False) for key in shown_attributes(path)})
        device = status.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else None
        owner = (oct(status.st_mode), status.st_uid, status.st_gid)
        found[name] = (*owner, status.st_mtime_ns, same, content, device, attributes)
    return found


def shown_attributes(path: Path) -> list[str]:
    keys = os.listxattr(path, follow_symlinks=False)
    return sorted(key for key in keys if not key.startswith(("trusted.overlay.", "security.selinux")))


def is_mount_point(path: Path) -> bool:
    """By the kernel's table: a btrfs subvolume looks like a mount point to stat(2)."""
    return str(path) in {point.path for point in mounts.mounts()}


def names(directory: str) -> list[str]:
    return sorted(path.name for path in Path(directory).iterdir())


def rich_layer() -> TarBuilder:
    return (
        TarBuilder()
        .directory("./", mode=0o755)
        .directory("etc/", mode=0o750, uid=3, gid=4, time_ns=TIME_NS + 7)
        .file("etc/passwd", "root\n", uid=1, gid=2, mode=0o600, time_ns=TIME_NS + 1)
        .file("bin/su", b"\x7fELF", mode=0o4755, attributes={"security.capability": CAPABILITY})
        .file("note", "x", attributes={"user.origin": b"\xff\x00binary\n=", "trusted.mark": b"yes"})
        .hard_link("bin/login", "bin/su")
        .symlink("absolute", "/etc/passwd")
        .symlink("dangling", "../../nowhere")
        .add("null", kind=tarfile.CHRTYPE, device=(1, 3), mode=0o666)
        .add("disk", kind=tarfile.BLKTYPE, device=(8, 300), mode=0o660, gid=6)
        .add("pipe", kind=tarfile.FIFOTYPE, mode=0o622)
        .directory("tmp", mode=0o1777)
        .file("d" * 90 + "/" + "n" * 120, "long")
        .file("unicode-é-\udcff", "raw bytes in a name")
        .file("empty")
    )


async def test_a_tree_comes_out_as_it_was_packed(stack):
    await stack.push(rich_layer())
    tree = await stack.tree()
    found = described(tree)
    assert found["etc"][:4] == (oct(0o40750), 3, 4, stack.kept(TIME_NS + 7))
    assert found["etc/passwd"][:6] == (oct(0o100600), 1, 2, stack.kept(TIME_NS + 1), "etc/passwd", b"root\n")
    assert found["bin/su"][0] == oct(0o104755)
    assert found["bin/su"][4] == found["bin/login"][4] == "bin/login"
    assert os.getxattr(tree / "bin/su", "security.capability") == CAPABILITY
    assert os.getxattr(tree / "note", "user.origin") == b"\xff\x00binary\n="
    assert os.getxattr(tree / "note", "trusted.mark") == b"yes"
    assert found["absolute"][5] == "/etc/passwd"
    assert found["absolute"][3] == stack.kept(TIME_NS)
    assert found["null"][0] == oct(0o20666)
    assert found["null"][6] == os.makedev(1, 3)
    assert found["disk"][6] == os.makedev(8, 300)
    assert found["pipe"][0] == oct(0o10622)
    assert found["tmp"][0] == oct(0o41777)
    assert (tree / ("d" * 90) / ("n" * 120)).read_text() == "long"
    assert (tree / "unicode-é-\udcff").read_text() == "raw bytes in a name"


@pytest.mark.parametrize("driver", REAL)
async def test_all_drivers_make_the_same_tree(driver, tmp_path, grounds):
    layers = [
        rich_layer().bytes(),
        TarBuilder().file("tmp/x", "in tmp").add("etc/.wh.passwd").file("bin/su", "new").bytes(),
        TarBuilder().directory("etc", mode=0o711).add("etc/.wh..wh..opq").file("etc/hosts", "h").bytes(),
        TarBuilder().symlink("note", "etc/hosts").directory("null").file("null/inside", "y").bytes(),
        TarBuilder().add(".wh.null").add("bin/.wh.login").directory("tmp", mode=0o1777, time_ns=TIME_NS).bytes(),
    ]
    trees: dict[str, dict[str, tuple[Any, ...]]] = {}
    for name in ("fake", driver):
        async with opened(name, tmp_path, grounds) as stack:
            for layer in layers:
                await stack.push(layer)
            trees[name] = without_made_up_times(described(await stack.tree()))
            expected = {path: (*row[:3], stack.kept(row[3]), *row[4:]) for path, row in trees["fake"].items()}
            assert trees[name] == expected
    assert "etc/hosts" in trees[driver]
    assert "etc/passwd" not in trees[driver]


def without_made_up_times(tree: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """Directories that no entry brought, or that deletions changed, have times of their own."""
    return {name: (*row[:3], 0, *row[4:]) if str(row[0]).startswith("0o4") else row for name, row in tree.items()}


async def test_sparse_files_keep_their_holes(real_stack, tmp_path):
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.seek(8 * 1024 * 1024)
        file.write(b"middle")
        file.seek(32 * 1024 * 1024)
        file.write(b"end")
    for number, form in enumerate(("gnu", "0.0", "0.1", "1.0")):
        archive = tmp_path / f"{number}.tar"
        options = ["--format=gnu"] if form == "gnu" else ["--format=posix", f"--sparse-version={form}"]
        command = ["tar", "-S", *options, f"--transform=s/sparse/sparse{number}/", "-C", str(tmp_path), "-cf"]
        await anyio.run_process([*command, str(archive), "sparse"])
        await real_stack.push(archive.read_bytes())
    tree = await real_stack.tree()
    for number in range(4):
        copy = tree / f"sparse{number}"
        assert copy.read_bytes() == sparse.read_bytes()
        assert copy.stat().st_blocks * 512 < 4 * 1024 * 1024


async def test_later_entries_win(stack):
    layer = (
        TarBuilder()
        .file("twice", "one").file("twice", "two")
        .directory("d").file("d/x", "x").file("d", "now a file")
        .file("f", "f").directory("f", mode=0o700).file("f/y", "y")
        .symlink("s", "/etc").directory("s").file("s/z", "z")
        .symlink("l", "twice").file("l", "not through the link")
    )  # fmt: skip
    await stack.push(layer)
    tree = await stack.tree()
    assert (tree / "twice").read_text() == "two"
    assert (tree / "d").read_text() == "now a file"
    assert (tree / "f/y").read_text() == "y"
    assert not (tree / "s").is_symlink()
    assert (tree / "s/z").read_text() == "z"
    assert not (tree / "l").is_symlink()
    assert sorted(path.name for path in tree.iterdir()) == ["d", "f", "l", "s", "twice"]


async def test_whiteouts_hide_what_is_below(stack):
    await stack.push(TarBuilder().file("a", "a").directory("d").file("d/old", "o").file("d/kept", "k").directory("e"))
    await stack.push(TarBuilder().add(".wh.a").add("d/.wh.old").add(".wh.absent").add(".wh..wh.plnk/1.2").add(".wh.e"))
    tree = await stack.tree()
    assert sorted(path.name for path in tree.rglob("*")) == ["d", "kept"]


@pytest.mark.parametrize("mark_first", [True, False])
async def test_an_opaque_directory_hides_lower_entries_only(stack, mark_first):
    await stack.push(TarBuilder().directory("d").file("d/old", "o").directory("d/sub").file("d/sub/deep", "x"))
    mark = TarBuilder().directory("d")
    mark = mark.add("d/.wh..wh..opq").file("d/new", "n") if mark_first else mark.file("d/new").add("d/.wh..wh..opq")
    await stack.push(mark)
    tree = await stack.tree()
    assert sorted(path.name for path in tree.rglob("*")) == ["d", "new"]


@pytest.mark.parametrize("mark_first", [True, False])
async def test_a_whiteout_and_a_new_directory_of_that_name_dont_merge(stack, mark_first):
    await stack.push(TarBuilder().directory("d").file("d/old", "o"))
    layer = TarBuilder().add(".wh.d") if mark_first else TarBuilder()
    layer = layer.directory("d").file("d/new", "n")
    await stack.push(layer if mark_first else layer.add(".wh.d"))
    tree = await stack.tree()
    assert sorted(path.name for path in tree.rglob("*")) == ["d", "new"]


async def test_an_opaque_root_hides_everything_below(stack):
    await stack.push(TarBuilder().directory("d").file("d/old", "o").file("f", "f"))
    await stack.push(TarBuilder().add(".wh..wh..opq").directory("d").file("d/new", "n"))
    tree = await stack.tree()
    assert sorted(path.name for path in tree.rglob("*")) == ["d", "new"]


async def test_directories_that_no_entry_brings_keep_their_metadata(stack):
    await stack.push(TarBuilder().directory("tmp", mode=0o1777).directory("home/u", mode=0o700, uid=1000, gid=1000))
    await stack.push(TarBuilder().file("tmp/x", "x").file("home/u/.profile", "p"))
    tree = await stack.tree()
    assert (tree / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (tree / "home/u").stat().st_uid == 1000
    assert (tree / "home/u").stat().st_mode & 0o7777 == 0o700


async def test_a_layer_is_filled_while_the_one_below_it_is(stack):
    lower, upper = "a" * 64, "b" * 64
    path = stack.directory / "upper.tar"
    path.write_bytes(TarBuilder().file("tmp/new", "n").file("tmp/.wh.old").bytes())

    async def below() -> None:
        await stack.unpack(lower, TarBuilder().directory("tmp/", mode=0o1777, uid=7).file("tmp/old", "o").bytes())

    await stack.driver.unpack(upper, [lower], str(path), 0, -1, below)
    await stack.driver.flush()
    stack.lineage = [upper, lower]
    tree = await stack.tree()
    assert [path.name for path in (tree / "tmp").iterdir()] == ["new"]
    status = (tree / "tmp").stat()
    assert (status.st_mode & 0o7777, status.st_uid) == (0o1777, 7)


async def test_nothing_is_left_of_a_layer_when_nothing_came_of_the_one_below_it(stack):
    path = stack.directory / "upper.tar"
    path.write_bytes(TarBuilder().file("tmp/new", "n").bytes())

    async def below() -> None:
        raise NotFound("the layer below")

    with pytest.raises(NotFound):
        await stack.driver.unpack("b" * 64, ["a" * 64], str(path), 0, -1, below)
    assert await stack.driver.list() == frozenset()


async def test_compressions_are_recognised(reading_stack, tmp_path):
    plain = TarBuilder().file("x", "x" * 3_000_000).bytes() + bytes(4096)
    forms = {
        "plain": plain,
        "gzip": gzipped(plain),
        "two gzip members": gzipped(plain[:5000]) + gzipped(plain[5000:]),
        "zstd": zstandard.ZstdCompressor().compress(plain),
        "bzip2": bz2.compress(plain),
        "xz": lzma.compress(plain),
    }
    for number, content in enumerate(forms.values()):
        path = tmp_path / "embedded"
        path.write_bytes(b"before" + content + b"after")
        unpacked = await reading_stack.driver.unpack(f"{number:064x}", [], str(path), 6, len(content))
        assert unpacked.diff_id == digest(plain)
        assert unpacked.size_bytes == 3_000_000


@pytest.mark.parametrize(
    "content",
    [
        b"junk",
        b"x" * 2000,
        TarBuilder().file("x", "x" * 2000).bytes()[:1500],
        gzipped(TarBuilder().file("x", "x" * 2000).bytes())[:100],
        gzipped(TarBuilder().file("x", os.urandom(90_000)).bytes())[:-9] + b"123456789",
        b"\x28\xb5\x2f\xfdjunk that is no zstd frame",
    ],
    ids=["short junk", "junk", "cut off", "cut off gzip", "damaged gzip", "bad zstd"],
)
async def test_a_bad_archive_leaves_nothing(reading_stack, content):
    with pytest.raises(InvalidParameter):
        await reading_stack.unpack("bad", content)
    assert "bad" not in await reading_stack.driver.list()


HOSTILE = {
    "dot dot": TarBuilder().file("../escape", "!"),
    "deep dot dot": TarBuilder().directory("a").file("a/../../escape", "!"),
    "hard link outside": TarBuilder().hard_link("x", "../../../../etc/passwd"),
    "hard link to an absolute path": TarBuilder().hard_link("x", "/etc/hostname"),
    "hard link to nothing": TarBuilder().hard_link("x", "absent"),
    "hard link to a directory": TarBuilder().directory("d").hard_link("x", "d"),
    "whiteout of a parent": TarBuilder().directory("a").add("a/.wh..."),
    "whiteout of nothing": TarBuilder().directory("a").add("a/.wh."),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_an_entry_that_leads_out_is_refused_by_name(reading_stack, name):
    with pytest.raises(InvalidParameter) as refusal:
        await reading_stack.unpack("bad", HOSTILE[name].bytes())
    assert any(part in str(refusal.value) for part in ("escape", "x", "a/.wh."))
    assert "bad" not in await reading_stack.driver.list()


async def test_absolute_names_stay_inside(stack):
    await stack.push(TarBuilder().file("/absolute", "inside").file("/../above", "inside"))
    tree = await stack.tree()
    assert (tree / "absolute").read_text() == (tree / "above").read_text() == "inside"


async def test_links_on_the_way_resolve_inside(real_stack, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("untouched")
    layer = (
        TarBuilder()
        .directory("proc").symlink("etc", str(outside)).symlink("up", "../../../../../../.." + str(outside))
        .symlink("self", "/proc/self/root").directory(str(outside)[1:]).file("etc/file", "changed")
        .file("up/new", "new").directory("proc/self/root").file("self/x", "x")
        .add("null", kind=tarfile.CHRTYPE, device=(1, 3)).file("null", "a file over a device")
        .symlink("target", str(outside / "file")).file("target", "not through the link")
    )  # fmt: skip
    await real_stack.push(layer)
    tree = await real_stack.tree()
    assert (outside / "file").read_text() == "untouched"
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (tree / str(outside)[1:] / "file").read_text() == "changed"
    assert (tree / str(outside)[1:] / "new").read_text() == "new"
    assert (tree / "proc/self/root/x").read_text() == "x"
    assert (tree / "null").read_text() == "a file over a device"
    assert (tree / "target").read_text() == "not through the link"


async def test_nothing_is_mounted_twice_by_those_who_look_at_the_same_time(real_stack):
    await real_stack.push(TarBuilder().file("below", "1"))
    await real_stack.driver.create("top", real_stack.lineage)
    before = Counter(point.path for point in mounts.mounts())
    async with anyio.create_task_group() as looking:
        for _ in range(8):
            looking.start_soon(real_stack.driver.tree, "top", real_stack.lineage)
    mounted = Counter(point.path for point in mounts.mounts()) - before
    assert set(mounted.values()) <= {1}


async def test_a_parent_that_is_no_directory_is_refused_by_name(real_stack):
    for layer in (
        TarBuilder().file("f").file("f/x"),
        TarBuilder().symlink("loop", "loop").file("loop/x"),
        TarBuilder().symlink("nowhere", "absent").file("nowhere/x"),
    ):
        with pytest.raises(InvalidParameter, match="/x: "):
            await real_stack.unpack("bad", layer.bytes())
        assert "bad" not in await real_stack.driver.list()


async def test_an_archive_cant_bring_marks_of_the_driver(real_stack):
    await real_stack.push(TarBuilder().directory("d").file("d/kept", "k"))
    await real_stack.push(TarBuilder().directory("d", attributes={"trusted.overlay.opaque": b"y"}).file("d/new", "n"))
    tree = await real_stack.tree()
    assert sorted(path.name for path in (tree / "d").iterdir()) == ["kept", "new"]


async def test_127_layers_can_be_stacked_and_no_more(real_stack):
    stack = real_stack
    for number in range(127):
        cache_id = f"{number:064x}"
        await stack.driver.create(cache_id, stack.lineage)
        tree = Path(await stack.driver.mount(cache_id, stack.lineage))
        (tree / f"f{number}").write_text(str(number))
        (tree / "shared").write_text(str(number))
        await stack.driver.unmount(cache_id)
        stack.lineage.insert(0, cache_id)
    tree = await stack.tree()
    assert len(list(tree.iterdir())) == 128
    assert (tree / "shared").read_text() == "126"
    assert (tree / "f0").read_text() == "0"
    with pytest.raises(SystemFailure, match="max depth exceeded"):
        await stack.driver.create("more", ["top", *stack.lineage])


async def test_what_is_written_stays_until_the_layer_is_removed(stack):
    await stack.push(TarBuilder().file("base", "b"))
    tree = await stack.tree()
    assert await stack.driver.mount("top", stack.lineage) == str(tree)
    (tree / "written").write_text("w")
    (tree / "base").unlink()
    await stack.driver.unmount("top")
    assert not is_mount_point(tree)
    await stack.driver.unmount("top")
    tree = Path(await stack.driver.mount("top", stack.lineage))
    assert [path.name for path in tree.iterdir()] == ["written"]
    await stack.driver.create("other", stack.lineage)
    assert names(await stack.driver.mount("other", stack.lineage)) == ["base"]


async def test_a_layer_may_stand_on_nothing(stack):
    await stack.driver.create("bare", [])
    tree = await stack.driver.mount("bare", [])
    assert await stack.driver.mount("bare", []) == tree
    assert names(tree) == []


async def test_remove_leaves_nothing_and_may_be_repeated(stack):
    before = sorted(map(str, stack.directory.glob("driver-*/**/*")))
    await stack.push(rich_layer())
    tree = await stack.tree()
    (tree / "x").mkdir(mode=0o000)
    assert await stack.driver.list() == {"top", stack.lineage[0]}
    for cache_id in ("top", stack.lineage[0], "top", "never there"):
        await stack.driver.remove(cache_id)
    assert await stack.driver.list() == frozenset()
    assert not is_mount_point(tree)
    assert sorted(map(str, stack.directory.glob("driver-*/**/*"))) == before


async def test_a_stack_goes_at_once(stack):
    before = sorted(map(str, stack.directory.glob("driver-*/**/*")))
    for number in range(20):
        await stack.push(TarBuilder().file(f"d/f{number}", str(number)))
    await stack.driver.remove(*stack.lineage)
    assert await stack.driver.list() == frozenset()
    assert sorted(map(str, stack.directory.glob("driver-*/**/*"))) == before


async def test_a_tree_deeper_than_any_path_can_be_removed(stack):
    await stack.push(TarBuilder().file("x"))
    tree = await stack.tree()
    dig(tree)
    await stack.driver.remove("top")
    assert "top" not in await stack.driver.list()


async def test_a_layer_deeper_than_can_be_made_is_refused(real_stack):
    with pytest.raises(InvalidParameter, match="too deep"):
        await real_stack.unpack("bad", TarBuilder().file("d/" * 1500 + "x").bytes())
    assert "bad" not in await real_stack.driver.list()


async def test_a_lineage_that_is_absent_is_the_hosts_failure(stack):
    stack.lineage = ["absent"]
    with pytest.raises(SystemFailure):
        await stack.tree()


async def test_a_source_that_is_absent_is_the_hosts_failure(real_stack, tmp_path):
    with pytest.raises(SystemFailure, match="no such file or directory"):
        await real_stack.driver.unpack("x", [], str(tmp_path / "absent"), 0, -1)
    assert await real_stack.driver.list() == frozenset()


async def test_a_cancelled_unpack_leaves_nothing(real_stack, tmp_path):
    """The source is a FIFO without a writer: the unpacking process waits in open(2) until it is ended."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with anyio.move_on_after(0.2) as scope:
        await real_stack.driver.unpack("x", [], str(fifo), 0, -1)
    assert scope.cancelled_caught
    assert await real_stack.driver.list() == frozenset()


async def test_describe_gives_pairs(stack):
    rows = stack.driver.describe()
    assert msgspec.json.decode(msgspec.json.encode(rows)) == [list(row) for row in rows]
    assert all(name and value for name, value in rows)


ZFS_REFUSAL = (
    "lies on tmpfs, not on a zfs dataset: name one by" if find_program("zfs") else "the program zfs is missing"
)
REFUSALS: dict[str, tuple[GraphDriver, str]] = {
    "aufs": (Aufs(Path("/nowhere/aufs")), "the kernel has no aufs file system"),
    "btrfs": (Btrfs(Path("/dev/shm/shiplog-no-btrfs")), "lies on tmpfs, not on a btrfs"),
    "zfs": (Zfs(Path("/dev/shm/shiplog-no-zfs")), ZFS_REFUSAL),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_driver_names_what_the_host_lacks(name):
    driver, expected = REFUSALS[name]
    try:
        with pytest.raises(SystemFailure, match=f"{name} can't be used: .*{expected}"):
            await driver.prepare()
    finally:
        delete_tree(Path(f"/dev/shm/shiplog-no-{name}"))


@pytest.mark.parametrize("name", ["overlay2", "vfs", "fuse-overlayfs"])
async def test_a_size_is_refused_where_nothing_can_bound_it(name, tmp_path, grounds):
    async with opened(name, tmp_path, grounds) as stack:
        with pytest.raises(InvalidParameter, match=r"pquota|quotas|--storage-opt is not supported"):
            await stack.driver.create("top", [], {"size": "1G"})
        assert "top" not in await stack.driver.list()


@pytest.mark.parametrize("name", ["btrfs", "zfs"])
async def test_a_size_bounds_what_a_container_writes(name, tmp_path, grounds):
    async with opened(name, tmp_path, grounds) as stack:
        await stack.push(TarBuilder().file("base", bytes(1_000_000)))
        with pytest.raises(InvalidParameter, match="unknown option speed"):
            await stack.driver.create("top", stack.lineage, {"speed": "1G"})
        with pytest.raises(InvalidParameter, match="invalid size: 'huge'"):
            await stack.driver.create("top", stack.lineage, {"size": "huge"})
        await stack.driver.create("top", stack.lineage, {"size": "16M"})
        tree = Path(await stack.driver.mount("top", stack.lineage))
        (tree / "little").write_bytes(os.urandom(1_000_000))
        with pytest.raises(OSError, match=r"quota|space"):  # noqa: PT012 - some file systems count late
            for number in range(64):
                (tree / f"more{number}").write_bytes(os.urandom(1_000_000))
                mounts.sync_filesystem(str(tree))
