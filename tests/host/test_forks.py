# ruff: noqa: ASYNC240 - the test asks the host, and nothing else runs in its loop
"""The unpacking program kept loaded: forks at once, a server that dies, a caller that gives up."""

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from events.errors import InvalidParameter
from handlers.kernel.growing import GrowingFile
from handlers.layers.drivers.forks import keep_warm
from handlers.layers.drivers.unpacking import UnpackerDied, unpack
from tests.fakes.tars import TarBuilder, digest

pytestmark = pytest.mark.root
WAIT_S = 60.0


async def place(directory: Path, name: str, content: bytes) -> None:
    """Unpack a tar and see that it is what it was."""
    archive, target = directory / f"{name}.tar", directory / name
    archive.write_bytes(content)
    target.mkdir()
    unpacked = await unpack(
        str(archive), 0, -1, directory=target, skeleton=directory / f"{name}.skeleton", marks="overlay"
    )
    assert unpacked.diff_id == digest(content)


async def placed(directory: Path) -> bool:
    """Whether something can be unpacked, in a new directory."""
    fresh = directory / str(len(list(directory.iterdir())) if directory.exists() else 0)
    fresh.mkdir(parents=True)
    try:
        await place(fresh, "tree", TarBuilder().file("f", "x").bytes())
    except UnpackerDied:
        return False
    return True


def server_of_this_process() -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            arguments = (entry / "cmdline").read_bytes().split(b"\0") if (entry / "cmdline").exists() else []
            if b"handlers.layers.drivers.fork_server" in arguments and str(os.getpid()).encode() in arguments:
                return int(entry.name)
    return 0


async def kill_when_begun(skeleton: Path) -> None:
    while not skeleton.exists():
        await anyio.sleep(0.01)
    os.kill(server_of_this_process(), signal.SIGKILL)


async def dies(act: Callable[[], Awaitable[None]]) -> None:
    with pytest.raises(UnpackerDied):
        await act()


async def test_many_at_once_and_again_after_its_death(tmp_path):
    async with anyio.create_task_group() as tasks:
        keep_warm(tasks)
        async with anyio.create_task_group() as callers:
            for number in range(8):
                callers.start_soon(place, tmp_path, str(number), TarBuilder().file("f", f"{number}").bytes())
        assert (tmp_path / "7" / "f").read_text() == "7"
        with pytest.raises(InvalidParameter):
            await place(tmp_path, "bad", b"no tar at all" * 100)
        os.kill(server_of_this_process(), signal.SIGKILL)
        with anyio.fail_after(WAIT_S):
            while not await placed(tmp_path / "after"):  # who asks before its death is noticed hears of it
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


async def test_it_ends_when_nothing_is_to_be_unpacked_and_comes_back(tmp_path):
    async with anyio.create_task_group() as tasks:
        keep_warm(tasks, idle_s=0.05)
        with anyio.fail_after(WAIT_S):
            for number in range(3):
                assert await placed(tmp_path / str(number))
                while server_of_this_process():
                    await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


async def test_a_caller_that_gives_up_ends_the_fork_and_a_dead_server_is_an_error(tmp_path):
    async with anyio.create_task_group() as tasks:
        keep_warm(tasks)
        growing = GrowingFile(tmp_path / "growing.tar")  # locked: the fork waits for the rest of it
        try:
            for name in ("left", "killed"):
                (tmp_path / name).mkdir()

            async def wait_for(name: str) -> None:
                await unpack(
                    str(tmp_path / "growing.tar"), 0, -1, directory=tmp_path / name,
                    skeleton=tmp_path / f"{name}.skeleton", marks="overlay",
                )  # fmt: skip

            with anyio.fail_after(WAIT_S):
                with anyio.move_on_after(1):
                    await wait_for("left")
                await place(tmp_path, "meanwhile", TarBuilder().file("f", "x").bytes())
                async with anyio.create_task_group() as killing:
                    killing.start_soon(kill_when_begun, tmp_path / "killed.skeleton")
                    await dies(lambda: wait_for("killed"))
        finally:
            growing.close()
        tasks.cancel_scope.cancel()
