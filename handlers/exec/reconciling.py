"""At boot: what became of the processes that an earlier daemon left, and what on the host belongs to nobody."""

import logging
from collections.abc import Awaitable, Callable, Collection

import anyio

from events.envelope import RECOVERY, Cause
from events.errors import Unavailable
from events.messages import exec as m
from events.projections.containers import Container
from events.projections.execs import Exec
from handlers.context import SETTLING_PAUSES_S, Context, Services
from handlers.exec.execs import NOT_EXECUTABLE
from handlers.exec.ports import Runtime
from handlers.exec.watching import Watching, record_exit, record_orphan

LOGGER = logging.getLogger(__name__)
Settle = Callable[[Services, str], Awaitable[None]]
OBJECT_TIMEOUT_S = 60.0
_INTERRUPTED = "the daemon was killed while this process was started; nobody knows whether it ran"


class Reconciling:
    """Squares the log with the host; each object in a task of its own."""

    def __init__(self, runtime: Runtime, watching: Watching) -> None:
        self._runtime, self._watching = runtime, watching

    async def run(self, services: Services) -> None:
        """Returns when every object is settled or has had its time."""
        async with anyio.create_task_group() as tasks:
            for container in tuple(services.state.containers):
                if container.is_live or container.operation == "start":
                    tasks.start_soon(self._bounded, services, container.id, self._container)
            for found in tuple(services.state.execs):
                if found.status != "created":
                    tasks.start_soon(self._bounded, services, found.id, self._exec)
            for container_id in await self._found():
                if _is_orphan(services.state.containers.get(container_id)):
                    tasks.start_soon(self._bounded, services, container_id, self._orphan)

    async def _found(self) -> Collection[str]:
        """Containers of which the host has something."""
        try:
            with anyio.fail_after(OBJECT_TIMEOUT_S):
                return await self._runtime.list()
        except Exception:  # those that are known are settled all the same
            LOGGER.exception("what there is of nobody could not be found; it is tried again at the next start")
            return ()

    async def _bounded(self, services: Services, name: str, settle: Settle) -> None:
        """Whatever is wrong with one object, the others are settled."""
        for pause_s in SETTLING_PAUSES_S:
            try:
                with anyio.fail_after(OBJECT_TIMEOUT_S):
                    await settle(services, name)
            except Unavailable as error:
                LOGGER.warning("process %s could not be settled yet: %s", name, error)
                await anyio.sleep(pause_s)
            except Exception:
                LOGGER.exception("process %s could not be settled; it is tried again at the next start", name)
                return
            else:
                return

    async def _container(self, services: Services, container_id: str) -> None:
        """A live process is watched; one that has ended is recorded, if it is known to have run its program."""
        container = services.state.containers.get(container_id)
        if container is None:
            return
        live = await self._runtime.find(container_id)
        if live is not None:
            await self._end_probes(services, container_id)
            if container.is_live or live.started:
                self._watching.process(services, container_id, container.run)
            return
        status = await self._runtime.wait(container_id)
        if container.is_live or (status.known and status.run == container.run):
            await record_exit(services, container_id, container.run, status, RECOVERY)

    async def _end_probes(self, services: Services, container_id: str) -> None:
        """What runs there and is in no log: health probes that an earlier daemon waited for."""
        for exec_id in await self._runtime.list_execs(container_id):
            if services.state.execs.get(exec_id) is None:
                await self._runtime.forget_exec(container_id, exec_id)

    async def _exec(self, services: Services, exec_id: str) -> None:
        found = services.state.execs.get(exec_id)
        if found is None:
            return
        if found.status == "exited":
            await self._runtime.forget_exec(found.container_id, exec_id)
            return
        live = await self._runtime.find_exec(found.container_id, exec_id)
        if live is None:
            self._watching.begin(exec_id, lambda: self._settle_exec(services, exec_id))
            await Context(services, _cause(found)).until(
                f"exec/{exec_id}", lambda: _has_ended(services, exec_id), OBJECT_TIMEOUT_S
            )
            return
        if found.status == "starting":
            await _tell_start(services, found, live.pid)
        self._watching.exec(services, exec_id)

    async def _settle_exec(self, services: Services, exec_id: str) -> None:
        """One without a process, or without one yet: a frozen container holds the runtime up until it goes on."""
        found = services.state.execs.get(exec_id)
        if found is not None and found.status == "starting":
            status = await self._runtime.wait_exec(found.container_id, exec_id)
            if _has_ended(services, exec_id):  # its container was removed meanwhile
                pass
            elif status.known:
                await _tell_start(services, found, 0)
            else:
                failed = m.ExecStartFailed(exec_id=exec_id, exit_code=NOT_EXECUTABLE, error=_INTERRUPTED)
                context = Context(services, _cause(found))
                await context.append(f"exec/{exec_id}", failed, answer=Unavailable(_INTERRUPTED))
        await self._watching.settle_exec(services, exec_id, RECOVERY)

    async def _orphan(self, services: Services, container_id: str) -> None:
        await self._runtime.delete(container_id)
        await record_orphan(services, container_id, RECOVERY)


def _is_orphan(container: Container | None) -> bool:
    """Nobody will ask for it: no container, or one that has no process and isn't about to have, or to lose, one."""
    return container is None or not (container.is_live or container.operation)


def _has_ended(services: Services, exec_id: str) -> bool:
    found = services.state.execs.get(exec_id)
    return found is None or found.status == "exited"


async def _tell_start(services: Services, found: Exec, pid: int) -> None:
    started = m.ExecStarted(exec_id=found.id, pid=pid)
    await Context(services, _cause(found)).append(f"exec/{found.id}", started, answer=None)


def _cause(found: Exec) -> Cause:
    """The outcome of a start keeps its intent's command id: a repeat gets the answer."""
    return Cause(actor=RECOVERY, command_id=found.start_command, correlation_id=found.start_command)
