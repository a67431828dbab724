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
from handlers.layers.drivers.layer_tars import SMALL_BYTES, TOGETHER_BYTES, KeptTars
from handlers.layers.ports import LayerTars
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
        (tar,) = await self.several({cache_id: diff_id}, self.tars)
        return tar

    async def several(self, layers: dict[str, str], tars: LayerTars) -> list[bytes]:
        """All tars, or what keeps one from being had."""
        whole: list[bytes] = []
        failures: list[SystemFailure] = []
        async with anyio.create_task_group() as tasks:
            keep_warm(tasks)
            try:
                for cache_id, diff_id in layers.items():
                    whole.append(b"".join([chunk async for chunk in await tars.tar(cache_id, diff_id)]))
            except SystemFailure as failure:
                failures.append(failure)
            tasks.cancel_scope.cancel()
        if failures:
            raise failures[0]
        return whole


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


def small(number: int, size: int = 50_000) -> bytes:
    return TarBuilder().file(f"f{number}", random.Random(number).randbytes(size)).file("same", "same").bytes()


async def unpack_all(store: Store, tars: list[bytes]) -> dict[str, str]:
    layers = {f"{number:064x}": digest(tar) for number, tar in enumerate(tars)}
    for cache_id, tar in zip(layers, tars, strict=True):
        await store.unpack(cache_id, (), tar)
    return layers


async def test_small_tars_come_several_at_once(store, monkeypatch):
    tars = [small(0), small(1), small(2, SMALL_BYTES + 1), *(small(3 + n, SMALL_BYTES - 10_000) for n in range(6))]
    layers = await unpack_all(store, tars)
    begun: list[tuple[str, ...]] = []
    begin = store.tars.behind_each_other

    async def noted(wanted):
        begun.append(tuple(wanted))
        return await begin(wanted)

    monkeypatch.setattr(store.tars, "behind_each_other", noted)
    several = store.tars.several(layers)
    assert [await several.tar_size(cache_id) for cache_id in layers] == list(map(len, tars))
    assert await store.several(layers, several) == tars
    assert begun[0][:2] == tuple(layers)[:2]
    assert len(begun) == 3  # small ones up to the memory that they may take, the large one, the rest
    assert all(sum(len(tars[list(layers).index(each)]) for each in one) <= TOGETHER_BYTES for one in begun)


async def test_a_tar_that_nobody_spoke_of_and_one_that_is_asked_for_again(store):
    layers = await unpack_all(store, [small(0), small(1)])
    first, second = layers.items()
    several = store.tars.several(dict([first]))
    assert await several.tar_size(second[0]) == len(small(1))
    assert await store.several(dict([second]), several) == [small(1)]
    for _ in range(2):
        assert await store.several(dict([first]), several) == [small(0)]


async def test_no_link_leads_from_a_layer_into_another(store):
    inside, other = TarBuilder().file("d/f", "inside").bytes(), TarBuilder().file("d/f", "beside").bytes()
    layers = await unpack_all(store, [inside, other])
    places = [(await store.driver.origin(cache_id)).directory for cache_id in layers]
    for target in (f"{places[1]}/d", f"{'../' * 20}{places[1]}/d"):
        directory = anyio.Path(places[0]) / "d"
        if await directory.is_symlink():
            await directory.unlink()
        else:
            await (directory / "f").unlink()
            await directory.rmdir()
        await directory.symlink_to(target)
        assert await (directory / "f").read_text() == "beside"
        with pytest.raises(SystemFailure, match="no such file"):
            await store.several(layers, store.tars.several(layers))


async def test_one_that_is_damaged_breaks_those_off_that_come_with_it(store):
    layers = await unpack_all(store, [small(0), small(1)])
    damaged = dict(layers) | {f"{1:064x}": digest(b"other")}
    with pytest.raises(SystemFailure, match="can't be put together again"):
        await store.several(damaged, store.tars.several(damaged))
