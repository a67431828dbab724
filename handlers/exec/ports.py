"""What the exec handler needs of an OCI runtime, and what the API needs of a process's streams."""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from handlers.exec.log_options import LogPlan, Subject
from handlers.exec.usage import Usage

STDOUT = 1
STDERR = 2


class ProcessOutline(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a container's first process before its file system and network are."""

    container_id: str
    run: int
    name: str
    runtime: str  # path of the runtime's program
    terminal: bool
    stdin: bool
    stdin_once: bool
    shared_memory_bytes: int = 0  # size of a /dev/shm that others may join; 0: none


class ProcessPlan(ProcessOutline, frozen=True, kw_only=True):
    """A container's first process, ready to be made."""

    specification: bytes  # OCI config.json
    apparmor_profile: str = ""  # which the specification names, so that it can be seen to


class LiveProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process that exists."""

    pid: int
    monitor_pid: int  # conmon; 0 when it is lost
    started: bool = True  # it runs its program; False while it waits for its start
    frozen: bool = False
    apparmor_profile: str = ""  # which it is found under, "unconfined", or "" where there is no AppArmor


class ExitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended."""

    exit_code: int
    oom_killed: bool
    finished_at_ns: int
    known: bool = True  # False: nobody saw it; the code is 255
    run: int = 0  # of a first process: the plan's; 0 when not known


class ExecPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A process to run in a container that runs."""

    exec_id: str
    container_id: str
    process: bytes  # OCI `process` object, JSON
    runtime: str
    terminal: bool
    stdin: bool
    attached: bool
    apparmor_profile: str = ""  # as in ProcessPlan


class StartError(Exception):
    """The runtime couldn't make the process. `exit_code`: 127 not found, 126 not executable, 128 else.

    `message` may quote the command; `recorded` is what the log may hold of it.
    """

    def __init__(self, message: str, exit_code: int, *, recorded: str) -> None:
        self.message, self.exit_code, self.recorded = message, exit_code, recorded
        super().__init__(message)


class Runtime(Protocol):
    """Processes of containers, kept by a monitor of their own so that they outlive the daemon.

    Raises SystemFailure for what the host refuses. Taking down what is absent succeeds.
    """

    async def prepare(self, outline: ProcessOutline) -> None:
        """Do ahead what `create` would do first: it takes less time then. `delete` undoes it."""

    async def create(self, plan: ProcessPlan) -> LiveProcess:
        """Up to the point where the process waits for its start. Raises StartError, with nothing left behind."""

    async def understands(self, runtime: str, mount_option: str) -> bool:
        """Whether a runtime's program (a path) says that it knows a mount option. Others ignore what they don't."""

    def shared_memory(self, container_id: str) -> str:
        """Host path of the /dev/shm that a plan with `shared_memory_bytes` makes, whether it is there or not."""

    async def start(self, container_id: str) -> None:
        """Let it run its program."""

    async def signal(self, container_id: str, signal: int) -> bool:
        """Send a signal to the first process; False when it has ended."""

    async def freeze(self, container_id: str, *, frozen: bool) -> None:
        """Freeze or thaw all processes of the container."""

    async def resize(self, container_id: str, exec_id: str, height: int, width: int) -> None:
        """Set a terminal's size; `exec_id` "" is the first process."""

    async def delete(self, container_id: str) -> None:
        """Kill what is left; take down runtime state, cgroup, monitor and bundle, also execs."""

    async def remove_files(self, container_id: str) -> None:
        """Remove the durable output and exit files."""

    async def find(self, container_id: str) -> LiveProcess | None:
        """The process if it lives, also one that an earlier daemon made."""

    async def wait(self, container_id: str) -> ExitStatus:
        """Wait for the end of the process (also one that an earlier daemon made), then tell how it ended.

        Returns at once when it has ended; `known` is False when there is no trace of how.
        """

    async def update(self, container_id: str, resources: bytes) -> None:
        """Change the limits of a container that runs to OCI `linux.resources` in JSON; what is absent stays."""

    def measure(self, container_id: str) -> Usage | None:
        """What the container uses now; None when it doesn't run. Blocking."""

    async def reach_log(self, plan: LogPlan, subject: Subject) -> None:
        """See that a container's log target can be reached. Raises SystemFailure."""

    async def keep_log(self, container_id: str, plan: LogPlan, subject: Subject) -> None:
        """Rotate the durable output and hand it on, until the run has ended and all was handed on.

        Goes on where an earlier call, of an earlier daemon too, was cut off. One call at a time for a container.
        """

    async def exec(self, plan: ExecPlan) -> LiveProcess:
        """Run a process in the container. If `attached`, its streams go to who waits in `Streams.exec_session`.

        Raises StartError, with nothing left behind.
        """

    async def wait_exec(self, container_id: str, exec_id: str) -> ExitStatus:
        """Wait for the end of an exec, also one that an earlier daemon made."""

    async def find_exec(self, container_id: str, exec_id: str) -> LiveProcess | None:
        """The process of an exec if it lives, also one that an earlier daemon made."""

    async def list_execs(self, container_id: str) -> frozenset[str]:
        """Exec ids of which anything is on the host."""

    async def forget_exec(self, container_id: str, exec_id: str) -> None:
        """Remove what is left of an ended exec; its exit status must be in the log by now."""

    async def list(self) -> frozenset[str]:
        """Container ids of which anything (runtime state, bundle, monitor) is on the host."""

    def processes(self, container_id: str) -> tuple[int, ...]:
        """Host pids in the container's cgroup. Blocking."""


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which output to read. Times are wall-clock ns; 0 is no bound."""

    stdout: bool = True
    stderr: bool = True
    since_ns: int = 0
    until_ns: int = 0
    tail: int = -1  # lines from the end; -1: all
    timestamps: bool = False
    follow: bool = False
    framed: bool = True  # stdcopy frames (8-byte header), else raw
    by_line: bool = False  # a frame for each line, as far as the reader isn't far behind
    details: str | None = None  # what goes before each line


class Session(Protocol):
    """The streams of an attached exec."""

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """Chunks with their stream (1 or 2; with a terminal all is 1), until the process ends."""

    async def send(self, data: bytes) -> None:
        """Write to stdin; waits while the process doesn't read."""

    async def send_eof(self) -> None:
        """Close stdin."""

    async def aclose(self) -> None:
        """Leave; what the process still writes is drained and dropped."""


class Streams(Protocol):
    """Live data of processes; read by the API directly, bytes never travel on the bus."""

    def output(self, container_id: str, query: LogQuery) -> AsyncIterator[bytes]:
        """Bytes for the wire from the durable output; with `follow` until the present or next run has ended
        and all of it was read."""

    def output_position(self, container_id: str) -> int:
        """Where the durable output ends now: a number that grows with it and means something to `output_from` alone."""

    def output_from(self, container_id: str, position: int, query: LogQuery) -> AsyncIterator[bytes]:
        """Like `output` with `follow`, from a position (for attach); 0 is the beginning."""

    async def open_stdin(self, container_id: str) -> Session:
        """Connect to stdin of a live first process (`output` of this session is empty)."""

    async def exec_session(self, exec_id: str) -> Session:
        """Announce, before StartExec is sent, that the exec's streams are wanted; connected once it runs."""
