"""Which storage driver is chosen, and what is told of it."""

from pathlib import Path

import pytest
from typing_extensions import override

from daemon.flags import ConfigurationInvalid
from daemon.storage import MakeGraphDriver, StorageOptions, choose_graph_driver
from events.errors import SystemFailure
from handlers.layers.ports import GraphDriver
from tests.fakes.graph_driver import FakeGraphDriver

NAMES = ("overlay2", "fuse-overlayfs", "btrfs", "zfs", "devicemapper", "aufs", "vfs")


class Unusable(FakeGraphDriver):
    """Lacks something."""

    @override
    async def prepare(self) -> None:
        raise SystemFailure(f"{self._root.name} can't be used: no such thing")


def drivers(*unusable: str) -> dict[str, MakeGraphDriver]:
    def maker(name: str) -> MakeGraphDriver:
        def make(root: Path, options: StorageOptions) -> GraphDriver:
            options.size_bytes(f"{name}.size")
            made = Unusable(root) if name in unusable else FakeGraphDriver(root)
            made.name = name
            return made

        return make

    return {name: maker(name) for name in NAMES}


async def test_the_first_that_works_is_taken_and_told_with_what_the_others_lack(tmp_path):
    driver, rows = await choose_graph_driver(drivers("overlay2", "fuse-overlayfs"), tmp_path, "", {})
    assert driver.name == "btrfs"
    assert rows == (
        ("Chosen", "automatically: the first that works here"),
        ("Not overlay2", "overlay2 can't be used: no such thing"),
        ("Not fuse-overlayfs", "fuse-overlayfs can't be used: no such thing"),
    )


async def test_without_any_the_engine_says_why_of_each(tmp_path):
    with pytest.raises(SystemFailure) as refusal:
        await choose_graph_driver(drivers(*NAMES), tmp_path, "", {})
    first, *reasons = str(refusal.value).splitlines()
    assert first == "no storage driver can be used:"
    assert [reason.partition(" ")[0] for reason in reasons] == ["overlay2", "fuse-overlayfs", "btrfs", "zfs", "vfs"]


@pytest.mark.parametrize("kept", ["0123abcd", "subvolumes/0123abcd", "graph/0123abcd", "layers/0123abcd", "l/SHORT"])
async def test_a_driver_that_has_layers_already_comes_first(tmp_path, kept):
    (tmp_path / "overlay2" / "l" / "empty").mkdir(parents=True)
    (tmp_path / "vfs" / kept).mkdir(parents=True)
    driver, rows = await choose_graph_driver(drivers(), tmp_path, "", {})
    assert driver.name == "vfs"
    assert rows == (("Chosen", "it has layers here already"),)


async def test_layers_of_two_drivers_are_for_people_to_decide(tmp_path):
    for name in ("overlay2", "vfs"):
        (tmp_path / name / "0123abcd").mkdir(parents=True)
    with pytest.raises(SystemFailure, match=r"contains several valid graphdrivers: overlay2, vfs; cleanup or"):
        await choose_graph_driver(drivers(), tmp_path, "", {})
    driver, rows = await choose_graph_driver(drivers(), tmp_path, "vfs", {})
    assert (driver.name, rows) == ("vfs", (("Chosen", "by --storage-driver"),))


async def test_one_that_is_asked_for_isnt_replaced(tmp_path):
    with pytest.raises(SystemFailure, match="aufs can't be used: no such thing"):
        await choose_graph_driver(drivers("aufs"), tmp_path, "aufs", {})


async def test_options_are_for_the_driver_that_knows_them(tmp_path):
    options = {"zfs.size": "1G", "overlay2.override_kernel_check": "1"}
    await choose_graph_driver(drivers(), tmp_path, "zfs", options)
    with pytest.raises(ConfigurationInvalid, match=r"btrfs: unknown option zfs\.size"):
        await choose_graph_driver(drivers(), tmp_path, "btrfs", options)
    with pytest.raises(ConfigurationInvalid, match=r"zfs\.size: invalid size: 'big'"):
        await choose_graph_driver(drivers(), tmp_path, "zfs", {"zfs.size": "big"})
