"""What every keeper of network namespaces, and every keeper of name files, keeps to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.networks.drivers.name_files import HostNameFiles
from handlers.networks.names import NameFileTexts
from handlers.networks.ports import NameFiles, Namespaces
from tests.fakes.network import FakeNameFiles, FakeNamespaces
from tests.fakes.network_host import machine

ONE, TWO = "1" * 64, "2" * 64
TEXTS = NameFileTexts(hostname="one\n", hosts="127.0.0.1\tlocalhost\n", resolv_conf="nameserver 192.0.2.1\n")


def fake_namespaces() -> Iterator[Namespaces]:
    yield FakeNamespaces()


def pinned_namespaces() -> Iterator[Namespaces]:
    with machine() as made:
        yield made.namespaces


@pytest.fixture(
    params=[fake_namespaces, pytest.param(pinned_namespaces, marks=pytest.mark.root)], ids=["fake", "pinned"]
)
def namespaces(request) -> Iterator[Namespaces]:
    yield from request.param()


@pytest.fixture(params=["fake", "host"])
def name_files(request, tmp_path: Path) -> NameFiles:
    return FakeNameFiles() if request.param == "fake" else HostNameFiles(tmp_path)


async def test_namespaces_come_and_go(namespaces):
    assert await namespaces.list() == frozenset()
    assert await namespaces.create(ONE) == namespaces.path(ONE)
    assert await namespaces.create(ONE) == namespaces.path(ONE)
    await namespaces.create(TWO)
    assert await namespaces.list() == {ONE, TWO}
    assert await namespaces.exists(ONE)
    await namespaces.remove(ONE)
    await namespaces.remove(ONE)
    assert await namespaces.list() == {TWO}
    assert not await namespaces.exists(ONE)


async def test_each_container_has_its_own_paths(namespaces):
    assert namespaces.path(ONE) != namespaces.path(TWO)


async def test_name_files_can_be_written_again_and_removed_twice(name_files):
    await name_files.write(ONE, TEXTS)
    await name_files.write(ONE, TEXTS)
    await name_files.remove(ONE)
    await name_files.remove(ONE)


async def test_name_files_of_containers_are_apart(name_files):
    one, two = name_files.paths(ONE), name_files.paths(TWO)
    paths = {one.hosts, one.hostname, one.resolv_conf, two.hosts, two.hostname, two.resolv_conf}
    assert len(paths) == 6


async def test_the_host_has_names(name_files):
    assert "localhost" in (await name_files.host()).hosts
