"""Starts the unpacking program and reads its answer; without it the drivers would parse archives themselves."""

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Literal

import anyio
import msgspec

from events.envelope import Failure
from events.errors import KINDS, DeadlineExceeded, EngineError, SystemFailure
from handlers.layers.drivers.forks import warm
from handlers.layers.ports import Below, Unpacked, complete

LIMIT_S = 3600.0
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_TAIL_BYTES = 2000

# How deletions are kept: as overlayfs marks, as aufs marks, or not at all: they are carried out in a copied tree.
Marks = Literal["overlay", "aufs", "none"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What to unpack and where to."""

    path: str
    offset: int
    length: int
    directory: str
    lineage: tuple[str, ...]
    marks: Marks
    skeleton: str  # where what isn't in the files is to be kept; a new file
    syncs: bool = True  # whether it is on disk at the end
    gate: str = ""  # a pipe: its end tells that the layers below are complete; "" when they are
    parent_pid: int


class UnpackerDied(SystemFailure):
    """The unpacking process ended without an answer."""

    def __init__(self, code: int, output: bytes) -> None:
        self.code = code
        tail = output[-_TAIL_BYTES:].decode(errors="replace").strip()
        super().__init__(f"the unpacking process ended with {code}: {tail}")


async def unpack(
    path: str,
    offset: int,
    length: int,
    *,
    directory: Path,
    skeleton: Path,
    lineage: Sequence[Path] = (),
    marks: Marks,
    syncs: bool = True,
    below: Below = complete,
) -> Unpacked:
    """Fill a directory from a file (absolute path). A cancelled caller ends the process.

    `skeleton` is a file to be made (see `skeletons.py`). With `syncs` all is on disk when this returns. `lineage` isn't
    looked into before `below` has returned.

    Raises InvalidParameter for the archive's faults, SystemFailure for the host's, DeadlineExceeded, and what `below`
    raises.
    """

    async def run(gate: str) -> Unpacked:
        request = Request(
            path=path,
            offset=offset,
            length=length,
            directory=str(directory),
            lineage=tuple(map(str, lineage)),
            marks=marks,
            skeleton=str(skeleton),
            syncs=syncs,
            gate=gate,
            parent_pid=os.getpid(),
        )
        return await _carry_out(request)

    return await run("") if below is complete else await _gated(run, below)


async def _gated(run: Callable[[str], Awaitable[Unpacked]], below: Below) -> Unpacked:
    """Run with a pipe that ends when `below` has returned; the program opens it by our own descriptor."""
    reader, writer = (os.fdopen(descriptor, mode, 0) for descriptor, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    results: list[Unpacked] = []
    failures: list[EngineError] = []

    async def open_gate() -> None:
        try:
            await below()
            writer.close()
        except EngineError as error:
            failures.append(error)
            tasks.cancel_scope.cancel("the layers below failed")

    with reader, writer:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_gate)
            try:
                results.append(await run(f"/proc/{os.getpid()}/fd/{reader.fileno()}"))
            except EngineError as error:
                failures.insert(0, error)
            tasks.cancel_scope.cancel("the program has ended")
    if failures:
        raise failures[0]
    return results[0]


async def _carry_out(request: Request) -> Unpacked:
    try:
        with anyio.fail_after(LIMIT_S):
            return _answer(*await _run(msgspec.json.encode(request)))
    except TimeoutError as error:
        raise DeadlineExceeded(f"unpacking {request.path} took longer than {LIMIT_S:.0f} s") from error


async def _run(request: bytes) -> tuple[int, bytes, bytes]:
    """Exit status, the answer, and what was said besides."""
    forks = warm()
    if forks is not None:
        ended = await forks.run("unpack", msgspec.Raw(request))
        return ended.code, ended.output.encode(), b""
    program = [sys.executable, "-I", "-m", "handlers.layers.drivers.unpack"]
    process = await anyio.run_process(program, input=request, check=False, env=_ENVIRONMENT, cwd="/")
    return process.returncode, process.stdout, process.stderr


def _answer(code: int, output: bytes, said: bytes) -> Unpacked:
    try:
        answer = msgspec.json.decode(output, type=dict[str, str | int])
    except msgspec.DecodeError as error:
        raise UnpackerDied(code, said) from error
    if "kind" in answer:
        failure = msgspec.convert(answer, Failure)
        raise KINDS[failure.kind](failure.message)
    return msgspec.convert(answer, Unpacked)
