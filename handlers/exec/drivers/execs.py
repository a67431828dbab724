"""Processes run in a container that runs: a conmon, a directory and an exit file of its own for each."""

import contextlib
import shutil
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from events.errors import SystemFailure
from handlers.context import Clock
from handlers.exec.drivers import exits, monitor, record, refusals
from handlers.exec.drivers.layout import Layout, remove_tree
from handlers.exec.drivers.oci_runtime import OciRuntime
from handlers.exec.drivers.sessions import ExecSession, connect
from handlers.exec.drivers.waits import Waits
from handlers.exec.ports import ExecPlan, ExitStatus, LiveProcess
from handlers.kernel.calls import attempt
from handlers.kernel.pidfd import ProcessHandle, boot_id, start_time

EXEC_TIMEOUT_S = 60.0
_CLEANUP_TIMEOUT_S = 20.0


class Execs:
    """Execs of all containers of an instance."""

    def __init__(self, layout: Layout, conmon: str, runtime: OciRuntime, waits: Waits, clock: Clock) -> None:
        self._layout, self._conmon, self._runtime = layout, conmon, runtime
        self._waits, self._clock = waits, clock
        self._sessions: dict[str, ExecSession] = {}

    def announce(self, exec_id: str) -> ExecSession:
        """A session that will be connected when the exec is made."""
        session = ExecSession(lambda: self._forget_session(exec_id, session))
        self._sessions[exec_id] = session
        return session

    def _forget_session(self, exec_id: str, session: ExecSession) -> None:
        if self._sessions.get(exec_id) is session:
            del self._sessions[exec_id]

    async def make(self, plan: ExecPlan) -> LiveProcess:
        """Run it. Raises StartError and SystemFailure, with nothing left behind."""
        directory = self._layout.exec(plan.container_id, plan.exec_id)
        session = self._sessions.get(plan.exec_id) if plan.attached else None
        monitor.ease_next_move()
        with attempt(f"prepare exec {plan.exec_id}"):
            known = await anyio.to_thread.run_sync(_prepare, directory, plan)
        try:
            return await self._launch(plan, known, session)
        except BaseException as error:
            if session is not None:
                session.failed()
            with anyio.CancelScope(shield=True), anyio.move_on_after(_CLEANUP_TIMEOUT_S):
                await self._clear(directory)
            if isinstance(error, monitor.RuntimeRefused):
                raise refusals.of_exec(error.text) from error
            raise

    async def _launch(self, plan: ExecPlan, known: record.Record, session: ExecSession | None) -> LiveProcess:
        directory = self._layout.exec(plan.container_id, plan.exec_id)
        with monitor.pipes(3) as (sync, start, attach):
            environment = {"_OCI_SYNCPIPE": str(sync.write_end)}
            inherit = [sync.read_end, sync.write_end]  # conmon dies if nobody holds the read end when it writes
            if session is not None:
                environment |= {"_OCI_STARTPIPE": str(start.read_end), "_OCI_ATTACHPIPE": str(attach.write_end)}
                inherit += [start.read_end, attach.write_end]
                start.write()
            words = self._arguments(plan, directory, attached=session is not None)
            launched = await monitor.launch(words, directory, environment, inherit)
            conmon = await launched.monitor()
            with conmon or contextlib.nullcontext():
                if session is not None:
                    await monitor.bounded(EXEC_TIMEOUT_S, attach, conmon, f"exec {plan.exec_id}")
                    session.connected(connect(directory), terminal=plan.terminal)
                    start.write()
                pid = await monitor.bounded(EXEC_TIMEOUT_S, sync, conmon, f"exec {plan.exec_id}")
                made = _made(known, pid, conmon)
                with contextlib.suppress(FileNotFoundError):  # it was short, and its container is gone already
                    record.write(directory, made)
                return LiveProcess(pid=pid, monitor_pid=made.monitor_pid)

    def _arguments(self, plan: ExecPlan, directory: Path, *, attached: bool) -> list[str]:
        return [
            *monitor.arguments(
                self._conmon,
                plan.runtime,
                self._runtime.global_arguments(plan.runtime),
                plan.container_id,
                plan.exec_id,
                directory,
                directory / "exits",
            ),
            *("-e", "--exec-process-spec", str(directory / "process.json"), "-l", "none"),
            *(("--exec-attach",) if attached else ()),
            *(("-i",) if attached and plan.stdin else ()),
            *(("-t", "--leave-stdin-open") if plan.terminal else ()),
        ]

    async def find(self, container_id: str, exec_id: str) -> LiveProcess | None:
        """The process if it lives."""
        found = record.read(self._layout.exec(container_id, exec_id))
        process = found.process() if found else None
        if found is None or process is None:
            return None
        process.close()
        return LiveProcess(pid=found.pid, monitor_pid=found.monitor_pid)

    async def wait(self, container_id: str, exec_id: str) -> ExitStatus:
        """Wait for the end, then tell how it ended."""
        directory = self._layout.exec(container_id, exec_id)
        with self._waits.one(container_id):
            found = record.read(directory)
            if found is not None:
                await self._until_end(found, self._sessions.get(exec_id))
            status = exits.of_exec(directory, container_id)
        return status or ExitStatus(
            exit_code=exits.UNKNOWN_EXIT_CODE, oom_killed=False, finished_at_ns=self._clock.now_ns(), known=False
        )

    async def _until_end(self, found: record.Record, session: ExecSession | None) -> None:
        """conmon can't end while a client doesn't read: when the process has ended the rest is read for it."""
        async with anyio.create_task_group() as tasks:
            if session is not None:
                tasks.start_soon(_drain_after, found, session)
            await exits.end_of(found)
            tasks.cancel_scope.cancel()

    def list(self, container_id: str) -> frozenset[str]:
        """Exec ids of which anything is on the host."""
        records = map(record.read, self._layout.execs(container_id))
        return frozenset(found.exec_id for found in records if found)

    async def forget(self, container_id: str, exec_id: str) -> None:
        """Remove what is left of an ended exec."""
        await self._clear(self._layout.exec(container_id, exec_id))

    async def _clear(self, directory: Path) -> None:
        found = record.read(directory)
        if found is not None:
            for handle in (found.process(), found.monitor()):
                await _end(handle)
        await anyio.to_thread.run_sync(remove_tree, directory)

    async def end_all(self, container_id: str) -> None:
        """The container's processes are dead: see their conmons off. Raises SystemFailure."""
        for place in self._layout.execs(container_id):
            found = record.read(place)
            handle = found.monitor() if found else None
            if handle is not None:
                await monitor.see_off(handle)


