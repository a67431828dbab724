"""What every volume driver keeps to."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from events.errors import InvalidParameter
from handlers.volumes.drivers.local import LocalDriver
from handlers.volumes.ports import VolumeDriver
from tests.fakes.volume_driver import FakeVolumeDriver


class Subject(NamedTuple):
    driver: VolumeDriver
    content: Callable[[str], Awaitable[set[str]]]


def fake(_: Path) -> Subject:
    driver = FakeVolumeDriver()
    return Subject(driver, driver.content)


def local(directory: Path) -> Subject:
    root = directory / "volumes"

    async def content(name: str) -> set[str]:
        return {entry.name for entry in (root / name / "_data").iterdir()}

    return Subject(LocalDriver(root), content)


@pytest.fixture(params=[fake, local], ids=["fake", "local"])
def subject(request, tmp_path) -> Subject:
    made: Subject = request.param(tmp_path)
    return made


@pytest.fixture
def rootfs(tmp_path) -> str:
    source = tmp_path / "rootfs" / "srv"
    source.mkdir(parents=True)
    (source / "one").write_text("1")
    (source / "two").mkdir()
    (tmp_path / "rootfs" / "file").write_text("not a directory")
    return str(tmp_path / "rootfs")


async def test_nothing_is_there_at_first(subject):
    assert await subject.driver.list() == frozenset()


async def test_a_volume_is_listed_until_it_is_removed(subject):
    await subject.driver.create("one", {})
    await subject.driver.create("two", {})
    assert await subject.driver.list() == {"one", "two"}
    await subject.driver.remove("one")
    assert await subject.driver.list() == {"two"}


async def test_creating_again_keeps_what_is_in_it(subject, rootfs):
    first = await subject.driver.create("one", {})
    await subject.driver.populate("one", rootfs, "/srv")
    assert await subject.driver.create("one", {}) == first
    assert await subject.content("one") == {"one", "two"}


async def test_removing_what_is_absent_succeeds(subject):
    await subject.driver.remove("nothing")
    await subject.driver.create("one", {})
    await subject.driver.remove("one")
    await subject.driver.remove("one")


async def test_mounting_twice_gives_the_same_place(subject):
    await subject.driver.create("one", {})
    assert await subject.driver.mount("one", {}) == await subject.driver.mount("one", {})


async def test_unmounting_what_is_not_mounted_succeeds(subject):
    await subject.driver.create("one", {})
    await subject.driver.unmount("one")
    await subject.driver.unmount("absent")


async def test_an_empty_volume_takes_the_content(subject, rootfs):
    await subject.driver.create("one", {})
    assert await subject.driver.would_populate("one", rootfs, "/srv")
    await subject.driver.populate("one", rootfs, "/srv")
    assert await subject.content("one") == {"one", "two"}
    assert not await subject.driver.would_populate("one", rootfs, "/srv")


async def test_a_volume_with_content_keeps_it(subject, rootfs):
    await subject.driver.create("one", {})
    await subject.driver.populate("one", rootfs, "/srv/..")
    before = await subject.content("one")
    await subject.driver.populate("one", rootfs, "/srv")
    assert await subject.content("one") == before == {"srv", "file"}


@pytest.mark.parametrize("source", ["/absent", "/file", "/file/below"])
async def test_nothing_happens_without_a_directory(subject, rootfs, source):
    await subject.driver.create("one", {})
    assert not await subject.driver.would_populate("one", rootfs, source)
    await subject.driver.populate("one", rootfs, source)
    assert await subject.content("one") == set()


async def test_no_interrupted_copy_no_content(subject):
    await subject.driver.create("one", {})
    assert not await subject.driver.settle_populate("one")


@pytest.mark.parametrize(
    ("name", "options"),
    [("/bad", {}), ("fine", {"foo": "x"}), ("fine", {"type": "tmpfs"}), ("fine", {"size": "10m"})],
)
async def test_what_cannot_be_is_refused(subject, name, options):
    with pytest.raises(InvalidParameter):
        subject.driver.check(name, options)
