"""What every graph driver's layers say of their changes, and how containers' files are reached, on the real kernel."""

import io
import os
import socket
import stat
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from events.errors import Forbidden, InvalidParameter, NotFound
from events.messages.layer import ViewMount
from handlers.kernel import mounts
from handlers.layers.drivers.btrfs import Btrfs
from handlers.layers.drivers.container_files import HelperFiles
from handlers.layers.drivers.fuse_overlayfs import FuseOverlayfs
from handlers.layers.drivers.overlay2 import Overlay2
from handlers.layers.drivers.vfs import Vfs
from handlers.layers.drivers.zfs import Zfs
from handlers.layers.ports import Extraction, GraphDriver, PathStat, Subject
from tests.fakes.tars import TarBuilder, gzipped
from tests.filesystems import Grounds

pytestmark = pytest.mark.root
DRIVERS: dict[str, Callable[[Path], GraphDriver]] = {
    "overlay2": Overlay2,
    "fuse-overlayfs": FuseOverlayfs,
    "vfs": Vfs,
    "btrfs": Btrfs,
    "zfs": Zfs,
}
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
MODIFIED, ADDED, DELETED = 0, 1, 2
on_two_kinds = pytest.mark.parametrize("case", ["overlay2", "vfs"], indirect=True)  # the others look no different
LOWER, UPPER, CONTAINER = "a" * 64, "b" * 64, "container-c"


class Case:
    """A container's layer upon two of an image."""

    def __init__(self, driver: GraphDriver, directory: Path) -> None:
        self.driver, self.directory = driver, directory
        self.files = HelperFiles(driver, directory / "names")
        self.root = Path()

    async def begin(self) -> None:
        """Make the layers and mount the container's."""
        await self.driver.prepare()
        lower = (
            TarBuilder()
            .directory("etc/")
            .file("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/:/bin/sh\n")
            .file("etc/group", "root:x:0:\nteam:x:77:\n")
            .directory("old/")
            .file("old/one", "1")
            .file("old/two", "2")
            .directory("deep/")
            .directory("deep/er/")
            .file("deep/er/kept", "kept")
            .symlink("link", "/etc")
            .symlink("broken", "/nowhere/at/all")
        )
        await self.unpack(LOWER, (), lower)
        await self.unpack(UPPER, (LOWER,), TarBuilder().file("upper", "upper"))
        await self.driver.create(CONTAINER, (UPPER, LOWER))
        self.root = Path(await self.driver.mount(CONTAINER, (UPPER, LOWER)))

    async def unpack(self, cache_id: str, lineage: tuple[str, ...], layer: TarBuilder) -> None:
        path = self.directory / "layer.tar"
        path.write_bytes(layer.bytes())
        await self.driver.unpack(cache_id, lineage, str(path), 0, -1)

    def subject(self, *mounted: ViewMount, writable: bool = True) -> Subject:
        return Subject(container_id="c", lineage=(UPPER, LOWER), mounts=mounted, writable=writable)

    async def changes(self) -> dict[str, int]:
        return {change.path: change.kind for change in await self.files.changes(self.subject())}

    async def extract(
        self, archive: bytes, directory: str, *, subject: Subject | None = None, keeps: bool = False, owner: str = ""
    ) -> None:
        path = self.directory / "put.tar"
        path.write_bytes(archive)
        extraction = Extraction(archive=str(path), directory=directory, no_overwrite_dir_non_dir=keeps, owner=owner)
        await self.files.extract(subject or self.subject(), extraction)

    async def archive(self, path: str, *mounted: ViewMount) -> tuple[PathStat, tarfile.TarFile]:
        found, chunks = await self.files.archive(self.subject(*mounted), path)
        return found, await opened(chunks)

    async def end(self) -> None:
        present = await self.driver.list()
        for cache_id in sorted(present, reverse=True):  # the container's, then the upper one
            await self.driver.remove(cache_id)
        mounts.unmount(str(self.directory / "driver"))


