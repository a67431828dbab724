"""Output of containers from the durable file: a client that is slow, or away, costs the container nothing."""

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path

import anyio
import anyio.to_thread

from handlers.context import Clock
from handlers.exec import output
from handlers.exec.drivers import record
from handlers.exec.drivers.generations import Generations, Place
from handlers.exec.drivers.layout import Layout
from handlers.exec.drivers.record import Record
from handlers.exec.ports import LogQuery
from handlers.kernel.calls import KernelRefused
from handlers.kernel.inotify import FileWatch, FileWatches
from handlers.kernel.pidfd import ProcessHandle
from handlers.kernel.readiness import wait_any
from handlers.turns import Turns

BLOCK_BYTES = 256 * 1024
BREATH_S = 0.005  # who writes all the time is looked at no more often
_TAIL_BLOCK_BYTES = 64 * 1024
_UNWATCHED_POLL_S = 0.1
_TURN_LIMIT_S = 600.0  # gigabytes of output take a while to be compressed
_NOBODY = 1 << 62


class OutputFiles:
    """The reading half of `Streams` of handlers/exec/ports.py."""

    def __init__(self, layout: Layout, clock: Clock) -> None:
        self._files = layout
        self._time = clock
        self._beginnings: dict[str, anyio.Event] = {}
        self._watches = FileWatches()
        self._turns = Turns(_TURN_LIMIT_S)
        self._reading: dict[str, dict[Reader, int]] = {}  # container id -> number of the file that each reader is at

    def run_begins(self, container_id: str) -> None:
        """Tell those who wait for a container's next run that its monitor is there."""
        beginning = self._beginnings.pop(container_id, None)
        if beginning is not None:
            beginning.set()

    def output(self, container_id: str, query: LogQuery) -> AsyncIterator[bytes]:
        """Bytes for the wire; with `follow` until the present or next run has ended and all of it was read."""
        follower = self._follower(container_id) if query.follow else None
        return self._read(container_id, query, None, follower, is_live=self._present(container_id) is not None)

    def output_position(self, container_id: str) -> int:
        """Where the durable output ends now; it grows with the output."""
        return self.generations(container_id).end().packed()

    def output_from(self, container_id: str, position: int, query: LogQuery) -> AsyncIterator[bytes]:
        """Like `output` with `follow`, from a position. Which run is meant is settled now, not when it is read."""
        place = Place.unpacked(position) if position else Place(0)
        return self._read(container_id, query, place, self._follower(container_id), is_live=False)

    def generations(self, container_id: str) -> Generations:
        """The files of a container's output."""
        return Generations(self._files.output(container_id))

    def monitor(self, container_id: str) -> ProcessHandle | None:
        """The conmon of the present run, if it lives."""
        found = record.read(self._files.run(container_id))
        return found.monitor() if found else None

    def turn(self, container_id: str) -> AbstractAsyncContextManager[None]:
        """While entered nobody else removes files of a container's output, or compresses them. Raises Busy."""
        return self._turns.of(container_id)

    def control(self, container_id: str) -> Path:
        """Where that conmon takes orders."""
        return self._files.run(container_id) / "ctl"

    def needed(self, container_id: str) -> int:
        """The number of the oldest file that somebody still reads; larger than any when nobody does."""
        return min(self._reading.get(container_id, {}).values(), default=_NOBODY)

    async def _read(
        self, container_id: str, query: LogQuery, place: Place | None, follower: "_Follower | None", *, is_live: bool
    ) -> AsyncIterator[bytes]:
        parser = output.Parser(query)
        with ExitStack() as resources:
            monitor = None
            if follower is not None:
                monitor = await follower.monitor(_seconds_left(query, self._time))
                if monitor is not None:
                    resources.enter_context(monitor)
            reader = Reader(self.generations(container_id))
            resources.callback(reader.close)
            if not await anyio.to_thread.run_sync(reader.begin, query.tail, place):
                return
            numbers = self._reading.setdefault(container_id, {})
            numbers[reader] = reader.number
            resources.callback(self._leave, container_id, reader)
            watch = self.watch(container_id, resources) if monitor is not None else None
            while not parser.finished:
                if watch is not None:
                    watch.drain()
                size, data = await anyio.to_thread.run_sync(_block, reader, parser, query)
                numbers[reader] = reader.number
                if data:
                    yield data
                if size and (size == BLOCK_BYTES or monitor is None):
                    continue
                if monitor is None:
                    break
                if size:
                    monitor = await _ended_within(BREATH_S, monitor)
                    continue
                monitor = await _until_more(watch, monitor, _seconds_left(query, self._time))
                if _seconds_left(query, self._time) == 0:
                    return
            if not parser.finished and not is_live:
                rest = output.encode(parser.finish(), framed=query.framed)
                if rest:
                    yield rest

    def _leave(self, container_id: str, reader: "Reader") -> None:
        numbers = self._reading.get(container_id, {})
        numbers.pop(reader, None)
        if not numbers:
            self._reading.pop(container_id, None)

    def watch(self, container_id: str, resources: ExitStack) -> FileWatch | None:
        """None where the host has no inotify instance left: then it is looked at ten times a second."""
        try:
            return resources.enter_context(self._watches.watch(self._files.output(container_id).parent))
        except KernelRefused:
            return None

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


