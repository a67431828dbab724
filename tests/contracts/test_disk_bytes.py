"""What a layer takes on disk as graph drivers count it while they unpack, beside what du finds."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.layers.ports import Origin
from tests.contracts.test_graph_driver import REAL, Stack, opened, rich_layer
from tests.filesystems import Grounds, run

pytestmark = pytest.mark.root


@pytest.fixture(params=[name for name in REAL if name != "zfs"])  # which counts some seconds later
async def stack(request: pytest.FixtureRequest, tmp_path: Path, grounds: Grounds) -> AsyncIterator[Stack]:
    async with opened(request.param, tmp_path, grounds) as made:
        yield made


async def test_what_a_layer_takes_is_what_du_counts(stack):
    layer = rich_layer().file("twice", os.urandom(1024**2)).hard_link("again", "twice").symlink("long", "x" * 200)
    for number in range(300):
        layer.file(f"many/{number:04}", os.urandom(number))
    layer.file("many/0005", b"replaced")
    path = layer.write(stack.directory / "layer.tar")
    unpacked = await stack.driver.unpack("0" * 64, (), str(path), 0, -1)
    counted = blocks(await stack.driver.origin("0" * 64))
    assert abs(unpacked.disk_bytes - counted) <= counted // 100


def blocks(origin: Origin) -> int:
    """Bytes on disk of a layer's tree and of the rest of its tar."""
    return sum(
        int(run("du", "-s", "--block-size=1", place).split()[0]) for place in (origin.directory, origin.skeleton)
    )
