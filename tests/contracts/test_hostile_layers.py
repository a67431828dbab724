"""Archives made to hurt: refused with the name of the entry, nothing outside touched, nothing left."""

import os
import random
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.errors import EngineError, InvalidParameter
from handlers.kernel import mounts
from handlers.layers.drivers.overlay2 import Overlay2
from handlers.layers.drivers.unpacking import Request
from handlers.tar_entries import BadEntry, Stream, entries
from tests.fakes.tars import TarBuilder, digest, gzipped

pytestmark = pytest.mark.root
BLOCK = 512


class Target:
    """A driver, and a directory beside it that nobody may touch."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.driver = directory, Overlay2(directory / "driver")
        self.outside = directory / "outside"

    async def begin(self) -> None:
        self.outside.mkdir()
        (self.outside / "file").write_text("untouched")
        await self.driver.prepare()

    async def unpack(self, content: bytes) -> str:
        path = self.directory / "layer"
        path.write_bytes(content)
        return (await self.driver.unpack("bad", (), str(path), 0, -1)).diff_id

    async def refused(self, content: bytes) -> str:
        with pytest.raises(InvalidParameter) as refusal:
            await self.unpack(content)
        await self.check()
        return str(refusal.value)

    async def check(self) -> None:
        assert await self.driver.list() == frozenset()
        self.check_outside()

    def check_outside(self) -> None:
        assert [path.name for path in self.outside.iterdir()] == ["file"]
        assert (self.outside / "file").read_text() == "untouched"
        assert (self.outside / "file").stat().st_nlink == 1

    def end(self) -> None:
        mounts.unmount(str(self.directory / "driver"))


@pytest.fixture
async def target(tmp_path):
    made = Target(tmp_path)
    try:
        await made.begin()
        yield made
    finally:
        made.end()


def lying(size: int) -> bytes:
    """An entry that says that it has `size` bytes, and has four."""
    entry = tarfile.TarInfo("usr/bomb")
    entry.size = size
    return tarfile.TarInfo("first").tobuf() + entry.tobuf(tarfile.GNU_FORMAT) + b"four"


@pytest.mark.parametrize("size", [5, 10**6, 10**15])
async def test_more_declared_than_there_is(target, size):
    assert await target.refused(lying(size)) == "usr/bomb: unexpected EOF"
    assert "unexpected EOF" in await target.refused(gzipped(lying(size)))


async def test_a_sparse_file_larger_than_any_file_system(target):
    header = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "hole"}
    entry = tarfile.TarInfo("GNUSparseFile.0/hole")
    entry.size, entry.pax_headers = BLOCK, header | {"GNU.sparse.realsize": str(2**63 - 1)}
    content = entry.tobuf(tarfile.PAX_FORMAT) + b"1\n0\n0\n".ljust(BLOCK, b"\0") + bytes(2 * BLOCK)
    assert (await target.refused(content)).startswith("hole: ")


async def test_deep_paths(target):
    assert "too deep" in await target.refused(TarBuilder().file("d/" * 1500 + "x").bytes())
    assert await target.refused(TarBuilder().file("d/" * 3000 + "x").bytes())


def test_too_many_entries():
    content = b"".join(tarfile.TarInfo(f"file{number}").tobuf() for number in range(11))
    found = entries(Stream(iter([content])), limit=10)
    with pytest.raises(BadEntry, match="file10: the archive has more than 10 entries"):
        list(found)


async def test_escapes_through_links(target):
    outside = str(target.outside)
    up = "../" * 12
    for layer in (
        TarBuilder().symlink("way", outside).hard_link("x", "way/file"),
        TarBuilder().symlink("way", up + outside[1:]).hard_link("x", "way/file"),
        TarBuilder().symlink("way", outside).file("way/new", "!"),
        TarBuilder().symlink("way", outside).add("way/.wh.file"),
        TarBuilder().symlink("way", outside).add("way/.wh..wh..opq"),
        TarBuilder().hard_link("x", up + outside[1:] + "/file"),
    ):
        assert await target.refused(layer.bytes())


async def test_devices_without_the_right_to_make_them(target):
    layer, directory = target.directory / "devices.tar", target.directory / "tree"
    layer.write_bytes(TarBuilder().file("first").add("dev/null", kind=tarfile.CHRTYPE, device=(1, 3)).bytes())
    directory.mkdir()
    request = Request(
        path=str(layer),
        offset=0,
        length=-1,
        directory=str(directory),
        lineage=(),
        marks="overlay",
        skeleton=str(target.directory / "skeleton"),
        parent_pid=os.getpid(),
    )
    program = [sys.executable, "-I", "-m", "handlers.layers.drivers.unpack"]
    without = ["setpriv", "--inh-caps=-mknod", "--bounding-set=-mknod", "--"]
    done = await anyio.run_process([*without, *program], input=msgspec.json.encode(request))
    answer = msgspec.json.decode(done.stdout)
    assert answer == {"kind": "system", "message": "unpack dev/null: operation not permitted"}


# ---- anything at all


def rich() -> bytes:
    return (
        TarBuilder()
        .directory("d/", mode=0o700)
        .file("d/file", "x" * 700, attributes={"user.mark": b"yes"})
        .symlink("d/link", "../d")
        .hard_link("d/again", "d/file")
        .add("pipe", kind=tarfile.FIFOTYPE)
        .add("d/.wh.gone")
        .file("n" * 200, "long")
        .bytes()
    )


RICH = rich()
FIELDS = ((0, 100), (100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155))


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """The rich archive with some header fields overwritten, their checksums right again, or cut off."""
    content = bytearray(RICH)
    for _ in range(draw(st.integers(1, 3))):
        block = draw(st.integers(0, len(content) // BLOCK - 1)) * BLOCK
        offset, length = draw(st.sampled_from(FIELDS))
        value = draw(st.one_of(st.binary(max_size=length), st.sampled_from(HOSTILE_VALUES)))[:length]
        content[block + offset : block + offset + len(value)] = value
        _sum(content, block)
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


HOSTILE_VALUES = (
    b"../../../outside/x\0",
    b"/etc\0",
    b"..\0",
    b"7" * 11,
    b"\x80" + b"\xff" * 10,
    b"-1\0",
    b"x",
    b"L",
    b"S",
)


def _sum(content: bytearray, block: int) -> None:
    content[block + 148 : block + 156] = b" " * 8
    content[block + 148 : block + 156] = b"%06o\0 " % sum(content[block : block + BLOCK])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mangled())
def test_any_archive_is_read_or_refused(content):
    stream = Stream(iter([content]))
    try:
        for entry in entries(stream):
            for _ in stream.data(min(entry.size, 3)) if entry.isreg() else ():
                continue
        assert stream.finish() == digest(content)
    except InvalidParameter:
        return


async def test_any_archive_is_unpacked_inside_or_leaves_nothing(target):
    """A bounded number of them: each is a process."""
    contents = list(_drawn(25))
    for content in contents:
        try:
            diff_id = await target.unpack(content)
        except EngineError:
            await target.check()
        else:
            assert diff_id == digest(content)
            target.check_outside()
            await target.driver.remove("bad")


def _drawn(count: int) -> Iterator[bytes]:
    """The same ones at every run: a seeded walk over the same manglings."""
    choose = random.Random(5)
    for _ in range(count):
        content = bytearray(RICH)
        for _ in range(choose.randrange(1, 4)):
            block = choose.randrange(len(content) // BLOCK) * BLOCK
            offset, length = choose.choice(FIELDS)
            value = choose.choice((*HOSTILE_VALUES, choose.randbytes(length)))[:length]
            content[block + offset : block + offset + len(value)] = value
            _sum(content, block)
        yield bytes(content)