async def opened(chunks: AsyncIterator[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(b"".join([chunk async for chunk in chunks])))


@pytest.fixture(params=DRIVERS)
async def case(request: pytest.FixtureRequest, tmp_path: Path, grounds: Grounds) -> AsyncIterator[Case]:
    made = Case(DRIVERS[request.param](grounds.root(request.param, tmp_path) / "driver"), tmp_path)
    try:
        await made.begin()
        yield made
    finally:
        await made.end()


async def test_nothing_has_changed_at_first(case):
    assert await case.changes() == {}


async def test_what_was_made_changed_and_removed(case):
    (case.root / "deep/er/new").write_text("x")
    (case.root / "etc/passwd").write_text("other")
    (case.root / "upper").unlink()
    (case.root / "dir").mkdir()
    (case.root / "dir/in").write_text("x")
    assert await case.changes() == {
        "/deep": MODIFIED,
        "/deep/er": MODIFIED,
        "/deep/er/new": ADDED,
        "/etc": MODIFIED,
        "/etc/passwd": MODIFIED,
        "/upper": DELETED,
        "/dir": ADDED,
        "/dir/in": ADDED,
    }


async def test_directories_come_before_what_is_in_them(case):
    (case.root / "deep/er/new").write_text("x")
    paths = [change.path for change in await case.files.changes(case.subject())]
    assert paths == ["/deep", "/deep/er", "/deep/er/new"]


async def test_a_directory_replaced_by_a_new_one_has_lost_what_was_in_it(case):
    for name in ("one", "two"):
        (case.root / "old" / name).unlink()
    (case.root / "old").rmdir()
    (case.root / "old").mkdir(mode=0o755)
    (case.root / "old/one").write_text("new")
    assert await case.changes() == {"/old": MODIFIED, "/old/one": MODIFIED, "/old/two": DELETED}


async def test_a_directory_that_became_a_file_is_told_once(case):
    for name in ("one", "two"):
        (case.root / "old" / name).unlink()
    (case.root / "old").rmdir()
    (case.root / "old").write_text("a file")
    assert await case.changes() == {"/old": MODIFIED}


async def test_modes_owners_and_capabilities_count_and_a_directorys_time_does_not(case):
    os.utime(case.root / "old")
    (case.root / "deep").chmod(0o700)
    os.chown(case.root / "old/one", 5, 5)
    os.setxattr(case.root / "upper", "security.capability", CAPABILITY)
    assert await case.changes() == {"/deep": MODIFIED, "/old": MODIFIED, "/old/one": MODIFIED, "/upper": MODIFIED}


async def test_what_the_engine_puts_into_a_container_is_left_out(case):
    for name in ("dev", "dev/pts", "proc", "sys"):
        (case.root / name).mkdir()
    for name in ("etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/console"):
        (case.root / name).touch()
    assert await case.changes() == {}
    (case.root / "etc/hosts").write_text("somebody's own")
    (case.root / "dev/mine").touch()
    assert await case.changes() == {"/etc": MODIFIED, "/etc/hosts": ADDED, "/dev": ADDED, "/dev/mine": ADDED}


async def test_changes_are_the_same_once_the_layer_is_unmounted(case):
    (case.root / "new").touch()
    before = await case.changes()
    await case.driver.unmount(CONTAINER)
    assert await case.changes() == before == {"/new": ADDED}


@on_two_kinds
async def test_an_absent_path(case):
    for path in ("/nosuch", "/etc/nosuch/further"):
        with pytest.raises(NotFound):
            await case.files.stat(case.subject(), path)
        with pytest.raises(NotFound):
            await case.archive(path)
    with pytest.raises(InvalidParameter, match="not a directory"):
        await case.files.stat(case.subject(), "/etc/passwd/")


@on_two_kinds
async def test_a_link_is_itself_and_tells_where_it_leads(case):
    found = await case.files.stat(case.subject(), "/link")
    assert (found.name, stat.S_ISLNK(found.mode), found.link_target) == ("link", True, "/etc")
    broken = await case.files.stat(case.subject(), "/broken")
    assert broken.link_target == "/nowhere/at/all"
    behind = await case.files.stat(case.subject(), "/link/")
    assert stat.S_ISDIR(behind.mode)


@on_two_kinds
async def test_archives_are_named_after_what_was_asked_for(case):
    for path, expected in {
        "/etc": ["etc", "etc/group", "etc/passwd"],
        "/etc/": ["etc", "etc/group", "etc/passwd"],
        "/etc/.": [".", "./group", "./passwd"],
        "/etc/passwd": ["passwd"],
        "/link": ["link"],
        "/old": ["old", "old/one", "old/two"],
    }.items():
        _, tar = await case.archive(path)
        assert tar.getnames() == expected, path
    _, tar = await case.archive("/link")
    assert tar.getmember("link").linkname == "/etc"


@on_two_kinds
async def test_all_kinds_of_files_leave_as_they_are(case):
    place = case.root / "kinds"
    place.mkdir(mode=0o1777)
    place.chmod(0o1777)
    (place / "first").write_bytes(b"x" * 3_000_000)
    os.link(place / "first", place / "second")
    os.mkfifo(place / "fifo", 0o600)
    os.mknod(place / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(place / "first", "security.capability", CAPABILITY)
    os.chown(place / "fifo", 12, 34)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "socket"))
    _, tar = await case.archive("/kinds")
    first, second = tar.getmember("kinds/first"), tar.getmember("kinds/second")
    assert (first.size, second.islnk(), second.linkname) == (3_000_000, True, "kinds/first")
    assert first.pax_headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == CAPABILITY
    fifo, null = tar.getmember("kinds/fifo"), tar.getmember("kinds/null")
    assert (fifo.isfifo(), fifo.uid, fifo.gid, fifo.mode) == (True, 12, 34, 0o600)
    assert (null.ischr(), null.devmajor, null.devminor) == (True, 1, 3)
    assert tar.getmember("kinds").mode == 0o1777
    assert "kinds/socket" not in tar.getnames()