def _prepare(directory: Path, plan: ExecPlan) -> record.Record:
    if not directory.parent.is_dir():
        raise SystemFailure(f"container {plan.container_id} is not running")
    shutil.rmtree(directory, ignore_errors=True)
    for place in (directory, directory / "exits", directory / "persist"):
        place.mkdir(mode=0o700)
    fresh = record.Record(
        container_id=plan.container_id,
        exec_id=plan.exec_id,
        runtime=plan.runtime,
        boot_id=boot_id(),
        terminal=plan.terminal,
        stdin=plan.stdin,
    )
    record.write(directory, fresh)
    specification = directory / "process.json"
    specification.touch(mode=0o600)
    specification.write_bytes(plan.process)
    return fresh


def _made(known: record.Record, pid: int, conmon: ProcessHandle | None) -> record.Record:
    """What is known now. It may have ended, and its conmon too, when nobody is attached: its exit file tells."""
    watched = (conmon.pid, conmon.started) if conmon else (0, 0)
    return msgspec.structs.replace(
        known, pid=pid, pid_started=start_time(pid), monitor_pid=watched[0], monitor_started=watched[1]
    )


async def _drain_after(found: record.Record, session: ExecSession) -> None:
    process = found.process()
    if process is not None:
        with process:
            await process.wait()
    await session.drain()


async def _end(handle: ProcessHandle | None) -> None:
    if handle is not None:
        await monitor.see_off(handle, at_once=True)
