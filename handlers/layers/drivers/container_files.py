"""Starts the program that looks into a container's files, and passes on what it says."""

import fcntl
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import anyio
import anyio.abc
import msgspec

from events.errors import KINDS, DeadlineExceeded, SystemFailure
from events.messages.layer import ArchivedChanges, ViewMount
from handlers.kernel.calls import attempt
from handlers.kernel.processes import memory_file
from handlers.layers.decide import container_cache_id
from handlers.layers.drivers.files import Request
from handlers.layers.drivers.pipe_blocks import BLOCK_BYTES, read_block
from handlers.layers.ports import Change, Chunks, Copying, Extraction, PathStat, Subject, Tree

LOGGER = logging.getLogger(__name__)
Answer = TypeVar("Answer")
ANSWER_LIMIT_S = 60.0  # until a tar begins
LIMIT_S = 3600.0  # for everything else: archives and trees of any size
_END_LIMIT_S = 10.0
_NAME_FILES = ("hostname", "hosts", "resolv.conf")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_TAIL_BYTES = 2000


class HelperDied(SystemFailure):
    """The program ended without an answer."""

    def __init__(self, code: int | None, said: bytes) -> None:
        self.code = code
        tail = said[-_TAIL_BYTES:].decode(errors="replace").strip()
        super().__init__(f"the process that looks into the container ended with {code}: {tail}")


class Trees(Protocol):
    """What is needed of a graph driver here."""

    async def tree(self, cache_id: str, lineage: Sequence[str]) -> Tree:
        """See `GraphDriver.tree`."""


class HelperFiles:
    """Files of containers, by one process for each look (see `ContainerFiles`)."""

    def __init__(self, graph: Trees, name_files: Path) -> None:
        """`name_files` is the directory with each container's hosts, hostname and resolv.conf."""
        self._graph, self._name_files = graph, name_files

    async def stat(self, subject: Subject, path: str) -> PathStat:
        """See `ContainerFiles.stat`."""
        return await self._ask(await self._request("stat", subject, path=path), PathStat)

    async def archive(self, subject: Subject, path: str) -> tuple[PathStat, Chunks]:
        """See `ContainerFiles.archive`."""
        answer, chunks = await self._stream(await self._request("archive", subject, path=path))
        return msgspec.convert(answer, PathStat), chunks

    async def extract(self, subject: Subject, extraction: Extraction) -> None:
        """See `ContainerFiles.extract`."""
        await self._ask(await self._request("extract", subject, extraction=extraction), dict)

    async def export(self, subject: Subject) -> Chunks:
        """See `ContainerFiles.export`."""
        _, chunks = await self._stream(await self._request("export", subject))
        return chunks

    async def archive_changes(self, subject: Subject, path: str) -> ArchivedChanges:
        """See `ContainerFiles.archive_changes`."""
        return await self._ask(await self._request("archive_changes", subject, path=path), ArchivedChanges)

    async def copy(self, subject: Subject, copying: Copying) -> None:
        """See `ContainerFiles.copy`."""
        await self._ask(await self._request("copy", subject, copying=copying), dict)

    async def collect(self, subject: Subject, path: str, target: str) -> str:
        """See `ContainerFiles.collect`."""
        answer = await self._ask(await self._request("collect", subject, path=path, target=target), dict)
        return str(answer["path"])

    async def changes(self, subject: Subject) -> tuple[Change, ...]:
        """See `ContainerFiles.changes`."""
        found = await self._ask(await self._request("changes", subject), list[tuple[str, int]])
        return tuple(Change(path, kind) for path, kind in found)

    async def _request(
        self,
        what: str,
        subject: Subject,
        *,
        path: str = "",
        target: str = "",
        extraction: Extraction | None = None,
        copying: Copying | None = None,
    ) -> Request:
        return Request(
            what=what,
            tree=await self._graph.tree(container_cache_id(subject.container_id), subject.lineage),
            subject=self._with_name_files(subject),
            path=path,
            target=target,
            extraction=extraction,
            copying=copying,
            parent_pid=os.getpid(),
        )

    def _with_name_files(self, subject: Subject) -> Subject:
        """What the engine mounts into every container, unless it was given something else there."""
        taken = {mount.destination for mount in subject.mounts}
        own = tuple(
            ViewMount(
                source=str(self._name_files / subject.container_id / name),
                destination=f"/etc/{name}",
                writable=subject.writable,
                optional=True,
            )
            for name in _NAME_FILES
            if f"/etc/{name}" not in taken
        )
        return msgspec.structs.replace(subject, mounts=subject.mounts + own)

    async def _ask(self, request: Request, kind: type[Answer]) -> Answer:
        """The answer of a program that says nothing else. A cancelled caller ends it."""
        helper = await _Helper.start(request)
        try:
            with anyio.fail_after(LIMIT_S):
                return msgspec.convert(await helper.answer(), kind)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{request.what}: not done within {LIMIT_S:.0f} s") from error
        finally:
            await helper.aclose()

    async def _stream(self, request: Request) -> tuple[Any, Chunks]:
        """The answer, and what follows it; whoever takes that closes it."""
        helper = await _Helper.start(request)
        try:
            with anyio.fail_after(ANSWER_LIMIT_S):
                return await helper.answer(), helper
        except BaseException as error:
            await helper.aclose()
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(f"{request.what}: no answer within {ANSWER_LIMIT_S:.0f} s") from error
            raise


