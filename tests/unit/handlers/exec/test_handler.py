"""Commands about processes, on a log and a runtime in memory: which events they leave, and what they refuse."""

import threading
from collections.abc import Sequence
from contextlib import asynccontextmanager
from unittest.mock import AsyncMock

import anyio
import msgspec
import pytest
from typing_extensions import override

from events.envelope import Cause, Recorded
from events.errors import Conflict, InvalidParameter, NotFound, NotModified, SystemFailure
from events.log import Append
from events.memory_log import MemoryLog
from events.messages import container as c
from events.messages import exec as m
from events.messages.system import OrphanRemoved
from events.projections.containers import Container, Containers
from handlers.context import Context
from handlers.exec import processes, reconciling, watching
from handlers.exec.handler import ExecHandler
from handlers.exec.ports import ExecPlan
from handlers.exec.specification import Settings
from tests.fakes.processes import PASSWD, filled_in, new_id, some_facts
from tests.fakes.refusing_log import RefusingLog
from tests.fakes.runtime import Disk, MemoryRuntime
from tests.fakes.sender import CLIENT, Engine, SteppingClock

LIMIT_S = 10
SETTINGS = Settings(cgroup_parent="/test", runtimes={"runc": "/usr/sbin/runc"})


class Host:
    """What outlives a daemon: the runtime's disk. Each `daemon` is a handler with a runtime of its own."""

    def __init__(self, rootfs: str) -> None:
        self.rootfs, self.disk = rootfs, Disk()

    @asynccontextmanager
    async def daemon(self, engine: Engine | None = None, log: MemoryLog | None = None):
        runtime = MemoryRuntime(self.disk)
        async with anyio.create_task_group() as tasks:
            handler = ExecHandler(runtime, some_facts(), SETTINGS, tasks)
            made = Engine(handler, log=log)
            if engine is not None:
                for recorded in [event async for event in engine.log.read(limit=0)]:
                    await made.append(recorded.stream, recorded.event)
                made.services = msgspec.structs.replace(made.services, keyring=engine.services.keyring)
            with anyio.fail_after(LIMIT_S):
                yield made, runtime
            tasks.cancel_scope.cancel()

    def create(self, container: Container) -> m.CreateProcess:
        return m.CreateProcess(container_id=container.id, rootfs=self.rootfs, namespace_path="", mounts=())


@pytest.fixture
def host(tmp_path) -> Host:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    return Host(str(tmp_path))


async def a_container(
    engine: Engine, *command: str, config: c.ContainerConfig | None = None, options: c.HostConfig | None = None
) -> Container:
    container_id = new_id()
    secrets = msgspec.json.encode(c.ContainerSecrets(cmd=command))
    requested = c.ContainerCreateRequested(
        container_id=container_id,
        name=f"name-{container_id[:6]}",
        image_id="sha256:0",
        image_reference="busybox",
        config=config or c.ContainerConfig(),
        host=filled_in(options or c.HostConfig()),
        secrets=await engine.services.keyring.seal(f"container/{container_id}", secrets),
    )
    await engine.append(f"container/{container_id}", requested, c.ContainerCreated(container_id=container_id))
    return known(engine, container_id)


def known(engine: Engine, container_id: str) -> Container:
    found = engine.state.containers.get(container_id)
    assert found is not None
    return found


async def begun(engine: Engine, host: Host, *command: str, **options) -> Container:
    """A container whose start is under way and whose process waits."""
    container = await a_container(engine, *command, **options)
    started = c.ContainerStartRequested(container_id=container.id, run=container.run + 1)
    await engine.append(f"container/{container.id}", started)
    await engine.send(host.create(container))
    return known(engine, container.id)


async def running(engine: Engine, host: Host, *command: str, **options) -> Container:
    container = await begun(engine, host, *command, **options)
    await engine.send(m.StartProcess(container_id=container.id))
    found = await engine.send(m.FindProcess(container_id=container.id))
    started = c.ContainerStarted(container_id=container.id, pid=found.pid, started_at_ns=1)
    await engine.append(f"container/{container.id}", started)
    return known(engine, container.id)


