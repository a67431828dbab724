"""Processes that exist in memory only: handlers and the API can be tested without conmon, cgroups and root.

Programs are a few words of shell that both this and a real busybox understand: `true`, `false`, `exit N`, `echo WORDS`,
`echo WORDS >&2`, `cat` (which ends with its input), `sleep N` (which ends by a signal alone).
"""

import itertools
import json
import shlex
from collections.abc import AsyncIterator, Callable

import anyio
import anyio.lowlevel

from events.errors import SystemFailure
from handlers.exec.drivers import refusals
from handlers.exec.log_options import LogPlan, Subject
from handlers.exec.output import Chunk, encode
from handlers.exec.ports import (
    STDERR,
    STDOUT,
    ExecPlan,
    ExitStatus,
    LiveProcess,
    LogQuery,
    ProcessOutline,
    ProcessPlan,
    Session,
    StartError,
)
from handlers.exec.usage import BlockIO, Cpu, Memory, Usage

PROGRAMS = frozenset({"sh", "true", "false", "echo", "cat", "sleep"})
UNKNOWN = 255


class Process:
    """A process that hasn't run, runs, or has ended."""

    def __init__(self, pid: int, arguments: list[str], *, terminal: bool, run: int = 0) -> None:
        self.pid, self.run, self.terminal = pid, run, terminal
        self.size = (0, 0)
        self.started = self.frozen = False
        self.chunks: list[Chunk] = []
        self.status: ExitStatus | None = None
        self.changed = anyio.Event()
        self._words = _words(arguments)

    def start(self) -> None:
        """Run up to the first word that waits for something."""
        self.started = True
        self.go_on()

    def go_on(self) -> None:
        """Run what can be run."""
        while self.started and self.status is None and self._words and self._step(*self._words[0]):
            self._words.pop(0)
        if self.started and self.status is None and not self._words:
            self.end(0)

    def _step(self, word: str, *rest: str) -> bool:
        match word:
            case "exit":
                self.end(int(rest[0]) % 256)
            case "false":
                self.end(1)
            case "echo":
                self._echo(list(rest))
            case "sleep" | "cat":
                return False
            case _:
                pass
        return True

    def _echo(self, words: list[str]) -> None:
        stream = STDERR if words[-1:] == [">&2"] and not self.terminal else STDOUT
        newline = "\r\n" if self.terminal else "\n"
        self.write(stream, (" ".join(word for word in words if word != ">&2") + newline).encode())

    def write(self, stream: int, data: bytes) -> None:
        """Output."""
        self.chunks.append((stream, data))
        self._wake()

    def feed(self, data: bytes) -> None:
        """Input: `cat` writes it back."""
        if self._words and self._words[0][0] == "cat":
            self.write(STDOUT, data)

    def close_input(self) -> None:
        """The end of the input."""
        if self._words and self._words[0][0] == "cat":
            self._words.pop(0)
            self.go_on()

    def end(self, code: int) -> None:
        """The process is over."""
        if self.status is None:
            self.status = ExitStatus(exit_code=code, oom_killed=False, finished_at_ns=1, run=self.run)
            self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()

    async def ended(self) -> ExitStatus:
        """Wait for the end."""
        while self.status is None:
            await self.changed.wait()
        return self.status


def _words(arguments: list[str]) -> list[list[str]]:
    name = arguments[0].rpartition("/")[2]
    if name != "sh":
        return [[name, *arguments[1:]]]
    return [shlex.split(part) for part in arguments[2].split(";") if part.strip()]


class MemorySession:
    """A session with a process of this fake."""

    def __init__(self, process: Process | None = None, *, closable: bool = True, reads: bool = True) -> None:
        self._process, self._closable, self._reads = process, closable, reads
        self._settled = anyio.Event()
        self._open = True

    def settle(self, process: Process | None) -> None:
        """The process is there, or never will be."""
        self._process = process
        self._settled.set()

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """What it writes."""
        await self._settled.wait()
        place = 0
        while self._open and self._reads and self._process is not None:
            for chunk in self._process.chunks[place:]:
                place += 1
                yield chunk
            if self._process.status is not None and place == len(self._process.chunks):
                return
            await self._process.changed.wait()

    async def send(self, data: bytes) -> None:
        """Input."""
        await self._settled.wait()
        if self._process is not None:
            self._process.feed(data)

    async def send_eof(self) -> None:
        """The end of the input, where it can be told."""
        await self._settled.wait()
        if self._process is not None and (self._closable or self._process.terminal):
            self._process.close_input()

    async def aclose(self) -> None:
        """Leave."""
        self._open = False
        self._settled.set()


class Disk:
    """What outlives a daemon."""

    def __init__(self) -> None:
        self.plans: dict[str, ProcessPlan] = {}
        self.runs: dict[str, Process] = {}
        self.execs: dict[str, dict[str, Process]] = {}
        self.outputs: dict[str, list[Chunk]] = {}
        self.exits: dict[str, ExitStatus] = {}
        self.pids = itertools.count(100_000)