class _Helper:
    """One run of the program: its answer, then what follows it, by blocks. Ends with these, or by `aclose`."""

    def __init__(self, process: anyio.abc.Process, output: int, errors: FileIO) -> None:
        self._process, self._output, self._errors = process, output, errors
        self._head = b""  # what came with the answer

    @classmethod
    async def start(cls, request: Request) -> Self:
        """From the event loop's own thread: the program is to die with the engine, not with a worker thread."""
        program = [sys.executable, "-I", "-m", "handlers.layers.drivers.files"]
        errors = memory_file("errors")
        with memory_file("request") as source, attempt("start a process that looks into the container"):
            source.write(msgspec.json.encode(request))
            source.seek(0)
            output, sink = os.pipe2(os.O_CLOEXEC)
            try:
                with suppress(OSError):  # more than the limit for users is root's alone, and only speed
                    fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, BLOCK_BYTES)
                os.set_blocking(output, False)
                process = await anyio.open_process(
                    program, stdin=source, stdout=sink, stderr=errors, env=_ENVIRONMENT, cwd="/"
                )
            except BaseException:
                os.close(output)
                errors.close()
                raise
            finally:
                os.close(sink)
        return cls(process, output, errors)

    async def answer(self) -> Any:  # noqa: ANN401 - JSON
        """The program's first line. Raises what it says, or HelperDied."""
        said: list[bytes] = []
        while not said or b"\n" not in said[-1]:
            block = await read_block(self._output)
            if not block:
                raise await self._death()
            said.append(block)
        line, _, self._head = b"".join(said).partition(b"\n")
        answer = msgspec.json.decode(line)
        if isinstance(answer, dict) and "kind" in answer:
            raise KINDS[answer["kind"]](answer["message"])
        return answer

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Raises StopAsyncIteration after the last block, HelperDied where it isn't the end."""
        if self._head:
            head, self._head = self._head, b""
            return head
        block = await read_block(self._output)
        if block:
            return block
        death = await self._death() if await self._process.wait() != 0 else None
        await self.aclose()
        raise death or StopAsyncIteration

    async def aclose(self) -> None:
        """End the program, whatever it does."""
        with anyio.move_on_after(_END_LIMIT_S, shield=True):
            if self._process.returncode is None:
                with suppress(ProcessLookupError):
                    self._process.kill()
            await self._process.wait()
        if self._output >= 0:
            os.close(self._output)
            self._output = -1
        self._errors.close()

    async def _death(self) -> HelperDied:
        with anyio.move_on_after(_END_LIMIT_S):
            await self._process.wait()
        self._errors.seek(0)
        return HelperDied(self._process.returncode, self._errors.read() or b"")