async def event_of(engine: Engine, stream: str, kind: type):
    """Wait for an event."""
    async with engine.log.subscribe(0) as events:
        async for recorded in events:
            if recorded.stream == stream and isinstance(recorded.event, kind):
                return recorded.event
    raise AssertionError(kind)


async def test_paths_of_users_are_not_looked_at_by_the_threads_of_quick_work(host, quick_threads_taken):
    """One lost file server, and all the threads that mounts and netlink need would wait for it."""
    async with host.daemon() as (engine, _):
        container = await running(engine, host, "sleep", "60")
        created = await engine.send(m.CreateExec(container=container.id, config=m.ExecConfig(), cmd=("true",)))
        await engine.send(m.StartExec(exec_id=created.exec_id))


# ---- first processes


async def test_the_end_of_a_process_becomes_one_event(host):
    async with host.daemon() as (engine, _):
        container = await running(engine, host, "sh", "-c", "exit 5")
        exited = await event_of(engine, f"process/{container.id}", m.ProcessExited)
        assert (exited.run, exited.exit_code, exited.known) == (1, 5, True)
        await engine.reconcile()
        assert (await engine.names()).count("process.exited") == 1


async def test_a_program_that_is_missing_is_the_clients_mistake(host):
    async with host.daemon() as (engine, _):
        container = await a_container(engine, "/nosuch")
        with pytest.raises(InvalidParameter, match=r'"/nosuch": .*no such file or directory') as refusal:
            await engine.send(host.create(container))
        assert refusal.value.recorded.endswith("OCI runtime create failed: exec: no such file or directory")
        unknown = m.CreateProcess(container_id=new_id(), rootfs=host.rootfs, namespace_path="", mounts=())
        with pytest.raises(NotFound):
            await engine.send(unknown)


async def test_the_image_says_who_a_user_is(host):
    async with host.daemon() as (engine, runtime):
        container = await begun(engine, host, "true", config=c.ContainerConfig(user="ada", working_dir="/srv/deep"))
        specification = msgspec.json.decode(runtime.disk.plans[container.id].specification)
        assert specification["process"]["user"] == {"uid": 1000, "gid": 1001, "additionalGids": [1001]}
        stranger = await a_container(engine, "true", config=c.ContainerConfig(user="nosuch"))
        with pytest.raises(SystemFailure, match="unable to find user nosuch: no matching entries in passwd file"):
            await engine.send(host.create(stranger))


async def test_an_unknown_runtime_is_refused(host):
    async with host.daemon() as (engine, _):
        container = await a_container(engine, "true", options=c.HostConfig(runtime="other"))
        with pytest.raises(InvalidParameter, match="unknown or invalid runtime name: other"):
            await engine.send(host.create(container))


async def test_signals_freezing_and_size_reach_the_process(host):
    async with host.daemon() as (engine, runtime):
        container = await running(engine, host, "sleep", "9", config=c.ContainerConfig(tty=True))
        await engine.send(m.FreezeProcess(container_id=container.id, frozen=True))
        assert await engine.send(m.FindProcess(container_id=container.id)) == m.FoundProcess(
            pid=container.pid, started=True, frozen=True
        )
        await engine.send(m.FreezeProcess(container_id=container.id, frozen=False))
        await engine.send(m.ResizeProcess(container_id=container.id, height=3, width=4))
        assert runtime.disk.runs[container.id].size == (3, 4)
        await engine.send(m.SignalProcess(container_id=container.id, signal=15))
        exited = await event_of(engine, f"process/{container.id}", m.ProcessExited)
        assert exited.exit_code == 143
        with pytest.raises(NotModified):
            await engine.send(m.SignalProcess(container_id=container.id, signal=15))
        await engine.send(m.DeleteProcess(container_id=container.id))
        await engine.send(m.RemoveProcessFiles(container_id=container.id))
        assert await engine.send(m.FindProcess(container_id=container.id)) == m.FoundProcess(pid=0)
        assert runtime.disk.exits == {}


