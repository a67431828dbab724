"""What the driver of conmon keeps on disk goes without the event loop or the threads of quick work."""

from pathlib import Path

import anyio
import pytest

from handlers.exec.drivers.conmon import ConmonRuntime
from handlers.instance import Instance
from tests.audit import touches

NAME = "c" * 64


@pytest.fixture
def driver(tmp_path) -> ConmonRuntime:
    files = tmp_path / "containers" / NAME
    (files / "exits/1").mkdir(parents=True)
    (files / "exits/1" / NAME).write_text("0")
    (files / "output.log").write_text("much")
    return ConmonRuntime(Instance(name="test", data_root=tmp_path, exec_root=Path("/nowhere")), "/usr/bin/conmon")


async def test_the_durable_output_is_removed_by_a_thread_for_long_work(driver, tmp_path, quick_threads_taken):
    with touches(tmp_path) as noted, anyio.fail_after(5):
        await driver.remove_files(NAME)
    assert not (tmp_path / "containers" / NAME).exists()
    assert any(touch.event == "os.remove" and touch.path.endswith("output.log") for touch in noted)
    assert not [touch for touch in noted if touch.in_main_thread]


async def test_the_directory_stays_while_others_keep_files_there(driver, tmp_path):
    (tmp_path / "containers" / NAME / "hosts").touch()
    await driver.remove_files(NAME)
    await driver.remove_files(NAME)
    assert [place.name for place in (tmp_path / "containers" / NAME).iterdir()] == ["hosts"]
