"""Containers' first processes by conmon and an OCI runtime; they outlive the daemon, which finds them again."""

import contextlib
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import anyio
import anyio.to_thread
import msgspec

from events.errors import SystemFailure
from handlers.context import Clock, SystemClock
from handlers.exec.drivers import apparmor, exits, monitor, record, refusals, usage
from handlers.exec.drivers.awaited_file import AwaitedFile, write_private
from handlers.exec.drivers.execs import Execs
from handlers.exec.drivers.layout import Layout, remove_tree
from handlers.exec.drivers.log_keeper import LogKeeper
from handlers.exec.drivers.oci_runtime import OciRuntime
from handlers.exec.drivers.output import OutputFiles
from handlers.exec.drivers.removal import Removal
from handlers.exec.drivers.sessions import StdinSession, connect
from handlers.exec.drivers.waits import Waits
from handlers.exec.log_options import LogPlan, Subject
from handlers.exec.ports import ExecPlan, ExitStatus, LiveProcess, ProcessOutline, ProcessPlan, Session
from handlers.exec.usage import Usage
from handlers.instance import Instance
from handlers.kernel import cgroups
from handlers.kernel.calls import attempt
from handlers.kernel.mounts import MountFlag, mount
from handlers.kernel.pidfd import ProcessHandle, boot_id, start_time
from handlers.kernel.threads import run_long

CONFIGURATION = "config.json"  # of a bundle, by the OCI runtime specification
CREATE_TIMEOUT_S = 60.0
_CLEANUP_TIMEOUT_S = 60.0


class _Paths(msgspec.Struct, rename="camel"):
    """What the driver itself must know of a specification."""

    cgroups_path: str = ""


class _Outline(msgspec.Struct):
    linux: _Paths


class _Waiting:
    """A conmon that waits for the word to call the runtime, or a runtime that waits for its configuration.

    Entered, what is open for it is closed at the end of the block.
    """

    def __init__(
        self,
        known: record.Record,
        directory: Path,
        launched: monitor.Launch,
        sync: monitor.Pipe,
        start: monitor.Pipe,
        configuration: AwaitedFile | None,
        opened: ExitStack,
    ) -> None:
        self.known, self.directory, self.launched, self.sync = known, directory, launched, sync
        self._start, self._configuration, self._opened = start, configuration, opened

    def complete(self, plan: ProcessPlan) -> None:
        """Write what the runtime is to make, and first where it makes the control group. Blocking."""
        path = msgspec.json.decode(plan.specification, type=_Outline).linux.cgroups_path
        self._write(msgspec.structs.replace(self.known, cgroups_path=path))
        write_private(self.directory / CONFIGURATION, plan.specification)

    def remember(self, pid: int, conmon: ProcessHandle) -> None:
        """Write what was made."""
        known = msgspec.structs.replace(
            self.known,
            pid=pid,
            pid_started=start_time(pid),
            monitor_pid=conmon.pid,
            monitor_started=conmon.started,
            cgroup=cgroups.of_process(pid, cgroups.known_hierarchies()),
        )
        self._write(known)

    def _write(self, known: record.Record) -> None:
        """Raises SystemFailure when it was removed while its process was made."""
        with attempt(f"note what is known of container {known.container_id}"):
            record.write(self.directory, known)
        self.known = known

    def begin(self) -> None:
        """Say the word to a conmon that waits for it."""
        if self._configuration is None:
            self._start.write()

    async def hand_over(self, plan: ProcessPlan, conmon: ProcessHandle) -> None:
        """Give its configuration to a runtime that waits for it."""
        if self._configuration is not None:
            await self._configuration.hand_over(plan.specification, (conmon.fileno(), self.sync.read_end))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


