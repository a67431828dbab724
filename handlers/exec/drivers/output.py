"""Output of containers from the durable file: a client that is slow, or away, costs the container nothing."""

import os
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import anyio
import anyio.to_thread

from handlers.context import Clock
from handlers.exec import output
from handlers.exec.drivers import record
from handlers.exec.drivers.layout import Layout
from handlers.exec.drivers.record import Record
from handlers.exec.ports import LogQuery
from handlers.kernel.calls import KernelRefused
from handlers.kernel.inotify import FileWatch, FileWatches
from handlers.kernel.pidfd import ProcessHandle
from handlers.kernel.readiness import wait_any

BLOCK_BYTES = 256 * 1024
_TAIL_BLOCK_BYTES = 64 * 1024
_UNWATCHED_POLL_S = 0.1


class OutputFiles:
    """The reading half of `Streams` of handlers/exec/ports.py."""

    def __init__(self, layout: Layout, clock: Clock) -> None:
        self._files = layout
        self._time = clock
        self._beginnings: dict[str, anyio.Event] = {}
        self._watches = FileWatches()

    def run_begins(self, container_id: str) -> None:
        """Tell those who wait for a container's next run that its monitor is there."""
        beginning = self._beginnings.pop(container_id, None)
        if beginning is not None:
            beginning.set()

    def output(self, container_id: str, query: LogQuery) -> AsyncIterator[bytes]:
        """Bytes for the wire; with `follow` until the present or next run has ended and all of it was read."""
        path = self._files.output(container_id)
        follower = self._follower(container_id) if query.follow else None
        is_live = self._present(container_id) is not None
        return _read(path, query, None, follower, self._time, self._watches, is_live=is_live)

    def output_position(self, container_id: str) -> int:
        """Where the durable output ends now, in bytes."""
        try:
            return self._files.output(container_id).stat().st_size
        except FileNotFoundError:
            return 0

    def output_from(self, container_id: str, position: int, query: LogQuery) -> AsyncIterator[bytes]:
        """Like `output` with `follow`, from a byte position. Which run is meant is settled now, not when it is read."""
        path = self._files.output(container_id)
        return _read(path, query, position, self._follower(container_id), self._time, self._watches, is_live=False)

    def _present(self, container_id: str) -> Record | None:
        """The run whose monitor lives."""
        found = record.read(self._files.run(container_id))
        monitor = found.monitor() if found else None
        if monitor is None:
            return None
        monitor.close()
        return found

    def _follower(self, container_id: str) -> "_Follower":
        present = self._present(container_id)
        if present is not None:
            return _Follower(present, None, self._files.run(container_id))
        beginning = self._beginnings.setdefault(container_id, anyio.Event())
        return _Follower(None, beginning, self._files.run(container_id))


class _Follower:
    """The run that a reader follows."""

    def __init__(self, run: Record | None, beginning: anyio.Event | None, directory: Path) -> None:
        self._run, self._beginning, self._directory = run, beginning, directory

    async def monitor(self, timeout_s: float | None) -> ProcessHandle | None:
        """Wait until the run has begun; None when its monitor is gone already, or `timeout_s` is over."""
        if self._beginning is not None:
            with anyio.move_on_after(timeout_s):
                await self._beginning.wait()
            self._run = record.read(self._directory)
        return self._run.monitor() if self._run else None


async def _read(
    path: Path,
    query: LogQuery,
    position: int | None,
    follower: _Follower | None,
    clock: Clock,
    watches: FileWatches,
    *,
    is_live: bool,
) -> AsyncIterator[bytes]:
    parser = output.Parser(query)
    with ExitStack() as resources:
        monitor = None
        if follower is not None:
            monitor = await follower.monitor(_seconds_left(query, clock))
            if monitor is not None:
                resources.enter_context(monitor)
        descriptor = await anyio.to_thread.run_sync(_open, path)
        if descriptor is None:
            return
        resources.callback(os.close, descriptor)
        watch = _watch(watches, path, resources) if monitor is not None else None
        place = await anyio.to_thread.run_sync(_start, descriptor, query, position)
        while not parser.finished:
            if watch is not None:
                watch.drain()
            size, data = await anyio.to_thread.run_sync(_block, descriptor, place, parser, query)
            place += size
            if data:
                yield data
            if size:
                continue
            if monitor is None:
                break
            monitor = await _until_more(watch, monitor, _seconds_left(query, clock))
            if _seconds_left(query, clock) == 0:
                return
        if not parser.finished and not is_live:
            rest = output.encode(parser.finish(), framed=query.framed)
            if rest:
                yield rest


async def _until_more(watch: FileWatch | None, monitor: ProcessHandle, left_s: float | None) -> ProcessHandle | None:
    """Wait for output, or for the end of the run: then None, and what was written last is still to be read."""
    if watch is None:
        patience_s = _UNWATCHED_POLL_S if left_s is None else min(left_s, _UNWATCHED_POLL_S)
        ready = await wait_any((monitor.fileno(),), patience_s)
    else:
        ready = await wait_any((monitor.fileno(), watch.fileno()), left_s)
    return None if monitor.fileno() in ready else monitor


def _watch(watches: FileWatches, path: Path, resources: ExitStack) -> FileWatch | None:
    """None where the host has no inotify instance left: then it is looked at ten times a second."""
    try:
        return resources.enter_context(watches.watch(path))
    except KernelRefused:
        return None


def _seconds_left(query: LogQuery, clock: Clock) -> float | None:
    if not query.until_ns:
        return None
    return max(0, query.until_ns - clock.now_ns()) / 1e9


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _block(descriptor: int, place: int, parser: output.Parser, query: LogQuery) -> tuple[int, bytes]:
    data = os.pread(descriptor, BLOCK_BYTES, place)
    return len(data), output.encode(parser.feed(data), framed=query.framed)


def _start(descriptor: int, query: LogQuery, position: int | None) -> int:
    if position is not None:
        return position
    return 0 if query.tail < 0 else tail_position(descriptor, query.tail)


def tail_position(descriptor: int, lines: int) -> int:
    """Where the last `lines` lines of output begin; read from the end, block by block."""
    place = end = os.fstat(descriptor).st_size
    head = b""
    missing = lines
    last = True
    while place > 0:
        step = min(_TAIL_BLOCK_BYTES, place)
        place -= step
        pieces = (os.pread(descriptor, step, place) + head).split(b"\n")
        head = pieces[0]
        for piece in reversed(pieces[1:] if place else pieces):
            # a line of output is counted at its end; an end that isn't there yet counts at the last piece
            if output.ends_line(piece) or (last and output.ends_line(piece) is False):
                if missing == 0:
                    return end + 1
                missing -= 1
            last = last and output.ends_line(piece) is None
            end -= len(piece) + 1
    return 0