async def test_namespaces_are_joined_of_containers_that_run_and_share(host):
    async with host.daemon() as (engine, runtime):
        owner = await running(engine, host, "sleep", "9", options=c.HostConfig(ipc_mode="shareable"))
        mode = f"container:{owner.name}"
        guest = await begun(engine, host, "true", options=c.HostConfig(pid_mode=mode, ipc_mode=mode))
        specification = msgspec.json.decode(runtime.disk.plans[guest.id].specification)
        assert {"type": "pid", "path": f"/proc/{owner.pid}/ns/pid"} in specification["linux"]["namespaces"]
        sources = {mount["destination"]: mount["source"] for mount in specification["mounts"]}
        assert sources["/dev/shm"] == runtime.shared_memory(owner.id)
        closed = await running(engine, host, "sleep", "9")
        refused = await a_container(engine, "true", options=c.HostConfig(ipc_mode=f"container:{closed.id}"))
        with pytest.raises(Conflict, match="non-shareable IPC"):
            await engine.send(host.create(refused))
        stopped = await a_container(engine, "true")
        refused = await a_container(engine, "true", options=c.HostConfig(pid_mode=f"container:{stopped.id}"))
        with pytest.raises(Conflict, match="non running container"):
            await engine.send(host.create(refused))


async def test_containers_are_searched_by_the_event_loop_alone(host, monkeypatch):
    searching, find = [], Containers.find

    def noted(containers: Containers, name: str) -> tuple[Container, ...]:
        searching.append(threading.current_thread())
        return find(containers, name)

    monkeypatch.setattr(Containers, "find", noted)
    async with host.daemon() as (engine, _):
        owner = await running(engine, host, "sleep", "9")
        await begun(engine, host, "true", options=c.HostConfig(pid_mode=f"container:{owner.id}"))
    assert set(searching) == {threading.main_thread()}


async def test_a_check_warns_and_refuses_before_anything_is_made(host):
    async with host.daemon() as (engine, _):
        config = c.ContainerConfig()
        checked = await engine.send(m.CheckProcess(config=config, host=c.HostConfig(cap_add=("SYS_TIME",))))
        assert "CAP_SYS_TIME" in checked.warnings[0]
        with pytest.raises(InvalidParameter, match="invalid CapAdd"):
            await engine.send(m.CheckProcess(config=config, host=c.HostConfig(cap_add=("NOSUCH",))))
        with pytest.raises(InvalidParameter, match="install the package tini"):
            await engine.send(m.CheckProcess(config=config, host=c.HostConfig(init=True)))
        late = c.HostConfig(ulimits=(c.Ulimit(name="nofile", soft=5, hard=1),))
        assert await engine.send(m.CheckProcess(config=config, host=late)) == m.CheckedProcess()


FORCED = c.Mount(
    type="bind", source="/", target="/x", read_only=True, bind_options=c.BindOptions(read_only_force_recursive=True)
)


async def test_a_bind_can_be_forced_to_be_read_only_all_the_way_down(host):
    async with host.daemon() as (engine, _):
        checked = await engine.send(m.CheckProcess(config=c.ContainerConfig(), host=c.HostConfig(mounts=(FORCED,))))
        assert checked == m.CheckedProcess()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"read_only": False}, "mount options conflict: ReadOnlyForceRecursive and a mount that isn't ReadOnly"),
        ({"bind_options": {"read_only_non_recursive": True}}, "ReadOnlyForceRecursive and ReadOnlyNonRecursive"),
        ({"bind_options": {"non_recursive": True}}, "ReadOnlyForceRecursive and NonRecursive"),
        ({"runtime": "old"}, 'rro is not supported: the runtime "old"'),
        ({"kernel": (5, 11)}, "rro is not supported: the kernel is older than 5.12"),
    ],
)
async def test_where_it_cannot_be_it_is_refused(host, change, why):
    settings = msgspec.structs.replace(SETTINGS, runtimes=SETTINGS.runtimes | {"old": "/usr/bin/old"})
    facts = some_facts(**{key: value for key, value in change.items() if key == "kernel"})
    options = msgspec.structs.replace(
        FORCED.bind_options or c.BindOptions(),
        **change.get("bind_options", {}),
    )
    mount = msgspec.structs.replace(FORCED, bind_options=options, read_only=change.get("read_only", True))
    wanted = c.HostConfig(mounts=(mount,), runtime=change.get("runtime", ""))
    async with anyio.create_task_group() as tasks:
        engine = Engine(ExecHandler(MemoryRuntime(), facts, settings, tasks))
        with pytest.raises(InvalidParameter, match=why):
            await engine.send(m.CheckProcess(config=c.ContainerConfig(), host=wanted))


