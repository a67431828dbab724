"""Runs the writer, kills it and its NATS server again and again, and checks what every subscriber got."""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio
import anyio.abc
import msgspec

from clients.api import ApiError, Client, EngineUnreachable
from clients.subscribe.file_sink import FileSink
from clients.subscribe.sinks import deliver
from clients.subscribe.subscriber import Subscriber
from events.lines import read_line
from tests.nats_servers import NatsServer, connected
from tests.subscribers.writer import WRITTEN

ROOT = Path(__file__).resolve().parents[2]
STREAM = "shiplog-test"


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything."""

    events: int
    subscribers: int
    stalled: int
    kills: int
    stall_s: float
    limit_s: float


class Relayed(msgspec.Struct, frozen=True, kw_only=True):
    """How far the relay is."""

    relayed: int


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Of `GET /shiplog/log`."""

    events: int
    relay: Relayed


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. Gaps and duplicates are counted over all subscribers, files and the stream."""

    events: int
    received: int
    gaps: int
    duplicates: int
    kills: int
    turned_back: bool  # the clock's jump is in the log
    seconds: float


class Tally:
    """What one reader got."""

    def __init__(self) -> None:
        self.received = self.gaps = self.duplicates = self.last = 0

    def take(self, sequence: int) -> None:
        if sequence <= self.last:
            self.duplicates += 1
            return
        self.gaps += sequence - self.last - 1
        self.received += 1
        self.last = sequence

    def end(self, events: int) -> None:
        self.gaps += max(0, events - self.last)


class Campaign:
    """One run in a directory of its own."""

    def __init__(self, size: Size, directory: Path, seed: int = 1) -> None:
        self.size, self.directory = size, directory
        self.socket = directory / "s.sock"
        self.client = Client(f"unix://{self.socket}")
        self.tallies = [Tally() for _ in range(size.subscribers)]
        self._choose = random.Random(seed)
        self._nats = NatsServer(directory / "nats")
        self._writer: subprocess.Popen[bytes] | None = None
        self.total = 0  # sequence of the last event, known at the end

    async def run(self) -> Report:
        began = time.monotonic()
        try:
            with anyio.fail_after(self.size.limit_s):
                self._nats.start()
                await self._nats.ready()
                self._start_writer()
                await self._treat_badly_while_reading()
                turned_back = await self._clock_jumped()
                relayed = await self._relayed()
        finally:
            self._kill_writer()
            self._nats.kill()
        written = self._file_tally()
        tallies = [*self.tallies, relayed, written]
        for tally in tallies:
            tally.end(self.total)
        return Report(
            events=self.total,
            received=sum(tally.received for tally in tallies),
            gaps=sum(tally.gaps for tally in tallies),
            duplicates=sum(tally.duplicates for tally in tallies),
            kills=self.size.kills,
            turned_back=turned_back,
            seconds=time.monotonic() - began,
        )

    async def _treat_badly_while_reading(self) -> None:
        async with anyio.create_task_group() as tasks:
            for number, tally in enumerate(self.tallies):
                stall_s = self.size.stall_s if number < self.size.stalled else 0
                tasks.start_soon(self.read, tally, stall_s)
            tasks.start_soon(self._write_file)
            await self._kill_now_and_then()
            self.total = await self._until_written()

    # ---- readers

    async def read(self, tally: Tally, stall_s: float) -> None:
        """Until the end; a stalled one stops reading after a third of the log."""
        async for batch in Subscriber(self.client, begin="1").raw():
            for line in batch:
                tally.take(read_line(line).sequence)
            if stall_s and tally.last > self.size.events // 3:
                await anyio.sleep(stall_s)
                stall_s = 0
            await self._total_known(tally)
            if tally.last == self.total:
                return

    async def _total_known(self, tally: Tally) -> None:
        """Whoever has come to what may be the end waits until the end is known: nothing more would wake it."""
        while tally.last >= self.size.events and not self.total:
            await anyio.sleep(0.05)

    @property
    def _file(self) -> Path:
        return self.directory / "events"

    async def _write_file(self) -> None:
        """A file sink that gives up and starts again several times."""
        for part in range(1, 4):
            with FileSink(self._file) as sink:
                await deliver(self.client, sink, end=str(await self._reached(self.size.events * part // 4)))
        while not self.total:
            await anyio.sleep(0.05)
        with FileSink(self._file) as sink:
            await deliver(self.client, sink, end=str(self.total))

    def _file_tally(self) -> Tally:
        tally = Tally()
        for line in self._file.read_bytes().splitlines():
            tally.take(read_line(line).sequence)
        return tally

    async def _reached(self, sequence: int) -> int:
        while await self._head() < sequence:
            await anyio.sleep(0.05)
        return sequence

    async def _until_written(self) -> int:
        written, head = anyio.Path(self.directory / WRITTEN), 0
        while not await written.exists() or not (head := await self._head()):
            await anyio.sleep(0.05)
        return head

    async def _head(self) -> int:
        """Where the log stands; 0 while nobody answers."""
        try:
            return (await self.client.get("/shiplog/log", Facts)).events
        except (EngineUnreachable, ApiError, OSError):
            return 0

    async def _clock_jumped(self) -> bool:
        found = False
        async for batch in Subscriber(self.client, begin="1", end=str(self.total)).raw():
            found = found or any(b'"system.clock_jumped"' in line for line in batch)
        return found

    async def _relayed(self) -> Tally:
        """What is in the stream, once the relay has caught up."""
        tally = Tally()
        while True:
            facts = await self.client.get("/shiplog/log", Facts)
            if facts.relay.relayed == self.total:
                break
            await anyio.sleep(0.1)
        async with connected(self._nats.url) as client:
            context = client.jetstream(timeout=30)
            subscription = await context.subscribe("shiplog.test.evt.>", stream=STREAM, ordered_consumer=True)
            state = (await context.stream_info(STREAM)).state
            for _ in range(state.messages):
                message = await subscription.next_msg(timeout=30)
                tally.take(read_line(message.data).sequence)
        return tally

    # ---- bad treatment

    async def _kill_now_and_then(self) -> None:
        """Evenly over the log, writer and server in turn."""
        for number in range(1, self.size.kills + 1):
            await self._reached(self.size.events * number // (self.size.kills + 1))
            await anyio.sleep(self._choose.random() * 0.2)
            self._kill_writer()
            if number % 2:
                self._nats.kill()
                self._start_writer()
                await anyio.sleep(self._choose.random() * 0.3)
                self._nats.start()
                await self._nats.ready()
            else:
                self._start_writer()
                self._nats.kill()
                self._nats.start()
                await self._nats.ready()

    def _start_writer(self) -> None:
        arguments = [self.directory / "log", self.socket, str(self.size.events), self._nats.url]
        with (self.directory / "writer.log").open("ab") as output:
            self._writer = subprocess.Popen(
                [sys.executable, "-m", "tests.subscribers.writer", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
            )

    def _kill_writer(self) -> None:
        if self._writer is not None:
            self._writer.kill()
            self._writer.wait(10)
            self._writer = None


async def run(size: Size) -> Report:
    """A whole run; nothing of it is left."""
    with tempfile.TemporaryDirectory(prefix="sl", dir="/tmp") as directory:
        return await Campaign(size, Path(directory)).run()
