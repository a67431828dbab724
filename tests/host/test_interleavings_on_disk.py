"""Pulls, removals, prunes, runs and commits at once, with layers on disk: at their end there is not a byte of them.

SHIPLOG_TEST_INTERLEAVINGS_ON_DISK says how many orders are tried.
"""

import os
from pathlib import Path

import anyio
import pytest

from handlers.kernel import mounts
from handlers.layers.drivers.forks import keep_warm
from handlers.layers.drivers.overlay2 import Overlay2
from tests.fakes.interleaving import World
from tests.unit.handlers.images.test_interleavings import live

pytestmark = pytest.mark.root
SEEDS = int(os.environ.get("SHIPLOG_TEST_INTERLEAVINGS_ON_DISK", "3"))


def contents(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


async def test_nothing_is_left_on_disk(tmp_path):
    driver = Overlay2(tmp_path / "layers")
    await driver.prepare()
    before = contents(tmp_path)
    try:
        async with anyio.create_task_group() as tasks:
            keep_warm(tasks)
            for seed in range(SEEDS):
                await live(World(seed, driver, tmp_path))
                assert contents(tmp_path) == before, f"seed {seed}"
            tasks.cancel_scope.cancel("all were tried")
    finally:
        mounts.unmount(str(tmp_path / "layers"))
