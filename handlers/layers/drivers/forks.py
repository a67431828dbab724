"""The programs for layers kept loaded (`fork_server.py`) from when they are needed until nothing was to be done for a
while: they take 11 MB. Started again when they have died."""

import itertools
import os
import sys
from contextlib import suppress
from subprocess import PIPE
from typing import Literal

import anyio
import anyio.abc
import msgspec
from anyio.lowlevel import RunVar
from anyio.streams.buffered import BufferedByteReceiveStream

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_ANSWER_LIMIT_BYTES = 4 * 1024 * 1024
_GIVE_UP_S = 60.0
_DIED = -9
IDLE_S = 10.0

Program = Literal["repack", "unpack"]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a fork ended, and what it said."""

    id: int
    code: int
    output: str = ""


class _Waiting:
    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.answer = Ended(id=0, code=_DIED)


class Forks:
    """Hands requests to the server. `tasks` owns it: it ends with them, and when it was idle for `idle_s`."""

    def __init__(self, tasks: anyio.abc.TaskGroup, *, idle_s: float = IDLE_S) -> None:
        self.tasks, self._idle_s = tasks, idle_s
        self._process: anyio.abc.Process | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._numbers = itertools.count(1)
        self._starting, self._saying = anyio.Lock(), anyio.Lock()

    async def run(self, program: Program, request: msgspec.Raw) -> Ended:
        """Have a request (JSON) carried out by a fork of a program. A cancelled caller ends the fork."""
        async with self._starting:
            if self._process is None:
                await self.tasks.start(self._serve)
        number, waiting = next(self._numbers), _Waiting()
        self._waiting[number] = waiting
        try:
            await self._say({"id": number, "program": program, "request": request})
            if self._process is None:  # it died before it could hear
                waiting.ended.set()
            await waiting.ended.wait()
        except BaseException:
            with anyio.move_on_after(_GIVE_UP_S, shield=True):
                await self._say({"id": number})
                await waiting.ended.wait()
            raise
        finally:
            self._waiting.pop(number, None)
        return waiting.answer

    async def _say(self, message: dict[str, object]) -> None:
        """What a dead server doesn't hear is answered by its end."""
        line = msgspec.json.encode(message) + b"\n"
        async with self._saying:
            if self._process is not None and self._process.stdin is not None:
                with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    await self._process.stdin.send(line)

    async def _serve(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        program = [sys.executable, "-I", "-m", "handlers.layers.drivers.fork_server", str(os.getpid())]
        process = await anyio.open_process(program, stdin=PIPE, stdout=PIPE, stderr=None, env=_ENVIRONMENT, cwd="/")
        self._process = process
        task_status.started()
        try:
            await self._hear(process)
        finally:
            self._process = None
            for waiting in self._waiting.values():
                waiting.ended.set()
            with anyio.CancelScope(shield=True):
                with suppress(ProcessLookupError):
                    process.kill()
                await process.aclose()

    async def _hear(self, process: anyio.abc.Process) -> None:
        if process.stdout is None:
            return
        stream = BufferedByteReceiveStream(process.stdout)
        with suppress(anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError):
            while (line := await self._line(stream)) is not None or self._waiting:
                if line is not None:
                    self._hand_out(msgspec.json.decode(line, type=Ended))

    async def _line(self, stream: BufferedByteReceiveStream) -> bytes | None:
        """The next; None when there was none for a while. What came of it by then comes the next time."""
        with anyio.move_on_after(self._idle_s):
            return await stream.receive_until(b"\n", _ANSWER_LIMIT_BYTES)
        return None

    def _hand_out(self, answer: Ended) -> None:
        waiting = self._waiting.get(answer.id)
        if waiting is not None:
            waiting.answer = answer
            waiting.ended.set()


_warm: RunVar[Forks] = RunVar("_warm")


def keep_warm(tasks: anyio.abc.TaskGroup, *, idle_s: float = IDLE_S) -> None:
    """From now on, in this event loop, have the programs loaded once and forked for each layer."""
    _warm.set(Forks(tasks, idle_s=idle_s))


def warm() -> Forks | None:
    """What keeps the programs loaded in this event loop."""
    return _warm.get(None)
