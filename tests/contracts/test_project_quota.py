"""The size of a container's layer with overlay2, where the file system counts by projects (xfs with pquota)."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.kernel import mounts
from handlers.layers.drivers.overlay2 import Overlay2
from handlers.layers.ports import BLOCK_BYTES
from tests.filesystems import mounted

pytestmark = pytest.mark.root
MIB = 1024**2


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    """An xfs in a file, mounted with project quotas."""
    with mounted("xfs", tmp_path, mounting="loop,pquota", size_bytes=320 * MIB) as place:
        yield place


async def test_a_bounded_layer_takes_no_more_than_it_may(xfs):
    driver = Overlay2(xfs / "layers")
    await driver.prepare()
    try:
        await driver.create("small", (), {"size": "8M"})
        await driver.create("large", (), {"size": "64M"})
        await driver.create("free", ())
        written = {name: fill(Path(await driver.mount(name, ())), 32 * MIB) for name in ("small", "large", "free")}
        assert 6 * MIB <= written["small"] <= 8 * MIB
        assert written["large"] == written["free"] == 32 * MIB
    finally:
        for name in await driver.list():
            await driver.remove(name)
        mounts.unmount(str(xfs / "layers"))


def fill(directory: Path, most_bytes: int) -> int:
    """Bytes on disk of a file that grows until it may not."""
    path = directory / "grows"
    with path.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            for _ in range(most_bytes // MIB):
                file.write(bytes(MIB))
    return path.stat().st_blocks * BLOCK_BYTES