async def test_names_that_are_no_text(case):
    name = b"\xff\xfe".decode("utf-8", "surrogateescape")
    (case.root / "old" / name).write_text("x")
    _, tar = await case.archive("/old")
    assert any(entry.endswith(name) for entry in tar.getnames())
    assert any("\N{REPLACEMENT CHARACTER}" in path for path in await case.changes())


@on_two_kinds
async def test_files_come_in(case):
    archive = TarBuilder().directory("d/", mode=0o750, uid=3, gid=4).file("d/f", "hi", mode=0o640, uid=7, gid=8)
    await case.extract(archive.bytes(), "/old")
    made = case.root / "old/d/f"
    assert (made.read_text(), made.stat().st_mode & 0o7777, made.stat().st_uid, made.stat().st_gid) == (
        "hi", 0o640, 7, 8,
    )  # fmt: skip
    assert made.parent.stat().st_mode & 0o7777 == 0o750
    await case.extract(gzipped(TarBuilder().file("d/f", "again").bytes()), "/link/../old")
    assert made.read_text() == "again"


async def test_files_come_into_a_layer_that_is_not_mounted(case):
    await case.driver.unmount(CONTAINER)
    await case.extract(TarBuilder().file("new", "hi").bytes(), "/etc")
    assert await case.changes() == {"/etc": MODIFIED, "/etc/new": ADDED}
    root = Path(await case.driver.mount(CONTAINER, (UPPER, LOWER)))
    assert (root / "etc/new").read_text() == "hi"


@on_two_kinds
async def test_an_owner_for_everything(case):
    await case.extract(TarBuilder().file("mine", "", uid=5, gid=6).bytes(), "/", owner="web")
    await case.extract(TarBuilder().file("ours", "", uid=5, gid=6).bytes(), "/", owner="web:team")
    await case.extract(TarBuilder().file("his", "", uid=5, gid=6).bytes(), "/", owner="4711")
    owners = {name: (case.root / name).stat() for name in ("mine", "ours", "his")}
    assert {name: (found.st_uid, found.st_gid) for name, found in owners.items()} == {
        "mine": (1000, 1001), "ours": (1000, 77), "his": (4711, 0),
    }  # fmt: skip
    with pytest.raises(InvalidParameter, match="no matching entries"):
        await case.extract(TarBuilder().file("x", "").bytes(), "/", owner="nobody-here")


