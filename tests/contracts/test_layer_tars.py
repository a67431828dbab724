"""The very tar that a layer came as can be had again from every graph driver, byte for byte."""

import gzip
import io
import random
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from events.errors import SystemFailure
from handlers.kernel import mounts
from handlers.layers.drivers.forks import keep_warm
from handlers.layers.drivers.layer_tars import KeptTars
from tests.contracts.test_layer_changes import DRIVERS
from tests.fakes.tars import TarBuilder, digest
from tests.filesystems import Grounds

pytestmark = pytest.mark.root
LOWER, UPPER = "a" * 64, "b" * 64


class Store:
    """A driver with layers that came from tars."""

    def __init__(self, name: str, directory: Path, ground: Path) -> None:
        self.driver = DRIVERS[name](ground / "driver")
        self.tars = KeptTars(self.driver)
        self.directory = directory

    async def unpack(self, cache_id: str, lineage: tuple[str, ...], stored: bytes, offset: int = 0) -> None:
        path = self.directory / "layer"
        path.write_bytes(bytes(offset) + stored)
        await self.driver.unpack(cache_id, lineage, str(path), offset, len(stored))

    async def tar(self, cache_id: str, diff_id: str) -> bytes:
        """The tar, or what keeps it from being had."""
        parts: list[bytes] = []
        failures: list[SystemFailure] = []
        async with anyio.create_task_group() as tasks:
            keep_warm(tasks)
            try:
                parts += [chunk async for chunk in await self.tars.tar(cache_id, diff_id)]
            except SystemFailure as failure:
                failures.append(failure)
            tasks.cancel_scope.cancel()
        if failures:
            raise failures[0]
        return b"".join(parts)


@pytest.fixture(params=DRIVERS)
async def store(request: pytest.FixtureRequest, tmp_path: Path, grounds: Grounds) -> AsyncIterator[Store]:
    made = Store(request.param, tmp_path, grounds.root(request.param, tmp_path))
    await made.driver.prepare()
    try:
        yield made
    finally:
        for cache_id in sorted(await made.driver.list(), reverse=True):
            await made.driver.remove(cache_id)
        mounts.unmount(str(tmp_path / "driver"))


def lower() -> bytes:
    return (
        TarBuilder()
        .directory("d/", mode=0o700, uid=5)
        .file("d/small", "small")
        .file("d/empty", "")
        .file(
            "d/large",
            random.Random(1).randbytes(2_500_000),
            attributes={"security.capability": b"\1\0\0\2" + bytes(16)},
        )
        .hard_link("d/again", "d/small")
        .symlink("link", "d")
        .file("link/by", "by way of a link")
        .bytes()
    )


VARIANTS = {
    "plain": lower(),
    "GNU": None,
    "long padding": lower() + bytes(50_000),
    "junk behind": lower() + b"junk" * 100,
    "a file twice": TarBuilder().file("x", "first").file("y", "y").file("x", "second, longer").bytes(),
    "a directory that becomes a file": TarBuilder().directory("x/").file("x/y", "inside").file("x", "file").bytes(),
    "deletions": TarBuilder().file("d/.wh.small", "").file("d/.wh..wh..opq", "").file("d/new", "n").bytes(),
    "nothing": bytes(1024),
}


def gnu() -> bytes:
    """With names that only GNU's headers can hold, and holes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        entry = tarfile.TarInfo("n" * 80 + "/" + "m" * 80)
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    return buffer.getvalue()


@pytest.mark.parametrize("variant", VARIANTS)
async def test_the_tar_comes_back(store, variant):
    await store.unpack(LOWER, (), lower())
    tar = VARIANTS[variant] or gnu()
    await store.unpack(UPPER, (LOWER,), gzip.compress(tar), offset=512)
    assert await store.tars.tar_size(UPPER) == len(tar)
    assert await store.tar(UPPER, digest(tar)) == tar
    assert await store.tar(LOWER, digest(lower())) == lower()


async def test_another_digest_breaks_the_tar_off(store):
    await store.unpack(LOWER, (), lower())
    with pytest.raises(SystemFailure):
        await store.tar(LOWER, "sha256:" + "0" * 64)


async def test_a_layer_whose_tar_was_not_kept(store):
    await store.unpack(LOWER, (), lower())
    await anyio.Path((await store.driver.origin(LOWER)).skeleton).unlink()
    with pytest.raises(SystemFailure, match="unpacked before their archives were kept"):
        await store.tars.tar_size(LOWER)
    with pytest.raises(SystemFailure):
        await store.tar(LOWER, digest(lower()))


async def test_nothing_is_left_of_a_removed_layer(store):
    await store.unpack(LOWER, (), lower())
    skeleton = (await store.driver.origin(LOWER)).skeleton
    await store.driver.remove(LOWER)
    assert not await anyio.Path(skeleton).exists()
    assert LOWER not in await store.driver.list()
