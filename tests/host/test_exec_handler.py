"""The exec handler on conmon and runc: from a container in the log to a process and back into the log."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

from events.errors import InvalidParameter
from events.messages import container as c
from events.messages import exec as m
from events.projections.containers import Container
from handlers.exec.handler import ExecHandler
from handlers.exec.ports import LogQuery
from tests.fakes.processes import ProcessHost, filled_in, make_rootfs, new_id, short_directory
from tests.fakes.sender import Engine

pytestmark = pytest.mark.root
LIMIT_S = 20


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("rootfs"))


@pytest.fixture
async def host(rootfs) -> AsyncIterator[ProcessHost]:
    with short_directory() as directory:
        made = ProcessHost(directory, rootfs)
        yield made
        await made.clean()


@asynccontextmanager
async def engine_on(host: ProcessHost):
    runtime = host.runtime()
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(LIMIT_S):
            yield Engine(ExecHandler(runtime, host.facts, host.settings, tasks)), runtime
        tasks.cancel_scope.cancel()


async def begun(engine: Engine, host: ProcessHost, *command: str, **config) -> Container:
    container_id = new_id()
    secrets = msgspec.json.encode(c.ContainerSecrets(cmd=command, env=("COLOUR=blue",)))
    requested = c.ContainerCreateRequested(
        container_id=container_id,
        name="web",
        image_id="sha256:0",
        image_reference="busybox",
        config=c.ContainerConfig(**config),
        host=filled_in(c.HostConfig()),
        secrets=await engine.services.keyring.seal(f"container/{container_id}", secrets),
    )
    started = c.ContainerStartRequested(container_id=container_id, run=1)
    await engine.append(f"container/{container_id}", requested, started)
    created = await engine.send(
        m.CreateProcess(container_id=container_id, rootfs=str(host.rootfs), namespace_path="", mounts=())
    )
    event = c.ContainerStarted(container_id=container_id, pid=created.pid, started_at_ns=1)
    await engine.append(f"container/{container_id}", event)
    container = engine.state.containers.get(container_id)
    assert container is not None
    return container


async def event_of(engine: Engine, stream: str, kind: type):
    async with engine.log.subscribe(0) as events:
        async for recorded in events:
            if recorded.stream == stream and isinstance(recorded.event, kind):
                return recorded.event
    raise AssertionError(kind)


async def test_a_container_runs_and_its_end_is_in_the_log(host):
    async with engine_on(host) as (engine, runtime):
        script = "pwd; id -u; echo $COLOUR; exit 7"
        container = await begun(engine, host, "/bin/sh", "-c", script, user="ada", working_dir="/home/ada/work")
        await engine.send(m.StartProcess(container_id=container.id))
        exited = await event_of(engine, f"process/{container.id}", m.ProcessExited)
        assert (exited.exit_code, exited.run, exited.known) == (7, 1, True)
        output = [chunk async for chunk in runtime.output(container.id, LogQuery(framed=False))]
        assert b"".join(output) == b"/home/ada/work\n1000\nblue\n"
        await engine.send(m.DeleteProcess(container_id=container.id))
        assert await runtime.list() == frozenset()


async def test_an_exec_sees_the_container_and_its_users(host):
    async with engine_on(host) as (engine, runtime):
        container = await begun(engine, host, "/bin/sleep", "1000")
        await engine.send(m.StartProcess(container_id=container.id))
        command = m.CreateExec(
            container=container.name,
            config=m.ExecConfig(user="ada", working_dir="/tmp", attach_stdout=True),
            cmd=("sh", "-c", "id -un; pwd; echo $COLOUR $SIZE; exit 3"),
            env=("SIZE=big",),
        )
        created = await engine.send(command)
        session = await runtime.exec_session(created.exec_id)
        await engine.send(m.StartExec(exec_id=created.exec_id))
        output = b"".join([data async for _, data in session.output()])
        await session.aclose()
        assert output == b"ada\n/tmp\nblue big\n"
        assert (await event_of(engine, f"exec/{created.exec_id}", m.ExecExited)).exit_code == 3


async def test_what_cannot_run_is_refused_in_dockers_words(host):
    async with engine_on(host) as (engine, runtime):
        with pytest.raises(
            InvalidParameter, match=r'OCI runtime create failed: .*exec: "/etc/plain": permission denied'
        ):
            await begun(engine, host, "/etc/plain")
        assert await runtime.list() == frozenset()
        container = await begun(engine, host, "/bin/sleep", "1000")
        await engine.send(m.StartProcess(container_id=container.id))
        created = await engine.send(m.CreateExec(container=container.id, config=m.ExecConfig(), cmd=("nosuch",)))
        wording = r'^OCI runtime exec failed: .*exec: "nosuch": executable file not found in \$PATH: unknown$'
        with pytest.raises(InvalidParameter, match=wording):
            await engine.send(m.StartExec(exec_id=created.exec_id))
        kept = (await event_of(engine, f"exec/{created.exec_id}", m.ExecStartFailed)).error
        assert kept == "OCI runtime exec failed: exec: executable file not found in $PATH: unknown"


async def test_the_end_of_a_container_ends_its_execs(host):
    async with engine_on(host) as (engine, _):
        container = await begun(engine, host, "/bin/sleep", "1000")
        await engine.send(m.StartProcess(container_id=container.id))
        created = await engine.send(m.CreateExec(container=container.id, config=m.ExecConfig(), cmd=("sleep", "9")))
        await engine.send(m.StartExec(exec_id=created.exec_id, detach=True))
        await engine.send(m.SignalProcess(container_id=container.id, signal=9))
        assert (await event_of(engine, f"process/{container.id}", m.ProcessExited)).exit_code == 137
        assert (await event_of(engine, f"exec/{created.exec_id}", m.ExecExited)).exit_code == 137
        await engine.send(m.DeleteProcess(container_id=container.id))
