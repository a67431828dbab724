"""A daemon killed at any instant: what it was making is found and can be cleared; what runs, runs on."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import msgspec
import pytest

from events.messages.container import HostConfig
from handlers.exec.drivers import record
from handlers.exec.drivers.conmon import ConmonRuntime
from handlers.exec.drivers.layout import SocketPathTooLong
from handlers.exec.ports import LogQuery, ProcessPlan
from handlers.instance import Instance
from handlers.kernel import cgroups
from handlers.kernel.pidfd import ProcessHandle
from tests.fakes.processes import CONMON, ProcessHost, exec_plan, make_rootfs, short_directory

pytestmark = pytest.mark.root
LIMIT_S = 20
CREATOR = textwrap.dedent(
    """
    import fcntl, sys, anyio, msgspec
    from pathlib import Path
    from handlers.exec.drivers.conmon import ConmonRuntime
    from handlers.exec.ports import ProcessPlan
    from handlers.instance import Instance

    async def main():
        lock = open(sys.argv.pop())
        fcntl.flock(lock, fcntl.LOCK_EX)
        data_root, exec_root, conmon, plan_text, until = sys.argv[1:]
        instance = Instance(name="test", data_root=Path(data_root), exec_root=Path(exec_root))
        plan = msgspec.json.decode(plan_text, type=ProcessPlan)
        runtime = ConmonRuntime(instance, conmon)
        print("ready", flush=True)
        if until == "prepared":
            await runtime.prepare(plan)
            print("prepared", flush=True)
            await anyio.sleep_forever()
        await runtime.create(plan)
        await runtime.start(plan.container_id)
        print("started", flush=True)
        await anyio.sleep_forever()

    anyio.run(main)
    """
)


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("rootfs"))


@pytest.fixture
async def host(rootfs) -> AsyncIterator[ProcessHost]:
    with short_directory() as directory:
        made = ProcessHost(directory, rootfs)
        yield made
        await made.clean()


def daemon(host: ProcessHost, plan: ProcessPlan, until: str = "started") -> subprocess.Popen[str]:
    """Another process that makes and starts a container, or only prepares it, and stays."""
    words = [str(host.instance.data_root), str(host.instance.exec_root), CONMON, msgspec.json.encode(plan).decode()]
    words.append(until)
    words.append(str(lock_file(host)))
    process = subprocess.Popen([sys.executable, "-c", CREATOR, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def lock_file(host: ProcessHost) -> Path:
    """A daemon locks its data-root for life; what it was about to exec when it was killed holds the lock till then."""
    path = host.instance.data_root.with_name("lock")
    path.touch()
    return path


def end(process: subprocess.Popen[str], host: ProcessHost) -> None:
    process.kill()
    process.wait()
    with lock_file(host).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    assert process.stdout is not None
    process.stdout.close()


def left_over(host: ProcessHost, plan: ProcessPlan) -> list[str]:
    """Whatever of a container is still on the host."""
    found = [str(path) for path in host.instance.exec_root.rglob("*") if plan.container_id[:24] in path.name]
    group = cgroups.at(f"{host.settings.cgroup_parent}/{plan.container_id}", cgroups.hierarchies())
    found += [place for place in group.directories.values() if Path(place).exists()]
    directory = os.fsencode(host.instance.exec_root)
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and directory in _command_line(entry):
            found.append(entry.name)
    return found


def _command_line(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("delay_ms", [0, 2, 4, 6, 8, 11, 14, 18, 22, 27, 32, 38, 45, 60])
async def test_a_daemon_killed_while_it_creates_leaves_nothing_that_cannot_be_cleared(host, delay_ms):
    plan = host.plan("/bin/sleep", "1000")
    creator = await asyncio.to_thread(daemon, host, plan)
    await anyio.sleep(delay_ms / 1000)  # the point of the kill is what is tried out, not waited for
    end(creator, host)
    later = host.runtime()
    assert await later.list() <= {plan.container_id}
    with anyio.fail_after(LIMIT_S):
        await later.delete(plan.container_id)
    assert await later.list() == frozenset()
    assert left_over(host, plan) == []


async def test_a_runtime_that_waits_for_its_configuration_when_the_daemon_dies_leaves_nothing(host):
    plan = host.plan("/bin/sleep", "1000")
    creator = await asyncio.to_thread(daemon, host, plan, "prepared")
    assert creator.stdout is not None
    assert await asyncio.to_thread(creator.stdout.readline) == "prepared\n"
    end(creator, host)
    later = host.runtime()
    assert await later.find(plan.container_id) is None
    with anyio.fail_after(LIMIT_S):
        assert not (await later.wait(plan.container_id)).known
    with anyio.fail_after(LIMIT_S):
        await later.delete(plan.container_id)
    assert await later.list() == frozenset()
    assert left_over(host, plan) == []


async def test_a_container_outlives_its_daemon(host):
    plan = host.plan("/bin/sh", "-c", "read line; echo $line; exit 9", run=3)
    plan = msgspec.structs.replace(plan, stdin=True)
    first = await asyncio.to_thread(daemon, host, plan)
    assert first.stdout is not None
    assert await asyncio.to_thread(first.stdout.readline) == "started\n"
    end(first, host)
    later = host.runtime()
    found = await later.find(plan.container_id)
    assert found is not None
    assert (found.started, found.monitor_pid > 0) == (True, True)
    session = await later.open_stdin(plan.container_id)
    await session.send(b"still here\n")
    with anyio.fail_after(LIMIT_S):
        status = await later.wait(plan.container_id)
    await session.aclose()
    assert (status.exit_code, status.known, status.run) == (9, True, 3)
    output = [chunk async for chunk in later.output(plan.container_id, LogQuery(framed=False))]
    assert output == [b"still here\n"]


async def test_an_exit_that_nobody_saw_is_known_after_the_bundle_is_gone(host):
    """As after a reboot, which takes exec-root along."""
    runtime = host.runtime()
    plan = host.plan("/bin/sh", "-c", "exit 9", run=5)
    await runtime.create(plan)
    await runtime.start(plan.container_id)
    await runtime.wait(plan.container_id)
    await runtime.delete(plan.container_id)
    status = await host.runtime().wait(plan.container_id)
    assert (status.exit_code, status.known, status.run) == (9, True, 5)
    exits = host.instance.data_root / "containers" / plan.container_id / "exits"
    assert status.finished_at_ns == (exits / "5" / plan.container_id).stat().st_mtime_ns


async def test_pids_of_another_boot_are_not_believed(host):
    runtime = host.runtime()
    plan = host.plan("/bin/sleep", "1000")
    await runtime.create(plan)
    directory = host.instance.exec_root / "c" / plan.container_id[:24]
    known = record.read(directory)
    assert known is not None
    record.write(directory, msgspec.structs.replace(known, boot_id="another"))
    assert await runtime.find(plan.container_id) is None
    assert not await runtime.signal(plan.container_id, 9)
    assert not (await runtime.wait(plan.container_id)).known
    record.write(directory, known)
    assert await runtime.find(plan.container_id) is not None


async def test_a_pid_that_belongs_to_somebody_else_now_is_not_believed(host):
    runtime = host.runtime()
    plan = host.plan("/bin/sleep", "1000")
    await runtime.create(plan)
    directory = host.instance.exec_root / "c" / plan.container_id[:24]
    known = record.read(directory)
    assert known is not None
    record.write(directory, msgspec.structs.replace(known, pid=os.getpid()))
    assert await runtime.find(plan.container_id) is None
    assert not await runtime.signal(plan.container_id, 9)
    record.write(directory, known)


async def test_a_container_whose_monitor_was_killed_ends_unknown_and_only_when_it_ends(host):
    runtime = host.runtime()
    plan = host.plan("/bin/sleep", "1000", run=2)
    live = await runtime.create(plan)
    await runtime.start(plan.container_id)
    monitor = ProcessHandle.open(live.monitor_pid)
    assert monitor is not None
    with monitor:
        monitor.send(signal.SIGKILL)
        await monitor.wait()
    found = await runtime.find(plan.container_id)
    assert found is not None
    assert found.monitor_pid == 0
    statuses = []

    async def wait() -> None:
        statuses.append(await runtime.wait(plan.container_id))

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert not statuses
            await runtime.signal(plan.container_id, 9)
    assert (statuses[0].exit_code, statuses[0].known, statuses[0].run) == (255, False, 2)
    await runtime.delete(plan.container_id)
    assert left_over(host, plan) == []


async def test_the_second_exit_file_counts_when_the_first_was_lost(host):
    runtime = host.runtime()
    plan = host.plan("/bin/sh", "-c", "exit 9")
    await runtime.create(plan)
    await runtime.start(plan.container_id)
    await runtime.wait(plan.container_id)
    (host.instance.data_root / "containers" / plan.container_id / "exits/1" / plan.container_id).unlink()
    assert (await runtime.wait(plan.container_id)).exit_code == 9


async def test_a_container_with_everything_running_is_deleted_whole(host):
    runtime = host.runtime()
    plan = host.plan("/bin/sh", "-c", "sleep 1000 & sleep 1000", host=HostConfig(pid_mode="host", ipc_mode="shareable"))
    await runtime.create(plan)
    await runtime.start(plan.container_id)
    await runtime.exec(exec_plan(plan, "sleep", "1000", attached=False))
    await runtime.freeze(plan.container_id, frozen=True)
    with anyio.fail_after(LIMIT_S):
        await runtime.delete(plan.container_id)
    assert left_over(host, plan) == []
    assert plan.container_id not in Path("/proc/self/mountinfo").read_text()  # noqa: ASYNC240


async def test_a_runtime_that_hangs_or_is_missing_fails_and_leaves_nothing(host, tmp_path, monkeypatch):
    monkeypatch.setattr("handlers.exec.drivers.conmon.CREATE_TIMEOUT_S", 0.2)
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 1000\n")
    slow.chmod(0o755)
    runtime = host.runtime()
    for program in (str(slow), str(tmp_path / "none")):
        plan = msgspec.structs.replace(host.plan("/bin/true"), runtime=program)
        with (
            anyio.fail_after(LIMIT_S),
            pytest.raises(Exception, match=r"did not end within|create failed|[Nn]o such file"),
        ):
            await runtime.create(plan)
        assert await runtime.list() == frozenset()
        assert left_over(host, plan) == []


def test_an_exec_root_without_room_for_sockets_is_refused_at_once(tmp_path):
    long = Instance(name="x", data_root=tmp_path, exec_root=Path("/" + "x" * 60))
    with pytest.raises(SocketPathTooLong, match="choose a shorter --exec-root"):
        ConmonRuntime(long, CONMON)


async def test_secrets_of_a_bundle_are_for_root_alone(host):
    plan = host.plan("/bin/sleep", "1000", env=("PASSWORD=hunter2",))
    await host.runtime().create(plan)
    directory = host.instance.exec_root / "c" / plan.container_id[:24]
    assert json.loads((directory / "config.json").read_text())["process"]["args"] == ["/bin/sleep", "1000"]
    assert (directory.stat().st_mode & 0o777, (directory / "config.json").stat().st_mode & 0o777) == (0o700, 0o600)