# ---- execs


def inside(container: Container, *command: str, **config) -> m.CreateExec:
    return m.CreateExec(container=container.name, config=m.ExecConfig(**config), cmd=command)


async def test_an_exec_leaves_intent_start_and_end(host):
    async with host.daemon() as (engine, _):
        container = await running(engine, host, "sleep", "9")
        created = await engine.send(inside(container, "sh", "-c", "exit 3"))
        await engine.send(m.StartExec(exec_id=created.exec_id, detach=True))
        exited = await event_of(engine, f"exec/{created.exec_id}", m.ExecExited)
        assert (exited.exit_code, exited.known) == (3, True)
        names = [name for name in await engine.names() if name.startswith("exec.")]
        assert names == ["exec.created", "exec.start_requested", "exec.started", "exec.exited"]
        with pytest.raises(Conflict, match=f"Error: Exec command {created.exec_id} has already run"):
            await engine.send(m.StartExec(exec_id=created.exec_id))


async def test_the_arguments_of_an_exec_are_sealed(host):
    async with host.daemon() as (engine, _):
        container = await running(engine, host, "sleep", "9")
        created = await engine.send(inside(container, "echo", "hunter2"))
        found = engine.state.execs.get(created.exec_id)
        assert found is not None
        assert found.secrets.owner == f"container/{container.id}"
        opened = msgspec.json.decode(engine.services.keyring.open(found.secrets), type=m.ExecSecrets)
        assert opened.cmd == ("echo", "hunter2")


@pytest.mark.parametrize(("program", "code"), [("nosuch", 127), ("/etc", 126)])
async def test_an_exec_that_cannot_run_has_dockers_exit_code(host, program, code):
    async with host.daemon() as (engine, _):
        container = await running(engine, host, "sleep", "9")
        created = await engine.send(inside(container, program))
        with pytest.raises(InvalidParameter, match=rf'^OCI runtime exec failed: .*"{program}".*: unknown$') as refusal:
            await engine.send(m.StartExec(exec_id=created.exec_id))
        failed = await event_of(engine, f"exec/{created.exec_id}", m.ExecStartFailed)
        assert failed.error == refusal.value.recorded
        assert program not in failed.error
        found = engine.state.execs.get(created.exec_id)
        assert found is not None
        assert (found.status, found.exit_code) == ("exited", code)


async def test_execs_are_refused_where_they_make_no_sense(host):
    async with host.daemon() as (engine, _):
        container = await running(engine, host, "sleep", "9")
        created = await engine.send(inside(container, "true"))
        with pytest.raises(InvalidParameter, match="No exec command specified"):
            await engine.send(inside(container))
        with pytest.raises(NotFound, match="No such container: nosuch"):
            await engine.send(m.CreateExec(container="nosuch", config=m.ExecConfig(), cmd=("true",)))
        with pytest.raises(NotFound, match="No such exec instance: nosuch"):
            await engine.send(m.StartExec(exec_id="nosuch"))
        with pytest.raises(Conflict, match="is not running"):
            await engine.send(m.ResizeExec(exec_id=created.exec_id, height=1, width=1))
        stream = f"container/{container.id}"
        await engine.append(stream, c.ContainerPaused(container_id=container.id))
        paused = f"Container {container.name} is paused, unpause the container before exec"
        with pytest.raises(Conflict, match=paused):
            await engine.send(inside(container, "true"))
        await engine.append(stream, c.ContainerDied(container_id=container.id, exit_code=0, run_s=1))
        for command in (inside(container, "true"), m.StartExec(exec_id=created.exec_id)):
            with pytest.raises(Conflict, match=f"container {container.id} is not running"):
                await engine.send(command)


