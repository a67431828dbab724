"""Programs are started, waited for and told apart; groups are found."""

import os
import signal
import subprocess
from pathlib import Path

import anyio
import pytest

from events.errors import SystemFailure
from handlers.kernel import cgroups, processes
from handlers.kernel.inotify import FileWatches
from handlers.kernel.pidfd import ProcessHandle, boot_id, parent_of, start_time
from handlers.kernel.readiness import wait_any

LIMIT_S = 10


async def test_a_program_gets_its_input_and_gives_its_output():
    done = await processes.run(["/bin/sh", "-c", "cat; echo err >&2; exit 3"], timeout_s=LIMIT_S, text="hello ")
    assert (done.code, done.output) == (3, "hello err\n")


async def test_only_the_end_of_a_long_output_is_kept():
    done = await processes.run(["/bin/sh", "-c", "head -c 100000 /dev/zero; echo end"], timeout_s=LIMIT_S)
    assert len(done.output) == 64 * 1024
    assert done.output.endswith("end\n")


async def test_a_program_that_hangs_is_killed():
    with pytest.raises(SystemFailure, match=r"did not end within 0\.05 s and was killed"):
        await processes.run(["/bin/sleep", "100"], timeout_s=0.05)


async def test_a_signal_is_told_as_a_shell_tells_it():
    done = await processes.run(["/bin/sh", "-c", "kill -KILL $$"], timeout_s=LIMIT_S)
    assert done.code == 137


async def test_a_missing_program_is_named():
    with pytest.raises(SystemFailure, match="run /nosuch: no such file or directory"):
        await processes.run(["/nosuch"], timeout_s=LIMIT_S)


async def test_a_program_starts_in_its_directory_with_default_signals_and_what_it_inherits(tmp_path):
    before, (read_end, write_end) = Path.cwd(), os.pipe2(os.O_CLOEXEC)
    script = f"exec >/dev/fd/{write_end}; pwd; grep SigIgn /proc/self/status; ls /proc/self/fd"
    child = await processes.spawn(["/bin/sh", "-c", script], directory=tmp_path, inherit=(write_end,))
    assert await child.wait(LIMIT_S) == 0
    os.close(write_end)
    with os.fdopen(read_end) as told:
        lines = told.read().split()
    assert lines[0] == str(tmp_path)
    ignored = int(lines[2], 16)
    assert not ignored >> (signal.SIGPIPE - 1) & 1
    assert str(write_end) in lines
    assert str(read_end) not in lines
    assert Path.cwd() == before


async def test_a_handle_tells_a_process_from_a_later_one():
    child = subprocess.Popen(["/bin/sleep", "100"])  # noqa: ASYNC220  # returns at once
    began = start_time(child.pid)
    assert (began > 0, parent_of(child.pid)) == (True, os.getpid())
    assert ProcessHandle.open(child.pid, began + 1) is None
    handle = ProcessHandle.open(child.pid, began)
    assert handle is not None
    with handle, anyio.fail_after(LIMIT_S):
        assert handle.send(0)
        assert await wait_any((handle.fileno(),), 0.01) == frozenset()
        handle.send(signal.SIGKILL)
        await handle.wait()
        assert ProcessHandle.open(child.pid) is None  # a zombie counts as ended
        child.wait()
        assert not handle.send(0)
    assert (start_time(child.pid), parent_of(child.pid)) == (0, 0)
    assert ProcessHandle.open(0) is None
    assert ProcessHandle.open(child.pid) is None


def test_a_boot_has_an_id():
    assert len(boot_id()) == 36


async def test_the_descriptor_that_is_ready_is_told():
    (one, one_in), (other, other_in) = os.pipe(), os.pipe()
    os.write(other_in, b"x")
    with anyio.fail_after(LIMIT_S):
        assert await wait_any((one, other)) == {other}
    for descriptor in (one, one_in, other, other_in):
        os.close(descriptor)


