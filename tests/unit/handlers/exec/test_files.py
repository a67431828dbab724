"""What the driver of conmon keeps on disk goes without the event loop or the threads of quick work."""

from pathlib import Path

import anyio
import anyio.from_thread
import pytest

from handlers.exec.drivers import generations
from handlers.exec.drivers.conmon import ConmonRuntime
from handlers.exec.log_options import LogPlan, Rotation, Subject
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


async def test_what_is_being_compressed_is_removed_afterwards(driver, tmp_path, monkeypatch):
    (tmp_path / "containers" / NAME / "output.log.1").write_text("more")
    compress, remove, done = generations._compress, generations.Generations.remove, []

    def compress_late(path: Path) -> None:
        anyio.from_thread.run_sync(tasks.start_soon, driver.remove_files, NAME)
        anyio.from_thread.run(anyio.wait_all_tasks_blocked)
        compress(path)
        done.append("compressed")

    def remove_noted(files: generations.Generations) -> None:
        done.append("removed")
        remove(files)

    monkeypatch.setattr(generations, "_compress", compress_late)
    monkeypatch.setattr(generations.Generations, "remove", remove_noted)
    plan = LogPlan(driver="local", rotation=Rotation(max_bytes=1, files=2, compress=True))
    subject = Subject(container_id=NAME, name="web", image_id="sha256:c", image_name="busybox", labels={}, env=())
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            await driver.keep_log(NAME, plan, subject)
    assert done == ["compressed", "removed"]
    assert not (tmp_path / "containers" / NAME).exists()