class MemoryRuntime:
    """`Runtime` and `Streams` of handlers/exec/ports.py. Two objects on one `Disk` are one daemon after another."""

    def __init__(self, disk: Disk | None = None) -> None:
        self.disk = disk or Disk()
        self.signals: list[tuple[str, int]] = []
        self.updates: list[tuple[str, bytes]] = []
        self._sessions: dict[str, MemorySession] = {}
        self._beginnings: dict[str, anyio.Event] = {}

    async def prepare(self, outline: ProcessOutline) -> None:
        """See Runtime."""
        await self.delete(outline.container_id)

    async def create(self, plan: ProcessPlan) -> LiveProcess:
        """See Runtime."""
        await self.delete(plan.container_id)
        arguments, terminal = json.loads(plan.specification)["process"]["args"], plan.terminal
        _check(arguments, refusals.of_create)
        process = Process(next(self.disk.pids), arguments, terminal=terminal, run=plan.run)
        self.disk.exits.pop(plan.container_id, None)
        self.disk.runs[plan.container_id], self.disk.plans[plan.container_id] = process, plan
        process.chunks = self.disk.outputs.setdefault(plan.container_id, [])
        self._begin(plan.container_id)
        return LiveProcess(pid=process.pid, monitor_pid=process.pid - 1, started=False)

    async def understands(self, runtime: str, mount_option: str) -> bool:
        """See Runtime."""
        return runtime.endswith("runc") and mount_option in ("ro", "rro")

    def shared_memory(self, container_id: str) -> str:
        """See Runtime."""
        return f"/memory/{container_id}/shm"

    async def start(self, container_id: str) -> None:
        """See Runtime."""
        process = self._live(container_id)
        if process is None:
            raise SystemFailure(f"cannot start container {container_id}: its process has ended")
        process.start()

    async def signal(self, container_id: str, signal: int) -> bool:
        """See Runtime. Every signal but 0 and SIGWINCH ends a process."""
        process = self._live(container_id)
        if process is None:
            return False
        self.signals.append((container_id, signal))
        if signal not in (0, 28):
            self._end(container_id, 128 + signal)
        return True

    async def freeze(self, container_id: str, *, frozen: bool) -> None:
        """See Runtime."""
        process = self._live(container_id)
        if process is None:
            raise SystemFailure(f"container {container_id} has no process")
        process.frozen = frozen

    async def resize(self, container_id: str, exec_id: str, height: int, width: int) -> None:
        """See Runtime."""
        process = self.disk.execs.get(container_id, {}).get(exec_id) if exec_id else self._live(container_id)
        if process is None:
            raise SystemFailure("resize the terminal: no such file or directory")
        process.size = (height, width)

    async def delete(self, container_id: str) -> None:
        """See Runtime."""
        self._end(container_id, 137)
        await anyio.lowlevel.checkpoint()  # those who wait get their status first
        self.disk.runs.pop(container_id, None)
        self.disk.execs.pop(container_id, None)

    async def remove_files(self, container_id: str) -> None:
        """See Runtime."""
        self._begin(container_id)
        self.disk.outputs.pop(container_id, None)
        self.disk.exits.pop(container_id, None)

    async def find(self, container_id: str) -> LiveProcess | None:
        """See Runtime."""
        process = self._live(container_id)
        if process is None:
            return None
        return LiveProcess(pid=process.pid, monitor_pid=process.pid - 1, started=process.started, frozen=process.frozen)

    async def wait(self, container_id: str) -> ExitStatus:
        """See Runtime."""
        process = self.disk.runs.get(container_id)
        if process is not None:
            self.disk.exits[container_id] = await process.ended()
        return self.disk.exits.get(container_id) or _unknown()

    async def update(self, container_id: str, resources: bytes) -> None:
        """See Runtime."""
        if self._live(container_id) is None:
            raise SystemFailure(f"container {container_id} has no process")
        self.updates.append((container_id, resources))

    def measure(self, container_id: str) -> Usage | None:
        """See Runtime: nothing is used here."""
        if self._live(container_id) is None:
            return None
        block = BlockIO()
        return Usage(read_ns=1, cpu=Cpu(), memory=Memory(), block=block, pids=1, pids_limit=0, interfaces={})

    async def reach_log(self, plan: LogPlan, subject: Subject) -> None:
        """See Runtime: everything can be reached."""

    async def keep_log(self, container_id: str, plan: LogPlan, subject: Subject) -> None:
        """See Runtime: nothing is rotated or handed on."""
        await self.wait(container_id)

    async def exec(self, plan: ExecPlan) -> LiveProcess:
        """See Runtime."""
        session = self._sessions.get(plan.exec_id) if plan.attached else None
        try:
            self._check_live(plan.container_id)
            arguments = json.loads(plan.process)["args"]
            _check(arguments, refusals.of_exec)
        except BaseException:
            if session is not None:
                session.settle(None)
            raise
        process = Process(next(self.disk.pids), arguments, terminal=plan.terminal)
        self.disk.execs.setdefault(plan.container_id, {})[plan.exec_id] = process
        if session is not None:
            session.settle(process)
        process.start()
        if not plan.stdin:
            process.close_input()
        return LiveProcess(pid=process.pid, monitor_pid=process.pid - 1)

    async def wait_exec(self, container_id: str, exec_id: str) -> ExitStatus:
        """See Runtime."""
        process = self.disk.execs.get(container_id, {}).get(exec_id)
        return await process.ended() if process is not None else _unknown()

    async def find_exec(self, container_id: str, exec_id: str) -> LiveProcess | None:
        """See Runtime."""
        process = self.disk.execs.get(container_id, {}).get(exec_id)
        if process is None or process.status is not None:
            return None
        return LiveProcess(pid=process.pid, monitor_pid=process.pid - 1)

    async def list_execs(self, container_id: str) -> frozenset[str]:
        """See Runtime."""
        return frozenset(self.disk.execs.get(container_id, ()))

    async def forget_exec(self, container_id: str, exec_id: str) -> None:
        """See Runtime."""
        self._sessions.pop(exec_id, None)
        process = self.disk.execs.get(container_id, {}).pop(exec_id, None)
        if process is not None:
            process.end(137)

    async def list(self) -> frozenset[str]:
        """See Runtime."""
        return frozenset(self.disk.runs)

    def processes(self, container_id: str) -> tuple[int, ...]:
        """See Runtime."""
        process = self._live(container_id)
        execs = self.disk.execs.get(container_id, {}).values()
        live = [*([process] if process else []), *(each for each in execs if each.status is None)]
        return tuple(each.pid for each in live)

    def output(self, container_id: str, query: LogQuery) -> AsyncIterator[bytes]:
        """See Streams. Times aren't kept: `since`, `until` and `timestamps` mean nothing here."""
        chunks = self.disk.outputs.get(container_id, [])
        start = 0 if query.tail < 0 else max(0, len(chunks) - query.tail)
        if not query.follow:
            return _chosen(list(chunks[start:]), query)
        return self._followed(container_id, start, query, self._beginning(container_id))

    def output_position(self, container_id: str) -> int:
        """See Streams; counted in chunks."""
        return len(self.disk.outputs.get(container_id, []))

    def output_from(self, container_id: str, position: int, query: LogQuery) -> AsyncIterator[bytes]:
        """See Streams."""
        return self._followed(container_id, position, query, self._beginning(container_id))

    async def open_stdin(self, container_id: str) -> Session:
        """See Streams."""
        process = self._live(container_id)
        if process is None:
            raise SystemFailure("cannot attach to the process: No such file or directory")
        session = MemorySession(closable=self.disk.plans[container_id].stdin_once, reads=False)
        session.settle(process)
        return session

    async def exec_session(self, exec_id: str) -> Session:
        """See Streams."""
        session = self._sessions[exec_id] = MemorySession()
        return session

    def _beginning(self, container_id: str) -> anyio.Event | None:
        if self._live(container_id) is not None:
            return None
        return self._beginnings.setdefault(container_id, anyio.Event())

    async def _followed(
        self, container_id: str, place: int, query: LogQuery, beginning: anyio.Event | None
    ) -> AsyncIterator[bytes]:
        if beginning is not None:
            await beginning.wait()
        process = self.disk.runs.get(container_id)
        while True:
            over = process is None or process.status is not None
            fresh = self.disk.outputs.get(container_id, [])[place:]
            place += len(fresh)
            async for data in _chosen(fresh, query):
                yield data
            if process is None or over:
                return
            if place == len(self.disk.outputs.get(container_id, [])) and process.status is None:
                await process.changed.wait()

    def _begin(self, container_id: str) -> None:
        beginning = self._beginnings.pop(container_id, None)
        if beginning is not None:
            beginning.set()

    def _check_live(self, container_id: str) -> None:
        if self._live(container_id) is None:
            raise SystemFailure(f"container {container_id} is not running")

    def _live(self, container_id: str) -> Process | None:
        process = self.disk.runs.get(container_id)
        return process if process is not None and process.status is None else None

    def _end(self, container_id: str, code: int) -> None:
        process = self._live(container_id)
        if process is not None:
            process.end(code)
            if process.status is not None:
                self.disk.exits[container_id] = process.status
        for each in self.disk.execs.get(container_id, {}).values():
            each.end(137)


async def _chosen(chunks: list[Chunk], query: LogQuery) -> AsyncIterator[bytes]:
    wanted = {STDOUT: query.stdout, STDERR: query.stderr}
    for stream, data in chunks:
        if wanted[stream]:
            yield encode([(stream, data)], framed=query.framed)


def _check(arguments: list[str], error: Callable[[str], StartError]) -> None:
    name = arguments[0]
    if name == "/etc":
        raise error(f'unable to start container process: exec: "{name}": permission denied')
    if name.rpartition("/")[2] in PROGRAMS:
        return
    reason = f"stat {name}: no such file or directory" if "/" in name else "executable file not found in $PATH"
    raise error(f'unable to start container process: exec: "{name}": {reason}')


def _unknown() -> ExitStatus:
    return ExitStatus(exit_code=UNKNOWN, oom_killed=False, finished_at_ns=1, known=False)
