"""A task for every live process: its end becomes an event, without anybody asking."""

import logging
from collections.abc import Awaitable, Callable

import anyio
import anyio.abc

from events.envelope import ENGINE, Actor, Cause
from events.log import VersionConflict
from events.messages import exec as m
from events.messages.system import OrphanRemoved
from handlers.context import SETTLING_PAUSES_S, Context, Services
from handlers.exec.ports import ExitStatus, Runtime

LOGGER = logging.getLogger(__name__)


class Watching:
    """Watches processes in a task group that somebody else owns; each process once."""

    def __init__(self, runtime: Runtime, tasks: anyio.abc.TaskGroup) -> None:
        self._runtime, self._tasks = runtime, tasks
        self._watched: set[str] = set()

    def process(self, services: Services, container_id: str, run: int) -> None:
        """Watch a container's first process."""
        self.begin(f"{container_id}/{run}", lambda: self._await_process(services, container_id, run))

    def exec(self, services: Services, exec_id: str) -> None:
        """Watch an exec."""
        self.begin(exec_id, lambda: self.settle_exec(services, exec_id, ENGINE))

    def begin(self, key: str, act: Callable[[], Awaitable[None]]) -> None:
        """Settle in the background what becomes of a process, for as long as it takes."""
        if key not in self._watched:
            self._watched.add(key)
            self._tasks.start_soon(self._persist, key, act)

    async def _persist(self, key: str, act: Callable[[], Awaitable[None]]) -> None:
        """A full disk or a busy log passes; what doesn't is settled at the next start of the daemon."""
        try:
            for pause_s in SETTLING_PAUSES_S:
                try:
                    await act()
                except Exception:
                    LOGGER.exception("the end of process %s could not be recorded yet", key)
                    await anyio.sleep(pause_s)
                else:
                    return
            LOGGER.error("the end of process %s was not recorded", key)
        finally:
            self._watched.discard(key)

    async def _await_process(self, services: Services, container_id: str, run: int) -> None:
        status = await self._runtime.wait(container_id)
        await record_exit(services, container_id, run, status, ENGINE)

    async def settle_exec(self, services: Services, exec_id: str, actor: Actor) -> None:
        """Wait for an exec's end, record it, and remove what is left of it."""
        started = services.state.execs.get(exec_id)
        if started is None:
            return
        status = await self._runtime.wait_exec(started.container_id, exec_id)
        now = services.state.execs.get(exec_id)
        if now is not None and now.status == "running":
            event = m.ExecExited(exec_id=exec_id, exit_code=status.exit_code, known=status.known)
            await _context(services, actor).append(f"exec/{exec_id}", event, expected=now.version)
        await self._runtime.forget_exec(started.container_id, exec_id)


async def record_exit(services: Services, container_id: str, run: int, status: ExitStatus, actor: Actor) -> None:
    """One event for each run, whoever comes first. A status of another run tells nothing about this one."""
    execs = services.state.execs
    last = execs.last_exit(container_id)
    if services.state.containers.get(container_id) is None or (last is not None and last.run >= run):
        return
    known = status.known and status.run == run
    event = m.ProcessExited(
        container_id=container_id,
        run=run,
        exit_code=status.exit_code if known else 255,
        oom_killed=known and status.oom_killed,
        finished_at_ns=status.finished_at_ns if known else services.clock.now_ns(),
        known=known,
    )
    stream, version = f"process/{container_id}", execs.process_version(container_id)
    try:
        await _context(services, actor).append(stream, event, expected=version)
    except VersionConflict:
        LOGGER.info("the end of run %d of container %s is in the log already", run, container_id)


async def record_orphan(services: Services, name: str, actor: Actor) -> None:
    """Something of ours on the host that nobody claimed was removed."""
    await _context(services, actor).append("system/engine", OrphanRemoved(kind="process", name=name))


def _context(services: Services, actor: Actor) -> Context:
    command_id = services.ids.new()
    return Context(services, Cause(actor=actor, command_id=command_id, correlation_id=command_id))