async def _until_more(watch: FileWatch | None, monitor: ProcessHandle, left_s: float | None) -> ProcessHandle | None:
    """Wait for output, or for the end of the run: then None, and what was written last is still to be read."""
    if watch is None:
        patience_s = _UNWATCHED_POLL_S if left_s is None else min(left_s, _UNWATCHED_POLL_S)
        return await _ended_within(patience_s, monitor)
    ready = await wait_any((monitor.fileno(), watch.fileno()), left_s)
    return None if monitor.fileno() in ready else monitor


async def _ended_within(patience_s: float, monitor: ProcessHandle) -> ProcessHandle | None:
    """None when the run has ended, at once."""
    return None if await wait_any((monitor.fileno(),), patience_s) else monitor


def _seconds_left(query: LogQuery, clock: Clock) -> float | None:
    if not query.until_ns:
        return None
    return max(0, query.until_ns - clock.now_ns()) / 1e9


def _block(reader: "Reader", parser: output.Parser, query: LogQuery) -> tuple[int, bytes]:
    """Who reads much at once gets it in large pieces; who asks for lines and reads little gets a piece for each."""
    data = reader.more()
    by_line = query.by_line and len(data) < BLOCK_BYTES
    return len(data), output.encode(parser.feed(data, by_line=by_line), framed=query.framed)


class Reader:
    """Reads the files of an output one after another. Blocking."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations
        self._descriptor = -1
        self.number = 0
        self.offset = 0

    def begin(self, tail: int, place: Place | None) -> bool:
        """Go to a place or, without one, to the last `tail` lines (-1: the beginning). False without any output."""
        if place is None:
            place = Place(self._generations.first()) if tail < 0 else self._tail(tail)
        return self.open(place)

    def open(self, place: Place) -> bool:
        """Go to a place, or to what comes after it when it is gone. False without any output."""
        opened = self._generations.open(place.number)
        if opened is None:
            return False
        self.close()
        self._descriptor, self.number = opened
        self.offset = place.offset if self.number == place.number else 0
        return True

    def more(self) -> bytes:
        """The next block; empty at the end of all that there is now."""
        while not (data := os.pread(self._descriptor, BLOCK_BYTES, self.offset)):
            if not self._generations.has_later(self.number):
                return b""
            # whatever was written to this file is in it now that there is a later one
            data = os.pread(self._descriptor, BLOCK_BYTES, self.offset)
            if data or not self.open(Place(self.number + 1)):
                break
        self.offset += len(data)
        return data

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _tail(self, lines: int) -> Place:
        number, place = self._generations.present(), Place(0)
        while (opened := self._generations.open(number)) is not None:
            descriptor, number = opened
            try:
                offset, lines = tail_position(descriptor, lines)
            finally:
                os.close(descriptor)
            place = Place(number, offset)
            earlier = [each for each in self._generations.complete() if each < number]
            if lines == 0 or not earlier:
                break
            number = max(earlier)
        return place


def tail_position(descriptor: int, lines: int) -> tuple[int, int]:
    """Where the last `lines` lines of output begin, and how many there are too few; read from the end."""
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
                    return end + 1, 0
                missing -= 1
            last = last and output.ends_line(piece) is None
            end -= len(piece) + 1
    return 0, missing
