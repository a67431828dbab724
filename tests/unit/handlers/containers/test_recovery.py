"""Recovery of containers: one that has ended is told so, also when the log refuses what recovery writes for a while."""

from collections.abc import Sequence
from typing import Any

import anyio
import msgspec
import pytest
from typing_extensions import override

from events.base import Command, Event
from events.envelope import Cause, Recorded
from events.errors import SystemFailure
from events.log import Append
from events.messages import container as m
from events.messages import exec as x
from events.messages.layer import UnmountContainerLayer
from events.messages.network import DisconnectSandbox
from events.projections.containers import Container
from events.sealed import Sealed
from handlers.containers import access, exits, recovery
from handlers.containers.handler import ContainerHandler
from handlers.containers.limits import HostLimits
from handlers.context import Context, Handle
from tests.fakes.keyring import MemoryKeyring
from tests.fakes.refusing_log import RefusingLog
from tests.fakes.sender import Engine, SteppingClock

ID = "a" * 64
STREAM = f"container/{ID}"
PATIENCE_S = 10.0


class Host:
    """The other handlers' part: there is a process or none, and whoever asks for it may be held up."""

    def __init__(self, pid: int = 0) -> None:
        self.pid = pid
        self.asked, self.held_up = anyio.Event(), anyio.Event()
        self.held_up.set()

    def commands(self) -> dict[type[Command[Any]], Handle]:
        done = (x.DeleteProcess, x.StartProcess, UnmountContainerLayer, DisconnectSandbox)
        return {x.UpdateProcess: self._update, x.FindProcess: self._find, **dict.fromkeys(done, self._do)}

    async def reconcile(self, context: Context) -> None:
        raise NotImplementedError("the host is only asked")

    async def _do(self, context: Context, command: Command[Any]) -> None:
        pass

    async def _find(self, context: Context, command: x.FindProcess) -> x.FoundProcess:
        self.asked.set()
        await self.held_up.wait()
        return x.FoundProcess(pid=self.pid, started=self.pid != 0)

    async def _update(self, context: Context, command: x.UpdateProcess) -> None:
        raise SystemFailure("no such process")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> RefusingLog:
    monkeypatch.setattr(access, "OUTCOME_PAUSES_S", (0.0,))
    monkeypatch.setattr(recovery, "SETTLING_PAUSES_S", (0.0,) * 60)
    return RefusingLog(SteppingClock())


async def engine_with_a_container(log: RefusingLog, host: Host) -> Engine:
    """One that was created."""
    engine = Engine(ContainerHandler(HostLimits(cpus=frozenset({0}))), host, log=log)
    requested = m.ContainerCreateRequested(
        container_id=ID,
        name="web",
        image_id="sha256:1",
        image_reference="busybox",
        config=m.ContainerConfig(),
        host=m.HostConfig(),
        secrets=Sealed(owner=STREAM, nonce=b"", ciphertext=b""),
        endpoints={},
    )
    await engine.append(STREAM, requested, m.ContainerCreated(container_id=ID))
    return engine


STARTING = m.ContainerStartRequested(container_id=ID, run=1)
STARTED = m.ContainerStarted(container_id=ID, pid=4711, started_at_ns=1)
KILLING = m.ContainerKillRequested(container_id=ID, signal=9, asked=True)
UPDATING = m.ContainerUpdateRequested(container_id=ID, host=m.HostConfig(memory=1 << 26))
STOPPING = m.ContainerStopRequested(container_id=ID, timeout_s=1, signal=15)
RESTARTING = m.ContainerRestartRequested(container_id=ID)
EXITED = x.ProcessExited(container_id=ID, run=1, exit_code=3, oom_killed=False, finished_at_ns=2)


async def recovered(engine: Engine) -> Container:
    """The container after a boot."""
    with anyio.fail_after(PATIENCE_S):
        await engine.handlers[0].reconcile(engine.context())
    container = engine.state.containers.get(ID)
    assert container is not None
    return container


