"""Files are as their entries say, whatever the directory that they come into would give them."""

import stat
import struct
from pathlib import Path

import pytest

from handlers.kernel import mounts
from handlers.layers.drivers.overlay2 import Overlay2
from tests.fakes.tars import TarBuilder

pytestmark = pytest.mark.root
OWNER, GROUP, OTHERS = 0x01, 0x04, 0x20  # of linux/posix_acl.h
FILES = {
    "plain": (0o644, 0, 0),
    "open": (0o666, 0, 0),
    "closed": (0o000, 0, 0),
    "theirs": (0o600, 7, 8),
    "raised": (0o4755, 7, 0),
    "grouped": (0o2755, 0, 8),
    "own": (0o6755, 0, 0),
}


def acl() -> bytes:
    """All for the owner, reading for the group, nothing for others."""
    entries = ((OWNER, 7), (GROUP, 5), (OTHERS, 0))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, bits, 0xFFFFFFFF) for tag, bits in entries)


@pytest.fixture
async def driver(tmp_path):
    made = Overlay2(tmp_path / "driver")
    await made.prepare()
    yield made
    mounts.unmount(str(tmp_path / "driver"))


@pytest.mark.parametrize(
    "directory",
    [{}, {"mode": 0o2755, "gid": 5}, {"attributes": {"system.posix_acl_default": acl()}}],
    ids=["usual", "gives its group", "gives its permissions"],
)
async def test_owner_and_mode_are_those_of_the_entry(tmp_path: Path, driver: Overlay2, directory):
    layer = TarBuilder().directory("in", **directory)
    for name, (mode, uid, gid) in FILES.items():
        layer.file(f"in/{name}", name, mode=mode, uid=uid, gid=gid)
    await driver.unpack("layer", (), str(layer.write(tmp_path / "layer.tar")), 0, -1)
    assert metadata(Path((await driver.origin("layer")).directory, "in")) == FILES


def metadata(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Mode, owner and group of each file."""
    found = {path.name: path.lstat() for path in directory.iterdir()}
    return {name: (stat.S_IMODE(it.st_mode), it.st_uid, it.st_gid) for name, it in found.items()}
