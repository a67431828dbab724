"""Layers that are filled at once don't crowd into one part of the disk, where the file system can tell (ext4)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handlers.kernel import mounts
from handlers.kernel.spreading import spread_subdirectories
from handlers.layers.drivers.overlay2 import Overlay2
from handlers.layers.drivers.vfs import Vfs
from handlers.layers.ports import GraphDriver
from tests.filesystems import mounted

pytestmark = pytest.mark.root
MIB = 1024**2
GROUPS = 16  # of 128 MiB each: blocks of 4 KiB
INODES = 8192
LAYERS = ("one", "two", "three")


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    """An ext4 of some block groups in a file, mounted."""
    making = ("-b", "4096", "-O", "^flex_bg,^has_journal", "-N", str(GROUPS * INODES))
    with mounted("ext4", tmp_path, making=making, size_bytes=GROUPS * 128 * MIB) as place:
        yield place


@pytest.mark.parametrize("make", [Overlay2, Vfs])
async def test_each_layer_gets_a_part_of_the_disk_of_its_own(ext4: Path, make: Callable[[Path], GraphDriver]):
    driver = make(ext4 / "layers")
    await driver.prepare()
    try:
        for layer in LAYERS:
            await driver.create(layer, ())
        groups = {(ext4 / "layers" / layer).stat().st_ino // INODES for layer in LAYERS}
        assert len(groups) == len(LAYERS)
    finally:
        for layer in LAYERS:
            await driver.remove(layer)
        mounts.unmount(str(ext4 / "layers"))


def test_other_file_systems_are_left_as_they_are():
    assert not spread_subdirectories(Path("/proc/self"))
    assert not spread_subdirectories(Path("/dev/shm"))