async def test_growth_of_a_file_is_told(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with FileWatches().watch(path) as watch, path.open("ab", buffering=0) as file, anyio.fail_after(LIMIT_S):
        assert await wait_any((watch.fileno(),), 0.01) == frozenset()
        file.write(b"x")
        assert await wait_any((watch.fileno(),)) == {watch.fileno()}
        watch.drain()
        watch.drain()
        assert await wait_any((watch.fileno(),), 0.01) == frozenset()


def test_watching_what_is_absent_fails(tmp_path):
    with pytest.raises(SystemFailure, match="no such file or directory"):
        FileWatches().watch(tmp_path / "none").__enter__()


async def test_an_instance_serves_one_file_after_another_and_tells_nothing_of_the_earlier(tmp_path):
    watches, first, second = FileWatches(), tmp_path / "first", tmp_path / "second"
    first.touch()
    second.touch()
    with watches.watch(first) as watch:
        used = watch.fileno()
        first.write_bytes(b"x")
    with watches.watch(second) as watch, anyio.fail_after(LIMIT_S):
        assert watch.fileno() == used
        first.write_bytes(b"y")
        assert await wait_any((watch.fileno(),), 0.01) == frozenset()
        second.unlink()
        assert await wait_any((watch.fileno(),)) == {used}
    with watches.watch(first) as watch:
        assert await wait_any((watch.fileno(),), 0.01) == frozenset()


def test_hierarchies_have_their_controllers():
    found = cgroups.hierarchies()
    assert found
    assert cgroups.known_hierarchies() == found
    group = cgroups.at("/a/b", found)
    assert all(place.endswith("/a/b") for place in group.directories.values())
    assert group.processes() == ()
    assert (group.oom_kills(), group.is_frozen()) == (0, False)


UNIFIED = cgroups.Hierarchy(mount_point="/sys/fs/cgroup", root="/", controllers=frozenset())
BESIDE = cgroups.Hierarchy(mount_point="/sys/fs/cgroup/unified", root="/", controllers=frozenset())
MEMORY = cgroups.Hierarchy(mount_point="/sys/fs/cgroup/memory", root="/", controllers=frozenset({"memory"}))
NET_CLS = cgroups.Hierarchy(mount_point="/sys/fs/cgroup/net_cls", root="/", controllers=frozenset({"net_cls"}))


@pytest.mark.parametrize(
    ("found", "version"),
    [((UNIFIED,), 2), ((UNIFIED, NET_CLS), 2), ((MEMORY,), 1), ((MEMORY, BESIDE), 1), ((BESIDE, MEMORY), 1), ((), 1)],
)
def test_the_version_is_what_sys_fs_cgroup_shows(found, version):
    assert cgroups.version(found) == version


async def test_an_absent_group_can_be_killed_and_removed():
    group = cgroups.at("/shiplog-test-absent/x", cgroups.hierarchies())
    await group.kill()
    await group.remove()


def test_the_root_group_is_nobodys_own():
    """A process that sits in the root must never lead to the root being frozen, killed or removed."""
    found = cgroups.hierarchies()
    group = cgroups.of_process(2, found)  # a kernel thread
    assert group.directories == {}
    assert cgroups.of_process(2**22 + 1, found).directories == {}


V2 = ("cgroup.procs", "cgroup.events", "memory.events")


def test_files_of_version_2(tmp_path):
    for name, text in zip(V2, (f"{os.getpid()}\n", "populated 1\nfrozen 1\n", "oom 2\noom_kill 3\n"), strict=True):
        (tmp_path / name).write_text(text)
    (tmp_path / "below").mkdir()
    (tmp_path / "below/cgroup.procs").write_text("7\n8\n")
    group = cgroups.Group(directories={"": str(tmp_path)})
    assert group.processes() == tuple(sorted((os.getpid(), 7, 8)))
    assert (group.is_frozen(), group.oom_kills()) == (True, 3)


async def test_freezing_in_version_2_writes_and_waits(tmp_path):
    (tmp_path / "cgroup.freeze").write_text("0")
    (tmp_path / "cgroup.events").write_text("frozen 1\n")
    await cgroups.Group(directories={"": str(tmp_path)}).freeze(frozen=True)
    assert (tmp_path / "cgroup.freeze").read_text() == "1"
    with pytest.raises(SystemFailure):
        await cgroups.Group(directories={}).freeze(frozen=True)