class ConmonRuntime(OutputFiles):
    """`Runtime` and `Streams` of handlers/exec/ports.py.

    `conmon` is conmon's path; runtimes come by path with each plan; `profile` is seen to where a plan names it.
    Raises SocketPathTooLong for a long exec-root.
    """

    def __init__(
        self,
        instance: Instance,
        conmon: str,
        *,
        systemd_cgroup: bool = False,
        clock: Clock | None = None,
        profile: apparmor.DefaultProfile | None = None,
    ) -> None:
        self._layout = Layout(instance)
        self._conmon = conmon
        self._systemd_cgroup = systemd_cgroup
        self._clock = clock or SystemClock()
        self._profile = profile or apparmor.DefaultProfile("")
        self._waits = Waits()
        self._waiting: dict[str, _Waiting] = {}
        self._runtime = OciRuntime(self._layout, systemd_cgroup=systemd_cgroup)
        self._execs = Execs(self._layout, conmon, self._runtime, self._waits, self._clock)
        self._removal = Removal(
            self._layout, conmon, self._runtime, self._execs, self._waits, systemd_cgroup=systemd_cgroup
        )
        super().__init__(self._layout, self._clock)
        self._log_keeper = LogKeeper(self)

    # ---- a container's first process

    async def prepare(self, outline: ProcessOutline) -> None:
        """Make the bundle and start conmon and, where that can wait for its configuration, the runtime."""
        monitor.ease_next_move()
        await self.delete(outline.container_id)
        try:
            with attempt(f"prepare container {outline.container_id}"):
                known = await anyio.to_thread.run_sync(_prepare, self._layout, outline)
            self._waiting[outline.container_id] = await self._launch(outline, known)
        except BaseException:
            await self._clean_up(outline.container_id)
            raise

    async def _launch(self, outline: ProcessOutline, known: record.Record) -> "_Waiting":
        directory = self._layout.run(outline.container_id)
        with ExitStack() as opened:
            sync, start = opened.enter_context(monitor.pipes(2))
            configuration = None
            if await self._runtime.is_runc(outline.runtime):  # others may read the file twice, or up to its end
                configuration = AwaitedFile(directory / CONFIGURATION)
                opened.callback(configuration.close)
                start.write()
            # with both ends in its hands conmon doesn't die when the daemon does: nobody else need hold the other
            inherit = (sync.read_end, sync.write_end, start.read_end)
            environment = {"_OCI_SYNCPIPE": str(sync.write_end), "_OCI_STARTPIPE": str(start.read_end)}
            launched = await monitor.launch(self._arguments(outline, directory), directory, environment, inherit)
            return _Waiting(known, directory, launched, sync, start, configuration, opened.pop_all())

    async def _clean_up(self, container_id: str) -> None:
        with anyio.CancelScope(shield=True), anyio.move_on_after(_CLEANUP_TIMEOUT_S):
            await self.delete(container_id)

    async def create(self, plan: ProcessPlan) -> LiveProcess:
        """Up to the point where the process waits for its start. Raises StartError, with nothing left behind."""
        waiting = self._waiting.get(plan.container_id)
        if waiting is None or waiting.known.run != plan.run:
            await self.prepare(plan)
        monitor.ease_next_move()  # again: what was mounted meanwhile may have taken its time
        try:
            await self._profile.ensure(plan.apparmor_profile)
            live = await self._make(plan)
        except BaseException as error:
            await self._clean_up(plan.container_id)
            if isinstance(error, monitor.RuntimeRefused):
                raise refusals.of_create(error.text) from error
            raise
        self.run_begins(plan.container_id)
        return live

    async def _make(self, plan: ProcessPlan) -> LiveProcess:
        with self._waiting.pop(plan.container_id) as waiting:
            with attempt(f"prepare container {plan.container_id}"):
                await anyio.to_thread.run_sync(waiting.complete, plan)
            waiting.begin()
            conmon = await waiting.launched.monitor()
            with conmon or contextlib.nullcontext():
                if conmon is not None:
                    await waiting.hand_over(plan, conmon)
                what = f"creating container {plan.container_id}"
                pid = await monitor.bounded(CREATE_TIMEOUT_S, waiting.sync, conmon, what)
                if conmon is None:
                    raise monitor.RuntimeRefused(monitor.NO_WORD)  # it made a process, and nobody is there to watch it
                waiting.remember(pid, conmon)
                return LiveProcess(pid=pid, monitor_pid=conmon.pid, started=False)

    def _arguments(self, plan: ProcessOutline, directory: Path) -> list[str]:
        container_id = plan.container_id
        stays_open = plan.terminal or (plan.stdin and not plan.stdin_once)
        return [
            *monitor.arguments(
                self._conmon,
                plan.runtime,
                self._runtime.global_arguments(plan.runtime),
                container_id,
                container_id,
                directory,
                self._layout.exits(container_id) / str(plan.run),
            ),
            *("-l", f"k8s-file:{self._layout.output(container_id)}"),
            *(("-s",) if self._systemd_cgroup else ()),
            *(("-i",) if plan.stdin else ()),
            *(("-t",) if plan.terminal else ()),
            *(("--leave-stdin-open",) if stays_open else ()),
        ]

    async def understands(self, runtime: str, mount_option: str) -> bool:
        """Whether a runtime's program says that it knows a mount option."""
        return await self._runtime.understands(runtime, mount_option)

    def shared_memory(self, container_id: str) -> str:
        """Host path of a /dev/shm that others may join."""
        return str(self._layout.shared_memory(container_id))

    async def start(self, container_id: str) -> None:
        """Let it run its program."""
        found = self._record(container_id)
        process = found.process()
        if process is None:
            raise SystemFailure(f"cannot start container {container_id}: its process has ended")
        with process:
            await self._runtime.start(found.runtime, container_id, process)
        await self._note_start(found)

    async def _note_start(self, found: record.Record) -> None:
        """A later daemon needn't ask the runtime then, which may hang; of runc it reads a file."""
        if not await self._runtime.is_runc(found.runtime):
            with contextlib.suppress(FileNotFoundError):  # it was short and is gone already
                record.write(self._layout.run(found.container_id), msgspec.structs.replace(found, started=True))

    async def signal(self, container_id: str, signal: int) -> bool:
        """Send a signal to the first process; False when it has ended."""
        found = record.read(self._layout.run(container_id))
        process = found.process() if found else None
        if process is None:
            return False
        with process, attempt(f"signal container {container_id}"):
            return process.send(signal)

    async def freeze(self, container_id: str, *, frozen: bool) -> None:
        """Freeze or thaw all processes of the container."""
        await self._group(container_id).freeze(frozen=frozen)

    async def resize(self, container_id: str, exec_id: str, height: int, width: int) -> None:
        """Set a terminal's size."""
        directory = self._layout.exec(container_id, exec_id) if exec_id else self._layout.run(container_id)
        with attempt("resize the terminal"):
            descriptor = os.open(directory / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(descriptor, f"1 {height} {width}\n".encode())
            finally:
                os.close(descriptor)

    async def delete(self, container_id: str) -> None:
        """Kill what is left; take down runtime state, cgroup, monitor and bundle, also execs."""
        waiting = self._waiting.pop(container_id, None)
        if waiting is not None:
            with waiting:
                await waiting.launched.give_up()
        await self._removal.remove(container_id)

    async def remove_files(self, container_id: str) -> None:
        """Remove the durable output and exit files; who waits for a next run waits in vain."""
        self.run_begins(container_id)
        async with self.turn(container_id):
            await run_long(self._remove_files, container_id)  # gigabytes of output take seconds

    def _remove_files(self, container_id: str) -> None:
        self.generations(container_id).remove()
        remove_tree(self._layout.exits(container_id))
        with contextlib.suppress(OSError):  # it is shared with the name files: who is last removes it
            self._layout.exits(container_id).parent.rmdir()

    async def find(self, container_id: str) -> LiveProcess | None:
        """The process if it lives, also one that an earlier daemon made."""
        found = record.read(self._layout.run(container_id))
        process = found.process() if found else None
        if found is None or process is None:
            return None
        process.close()
        started = found.started or await self._runtime.is_started(found.runtime, container_id)
        conmon = found.monitor()
        if conmon is not None:
            conmon.close()
        return LiveProcess(
            pid=found.pid,
            monitor_pid=conmon.pid if conmon else 0,
            started=started,
            frozen=found.cgroup is not None and found.cgroup.is_frozen(),
            apparmor_profile=apparmor.of_process(found.pid),
        )

    async def wait(self, container_id: str) -> ExitStatus:
        """Wait for the end of the process, if one was made, then tell how it ended."""
        directory, exit_files = self._layout.run(container_id), self._layout.exits(container_id)
        with self._waits.one(container_id):
            found = record.read(directory)
            if found is not None and found.pid:  # without one nothing will end: a runtime waits for its configuration
                await exits.end_of(found)
            status = exits.of_run(exit_files, container_id, directory, found)
        return status or ExitStatus(
            exit_code=exits.UNKNOWN_EXIT_CODE,
            oom_killed=False,
            finished_at_ns=self._clock.now_ns(),
            known=False,
            run=found.run if found else 0,
        )

    async def list(self) -> frozenset[str]:
        """Container ids of which anything (runtime state, bundle, monitor) is on the host."""
        records = [record.read(place) for place in self._layout.runs()]
        states = {state.name for root in self._layout.runtime_roots() for state in root.iterdir() if state.is_dir()}
        return frozenset(found.container_id for found in records if found) | states

    def processes(self, container_id: str) -> tuple[int, ...]:
        """Host pids in the container's cgroup."""
        found = record.read(self._layout.run(container_id))
        return found.cgroup.processes() if found and found.cgroup else ()

    def measure(self, container_id: str) -> Usage | None:
        """What the container uses now; None when it doesn't run. Blocking."""
        found = record.read(self._layout.run(container_id))
        return usage.look(found) if found else None

    async def update(self, container_id: str, resources: bytes) -> None:
        """Change the limits of a container that runs. Raises SystemFailure."""
        await self._runtime.update(self._record(container_id).runtime, container_id, resources)

    # ---- its log

    async def reach_log(self, plan: LogPlan, subject: Subject) -> None:
        """See that a container's log target can be reached."""
        await self._log_keeper.reach(plan, subject)

    async def keep_log(self, container_id: str, plan: LogPlan, subject: Subject) -> None:
        """Rotate the durable output and hand it on."""
        await self._log_keeper.keep(container_id, plan, subject)

    # ---- execs

    async def exec(self, plan: ExecPlan) -> LiveProcess:
        """Run a process in the container."""
        await self._profile.ensure(plan.apparmor_profile)
        return await self._execs.make(plan)

    async def wait_exec(self, container_id: str, exec_id: str) -> ExitStatus:
        """Wait for the end of an exec."""
        return await self._execs.wait(container_id, exec_id)

    async def find_exec(self, container_id: str, exec_id: str) -> LiveProcess | None:
        """The process of an exec if it lives."""
        return await self._execs.find(container_id, exec_id)

    async def list_execs(self, container_id: str) -> frozenset[str]:
        """Exec ids of which anything is on the host."""
        return self._execs.list(container_id)

    async def forget_exec(self, container_id: str, exec_id: str) -> None:
        """Remove what is left of an ended exec."""
        await self._execs.forget(container_id, exec_id)

    # ---- input

    async def open_stdin(self, container_id: str) -> Session:
        """Connect to stdin of a live first process."""
        found = self._record(container_id)
        connection = connect(self._layout.run(container_id))
        return StdinSession(connection, terminal=found.terminal, stdin_once=found.stdin_once)

    async def exec_session(self, exec_id: str) -> Session:
        """Announce that an exec's streams are wanted."""
        return self._execs.announce(exec_id)

    def _record(self, container_id: str) -> record.Record:
        found = record.read(self._layout.run(container_id))
        if found is None:
            raise SystemFailure(f"container {container_id} has no process")
        return found

    def _group(self, container_id: str) -> cgroups.Group:
        group = self._record(container_id).cgroup
        if group is None:
            raise SystemFailure(f"container {container_id} has no control group")
        return group


def _prepare(layout: Layout, plan: ProcessOutline) -> record.Record:
    """Make the bundle. It appears with its record in it, so that whatever exists can be found and removed."""
    staging, directory = layout.staging(plan.container_id), layout.run(plan.container_id)
    for place in (staging, staging / "persist", staging / "e"):
        place.mkdir(mode=0o700, parents=True)
    fresh = record.Record(
        container_id=plan.container_id,
        runtime=plan.runtime,
        boot_id=boot_id(),
        run=plan.run,
        terminal=plan.terminal,
        stdin=plan.stdin,
        stdin_once=plan.stdin_once,
    )
    record.write(staging, fresh)
    exit_files = layout.exits(plan.container_id)
    shutil.rmtree(exit_files, ignore_errors=True)
    (exit_files / str(plan.run)).mkdir(mode=0o700, parents=True)
    layout.runtime_root(plan.runtime).mkdir(mode=0o700, parents=True, exist_ok=True)
    staging.rename(directory)
    if plan.shared_memory_bytes:
        place = layout.shared_memory(plan.container_id)
        place.mkdir()
        options = f"mode=1777,size={plan.shared_memory_bytes}"
        flags = MountFlag.NO_SUID | MountFlag.NO_EXEC | MountFlag.NO_DEVICES
        mount("shm", str(place), filesystem="tmpfs", flags=flags, options=options)
    return fresh