async def test_an_exec_of_an_earlier_run_is_not_started_in_a_later_one(host):
    async with host.daemon() as (engine, _):
        container = await running(engine, host, "sleep", "9")
        created = await engine.send(inside(container, "true"))
        stream = f"container/{container.id}"
        await engine.append(
            stream,
            c.ContainerDied(container_id=container.id, exit_code=0, run_s=1),
            c.ContainerStartRequested(container_id=container.id, run=2),
            c.ContainerStarted(container_id=container.id, pid=1, started_at_ns=2),
        )
        with pytest.raises(NotFound, match=f"No such exec instance: {created.exec_id}"):
            await engine.send(m.StartExec(exec_id=created.exec_id))


async def test_an_exec_that_was_created_while_its_container_started_anew_is_not_started(host):
    async with host.daemon() as (engine, _):
        container = await running(engine, host, "sleep", "9")
        earlier = m.ExecCreated(
            exec_id=new_id(), container_id=container.id, run=0, config=m.ExecConfig(), secrets=container.secrets
        )
        await engine.append(f"exec/{earlier.exec_id}", earlier)
        with pytest.raises(Conflict, match="is not running"):
            await engine.send(m.StartExec(exec_id=earlier.exec_id))


async def test_two_starts_of_one_exec_run_it_once(host):
    async with host.daemon() as (engine, _):
        container = await running(engine, host, "sleep", "9")
        created = await engine.send(inside(container, "sleep", "9", tty=True))
        refusals = []

        async def start() -> None:
            try:
                await engine.send(m.StartExec(exec_id=created.exec_id, detach=True, console_size=(5, 6)))
            except Conflict as error:
                refusals.append(str(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(start)
            tasks.start_soon(start)
        assert len(refusals) == 1
        assert (await engine.names()).count("exec.started") == 1
        await engine.send(m.ResizeExec(exec_id=created.exec_id, height=7, width=8))


# ---- an exec and a pause at once: a runtime whose container is frozen meanwhile hangs


async def test_a_freeze_waits_for_execs_that_are_about_to_start(host):
    async with host.daemon() as (engine, runtime):
        container = await running(engine, host, "sleep", "9")
        created = await engine.send(inside(container, "true"))
        await engine.append(f"exec/{created.exec_id}", m.ExecStartRequested(exec_id=created.exec_id))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.send, m.FreezeProcess(container_id=container.id, frozen=True))
            await anyio.wait_all_tasks_blocked()
            assert not (await runtime.find(container.id)).frozen
            await engine.append(f"exec/{created.exec_id}", m.ExecStarted(exec_id=created.exec_id, pid=1))
        assert (await runtime.find(container.id)).frozen


async def test_a_freeze_waits_no_longer_than_a_runtime_may_hang(host, monkeypatch):
    monkeypatch.setattr(processes, "_EXEC_STARTS_S", 0.01)
    async with host.daemon() as (engine, runtime):
        container = await running(engine, host, "sleep", "9")
        created = await engine.send(inside(container, "true"))
        await engine.append(f"exec/{created.exec_id}", m.ExecStartRequested(exec_id=created.exec_id))
        await engine.send(m.FreezeProcess(container_id=container.id, frozen=True))
        assert (await runtime.find(container.id)).frozen


class PausingLog(MemoryLog):
    """A pause of the container is begun right after the intent to start an exec in it."""

    container_id = ""

    @override
    async def append(
        self, appends: Sequence[Append], *, cause: Cause, reply: bytes | None = None
    ) -> Sequence[Recorded]:
        recorded = await super().append(appends, cause=cause, reply=reply)
        if isinstance(recorded[-1].event, m.ExecStartRequested):
            pause = c.ContainerPauseRequested(container_id=self.container_id)
            await super().append([Append(stream=f"container/{self.container_id}", events=(pause,))], cause=cause)
        return recorded


async def test_an_exec_gives_way_to_a_pause_that_has_begun(host):
    log = PausingLog(SteppingClock())
    async with host.daemon(log=log) as (engine, runtime):
        container = await running(engine, host, "sleep", "9")
        log.container_id = container.id
        created = await engine.send(inside(container, "sleep", "9"))
        with pytest.raises(Conflict, match="is paused, unpause the container before exec"):
            await engine.send(m.StartExec(exec_id=created.exec_id, detach=True))
        assert isinstance((await engine.events())[-1], m.ExecStartFailed)
        assert not await runtime.list_execs(container.id)
        with pytest.raises(Conflict, match="is paused"):
            await engine.send(inside(container, "true"))


# ---- the next daemon


async def test_a_later_daemon_records_what_ended_and_watches_what_lives(host):
    async with host.daemon() as (engine, runtime):
        ended = await running(engine, host, "sleep", "9")
        live = await running(engine, host, "sleep", "9")
        created = await engine.send(inside(live, "sleep", "9"))
        await engine.send(m.StartExec(exec_id=created.exec_id, detach=True))
    runtime._end(ended.id, 9)
    async with host.daemon(engine) as (later, runtime):
        await later.reconcile()
        exited = later.state.execs.last_exit(ended.id)
        assert exited is not None
        assert (exited.exit_code, exited.known) == (9, True)
        assert later.state.execs.last_exit(live.id) is None
        await later.send(m.SignalProcess(container_id=live.id, signal=9))
        assert (await event_of(later, f"process/{live.id}", m.ProcessExited)).exit_code == 137
        assert (await event_of(later, f"exec/{created.exec_id}", m.ExecExited)).exit_code == 137


async def test_what_left_no_trace_ended_unknown(host):
    async with host.daemon() as (engine, _):
        container = await running(engine, host, "sleep", "9")
    host.disk = Disk()
    async with host.daemon(engine) as (later, _):
        await later.reconcile()
        exited = later.state.execs.last_exit(container.id)
        assert exited is not None
        assert (exited.exit_code, exited.known, exited.run) == (255, False, 1)


async def test_the_status_of_an_earlier_run_is_not_taken_for_that_of_the_present(host):
    async with host.daemon() as (engine, _):
        container = await running(engine, host, "sh", "-c", "exit 5")
        await event_of(engine, f"process/{container.id}", m.ProcessExited)
        await engine.send(m.DeleteProcess(container_id=container.id))
        stream = f"container/{container.id}"
        await engine.append(stream, c.ContainerDied(container_id=container.id, exit_code=5, run_s=1))
        await engine.append(stream, c.ContainerStartRequested(container_id=container.id, run=2))
        await engine.reconcile()
        assert (await engine.names()).count("process.exited") == 1
        await engine.append(stream, c.ContainerStarted(container_id=container.id, pid=1, started_at_ns=1))
        await engine.reconcile()
        exited = engine.state.execs.last_exit(container.id)
        assert exited is not None
        assert (exited.run, exited.exit_code, exited.known) == (2, 255, False)


async def test_a_start_that_a_kill_interrupted_is_seen_as_far_as_it_came(host):
    async with host.daemon() as (engine, runtime):
        waiting = await begun(engine, host, "sleep", "9")
        going = await begun(engine, host, "sleep", "9")
        over = await begun(engine, host, "sh", "-c", "exit 4")
        for container in (going, over):
            await runtime.start(container.id)
    async with host.daemon(engine) as (later, runtime):
        await later.reconcile()
        exited = later.state.execs.last_exit(over.id)
        assert exited is not None
        assert exited.exit_code == 4
        assert not (await later.send(m.FindProcess(container_id=waiting.id))).started
        assert await runtime.list() == {waiting.id, going.id, over.id}
        await runtime.signal(going.id, 9)
        assert (await event_of(later, f"process/{going.id}", m.ProcessExited)).exit_code == 137


async def test_an_end_is_recorded_as_soon_as_the_log_takes_it(host, monkeypatch):
    monkeypatch.setattr(reconciling, "SETTLING_PAUSES_S", (0.0,) * 9)
    async with host.daemon() as (engine, runtime):
        container = await running(engine, host, "sleep", "9")
    runtime._end(container.id, 9)
    log = RefusingLog(SteppingClock())
    async with host.daemon(engine, log) as (later, _):
        log.refusals = 3
        await later.reconcile()
        exited = later.state.execs.last_exit(container.id)
        assert exited is not None
        assert exited.exit_code == 9


async def test_the_end_of_what_was_watched_is_recorded_however_long_the_log_refuses(host, monkeypatch):
    monkeypatch.setattr(watching, "SETTLING_PAUSES_S", (0.0,) * 200)
    log = RefusingLog(SteppingClock())
    async with host.daemon(log=log) as (engine, runtime):
        container = await running(engine, host, "sleep", "9")
        log.refusals = 100
        runtime._end(container.id, 9)
        assert (await event_of(engine, f"process/{container.id}", m.ProcessExited)).exit_code == 9


async def test_one_that_can_not_be_read_holds_nobody_up(host, monkeypatch):
    async with host.daemon() as (engine, runtime):
        containers = [await running(engine, host, "sleep", "9") for _ in range(3)]
    for container in containers:
        runtime._end(container.id, 9)
    async with host.daemon(engine) as (later, runtime):
        find = runtime.find

        async def torn(container_id: str):
            if container_id == containers[1].id:
                raise ValueError("a file of it is torn")
            return await find(container_id)

        async def unreadable():
            raise OSError("the directory can't be listed")

        monkeypatch.setattr(runtime, "find", torn)
        monkeypatch.setattr(runtime, "list", unreadable)
        await later.reconcile()
        ended = [later.state.execs.last_exit(container.id) is not None for container in containers]
        assert ended == [True, False, True]


async def test_what_nobody_claims_is_removed(host):
    async with host.daemon() as (engine, runtime):
        orphan = await begun(engine, host, "sleep", "9")
    async with host.daemon() as (other, runtime):
        await other.reconcile()
        assert await runtime.list() == frozenset()
        assert OrphanRemoved(kind="process", name=orphan.id) in await other.events()


@pytest.mark.parametrize("script", ["sleep 9", "exit 2", ""])
async def test_an_exec_whose_start_was_interrupted_is_settled_by_what_the_host_shows(host, script):
    async with host.daemon() as (engine, runtime):
        container = await running(engine, host, "sleep", "9")
        created = await engine.send(inside(container, "sh", "-c", script))
        cause = Cause(actor=CLIENT, command_id="the-start", correlation_id="the-start")
        interrupted = Context(engine.services, cause)
        await interrupted.append(f"exec/{created.exec_id}", m.ExecStartRequested(exec_id=created.exec_id))
        if script:
            await run_without_telling(runtime, container, created.exec_id, script)
        await engine.reconcile()
        found = engine.state.execs.get(created.exec_id)
        assert found is not None
        expected = {"sleep 9": ("running", None), "exit 2": ("exited", 2), "": ("exited", 126)}
        assert (found.status, found.exit_code) == expected[script]
        answer = await engine.reply("the-start")
        assert (answer["failure"] is None) is bool(script)
        if not script:
            assert "nobody knows whether it ran" in answer["failure"]["message"]


async def test_an_exec_that_is_held_up_is_settled_when_it_goes_on(host, monkeypatch):
    """By the freeze of its container, say: its conmon lives, its process doesn't yet."""
    monkeypatch.setattr(reconciling, "OBJECT_TIMEOUT_S", 0.05)
    async with host.daemon() as (engine, runtime):
        container = await running(engine, host, "sleep", "9")
        created = await engine.send(inside(container, "sleep", "9"))
        await engine.append(f"exec/{created.exec_id}", m.ExecStartRequested(exec_id=created.exec_id))
        await run_without_telling(runtime, container, created.exec_id, "sleep 9")
        monkeypatch.setattr(runtime, "find_exec", AsyncMock(return_value=None))
        await engine.reconcile()
        found = engine.state.execs.get(created.exec_id)
        assert found is not None
        assert found.status == "starting"
        runtime.disk.execs[container.id][created.exec_id].end(3)
        exited = await event_of(engine, f"exec/{created.exec_id}", m.ExecExited)
        assert exited.exit_code == 3


async def run_without_telling(runtime: MemoryRuntime, container: Container, exec_id: str, script: str) -> None:
    process = msgspec.json.encode({"args": ["sh", "-c", script]})
    plan = ExecPlan(
        exec_id=exec_id,
        container_id=container.id,
        process=process,
        runtime="",
        terminal=False,
        stdin=False,
        attached=False,
    )
    await runtime.exec(plan)