@pytest.mark.parametrize("intents", [(), (UPDATING,), (STOPPING,), (KILLING, UPDATING)])
@pytest.mark.parametrize("refusals", [0, 1, 2, 3, 4, 5, 7, 20, 40])
async def test_the_end_is_told_as_soon_as_the_log_takes_it(
    log: RefusingLog, intents: Sequence[Event], refusals: int
) -> None:
    engine = await engine_with_a_container(log, Host())
    await engine.append(STREAM, STARTING, STARTED, *intents)
    await engine.append(f"process/{ID}", EXITED)
    log.refusals = refusals
    container = await recovered(engine)
    assert (container.status, container.exit_code, container.operation, container.kills) == ("exited", 3, "", ())


@pytest.mark.parametrize("refusals", range(10))
async def test_what_could_not_be_written_gives_up_no_start_that_was_done(log: RefusingLog, refusals: int) -> None:
    engine = await engine_with_a_container(log, Host(pid=4711))
    await engine.append(STREAM, STARTING, KILLING)
    log.refusals = refusals
    container = await recovered(engine)
    assert (container.status, container.pid, container.operation, container.kills) == ("running", 4711, "", ())


async def test_what_clients_have_begun_since_is_theirs(log: RefusingLog) -> None:
    host = Host(pid=4711)
    engine = await engine_with_a_container(log, host)
    await engine.append(STREAM, STARTING, STARTED, m.ContainerPaused(container_id=ID))
    host.held_up = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recovered, engine)
        await host.asked.wait()
        await engine.append(STREAM, m.ContainerUnpaused(container_id=ID), RESTARTING, STOPPING)
        host.held_up.set()
    container = engine.state.containers.get(ID)
    assert container is not None
    assert (container.operation, bool(container.restarting)) == ("stop", True)


@pytest.mark.parametrize("refusals", range(10))
async def test_a_restart_whose_stop_was_cut_off_has_failed(log: RefusingLog, refusals: int) -> None:
    engine = await engine_with_a_container(log, Host(pid=4711))
    await engine.append(STREAM, STARTING, STARTED, RESTARTING)
    log.refusals = refusals
    container = await recovered(engine)
    assert (container.status, container.operation, container.restarting) == ("running", "", "")


class StuckKeyring(MemoryKeyring):
    """Can't destroy one owner's key."""

    @override
    async def destroy(self, owner: str) -> None:
        if owner == "container/a":
            raise SystemFailure("its file can't be written")
        await super().destroy(owner)


async def test_one_key_that_stays_keeps_no_other(log: RefusingLog) -> None:
    engine = await engine_with_a_container(log, Host())
    keyring = StuckKeyring()
    engine.services = msgspec.structs.replace(engine.services, keyring=keyring)
    for owner in ("container/a", "container/b"):
        await keyring.seal(owner, b"x")
    await recovered(engine)
    assert await keyring.owners() == ("container/a",)


class OvertakingLog(RefusingLog):
    """Somebody else's event is in the log just before an observed exit."""

    overtaking: Event | None = None

    @override
    async def append(
        self, appends: Sequence[Append], *, cause: Cause, reply: bytes | None = None
    ) -> Sequence[Recorded]:
        event, is_exit = self.overtaking, isinstance(appends[0].events[0], m.ContainerExitObserved)
        if event is not None and is_exit:
            self.overtaking = None
            other = Cause(actor=cause.actor, command_id="overtaking", correlation_id="overtaking")
            await super().append([Append(stream=STREAM, events=(event,))], cause=other)
        return await super().append(appends, cause=cause, reply=reply)


async def test_a_freeze_that_was_faster_is_over_before_the_end_is_settled() -> None:
    """Its word would come in the middle of the settling, or after it."""
    log = OvertakingLog(SteppingClock())
    engine = await engine_with_a_container(log, Host())
    await engine.append(STREAM, STARTING, STARTED)
    await engine.append(f"process/{ID}", EXITED)
    log.overtaking = m.ContainerPauseRequested(container_id=ID)
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exits.settle_exit, engine.context(), ID)
            await anyio.wait_all_tasks_blocked()
            await engine.append(STREAM, m.ContainerPaused(container_id=ID))
    names = await engine.names()
    told = names[names.index("container.pause_requested") :]
    assert told == ["container.pause_requested", "container.paused", "container.exit_observed", "container.died"]