@on_two_kinds
async def test_kinds_that_would_change(case):
    over_directory, over_file = TarBuilder().file("old", "x").bytes(), TarBuilder().directory("upper/").bytes()
    with pytest.raises(InvalidParameter, match="cannot overwrite directory"):
        await case.extract(over_directory, "/", keeps=True)
    with pytest.raises(InvalidParameter, match="cannot overwrite non-directory"):
        await case.extract(over_file, "/", keeps=True)
    await case.extract(over_directory, "/")
    await case.extract(over_file, "/")
    assert (case.root / "old").is_file()
    assert (case.root / "upper").is_dir()


@on_two_kinds
async def test_what_cannot_be_extracted(case):
    with pytest.raises(NotFound):
        await case.extract(TarBuilder().file("x", "").bytes(), "/nosuch")
    with pytest.raises(InvalidParameter, match="extraction point is not a directory"):
        await case.extract(TarBuilder().file("x", "").bytes(), "/etc/passwd")
    for junk in (b"junk", b"junk" * 1000):
        with pytest.raises(InvalidParameter):
            await case.extract(junk, "/old")
    with pytest.raises(InvalidParameter):
        await case.extract(TarBuilder().file("../../x", "").bytes(), "/old")


async def test_read_only_places(case, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    archive = TarBuilder().file("new", "hi").bytes()
    with pytest.raises(Forbidden, match="container rootfs is marked read-only"):
        await case.extract(archive, "/old", subject=case.subject(writable=False))
    sealed = ViewMount(source=str(source), destination="/old", writable=False)
    with pytest.raises(Forbidden, match="mounted volume is marked read-only"):
        await case.extract(archive, "/old", subject=case.subject(sealed))
    given = ViewMount(source=str(source), destination="/old")
    await case.extract(archive, "/old", subject=case.subject(given, writable=False))
    assert (source / "new").read_text() == "hi"
    assert await case.changes() == {}


@pytest.mark.parametrize("mounted", [True, False])
@on_two_kinds
async def test_mounts_are_seen_as_the_container_sees_them(case, tmp_path, mounted):
    if not mounted:
        await case.driver.unmount(CONTAINER)
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub/file").write_text("from outside")
    at_old = ViewMount(source=str(source), destination="/old", subpath="sub")
    absent = ViewMount(source=str(tmp_path / "nosuch"), destination="/deep", optional=True)
    _, tar = await case.archive("/old", at_old, absent)
    assert tar.getnames() == ["old", "old/file"]
    _, tar = await case.archive("/deep", at_old, absent)
    assert "deep/er/kept" in tar.getnames()
    if case.driver.name == "overlay2" or mounted:
        _, tar = await case.archive("/made/here", ViewMount(source=str(source / "sub"), destination="/made/here"))
        assert tar.getnames() == ["here", "here/file"]


@on_two_kinds
async def test_an_export_is_the_whole_tree(case):
    (case.root / "new").write_text("x")
    (case.root / "old/one").unlink()
    tar = await opened(await case.files.export(case.subject()))
    assert {"new", "old", "old/two", "etc/passwd", "deep/er/kept"} <= set(tar.getnames())
    assert "old/one" not in tar.getnames()


@on_two_kinds
async def test_a_stream_that_is_left_ends_its_process(case):
    (case.root / "large").write_bytes(bytes(8_000_000))
    chunks = await case.files.export(case.subject())
    await anext(chunks)
    await chunks.aclose()


@on_two_kinds
async def test_links_and_their_races_lead_nowhere_outside(case, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    (case.root / "out").symlink_to(secret)
    (case.root / "up").symlink_to("../../../../../../../../.." + str(secret))
    for path in ("/out/key", "/up/key", f"/../../../../../..{secret}/key"):
        with pytest.raises(NotFound):
            await case.archive(path)
    for place in ("/out", "/up"):
        with pytest.raises(NotFound):
            await case.extract(TarBuilder().file("new", "").bytes(), place)
    planted = TarBuilder().symlink("trap", str(secret)).file("trap/new", "caught").bytes()
    with pytest.raises(InvalidParameter):
        await case.extract(planted, "/old")
    into = ViewMount(source=str(secret), destination="/up/mounted", optional=True)
    found, chunks = await case.files.archive(case.subject(into), "/etc")
    await chunks.aclose()
    assert found.name == "etc"
    assert [path.name for path in secret.iterdir()] == ["key"]
