"""`ops/bench readers`: how fast the log reaches those who read it.

python -m tests.subscribers.speed [--events N] [--subscribers N] [--rate N] [--seconds N]
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from clients.api import Client, EngineUnreachable
from clients.audit.export import export
from clients.audit.formats import FORMATS
from clients.audit.sources import open_source
from clients.subscribe.file_sink import FileSink
from clients.subscribe.position import Position
from clients.subscribe.subscriber import Subscriber
from tests.benches.report import say

ROOT = Path(__file__).resolve().parents[2]
FILL_LIMIT_S = 1200.0
LIVE_LIMIT_S = 60.0
TARGET = "at least 100,000"
OUTPUT_BYTES = 1 << 28


@contextlib.contextmanager
def engine(directory: Path, events: int) -> Iterator[Client]:
    """A process that serves a log of so many events."""
    arguments = [str(directory / "log"), str(directory / "s.sock"), str(events)]
    process = subprocess.Popen([sys.executable, "-m", "tests.subscribers.speed_server", *arguments], cwd=ROOT)
    try:
        yield Client(f"unix://{directory / 's.sock'}")
    finally:
        process.kill()
        process.wait(10)


async def ready(client: Client) -> Position:
    """Where the log stands, once it is filled."""
    with anyio.fail_after(FILL_LIMIT_S):
        while True:
            try:
                facts = await client.get("/shiplog/log", dict[str, object])
                return Position(log=str(facts["id"]), sequence=int(str(facts["events"])))
            except (EngineUnreachable, OSError):
                await anyio.sleep(0.1)


async def catch_up(client: Client, head: Position) -> float:
    """Events per second that one subscriber gets from the beginning to the end."""
    began = time.perf_counter()
    subscriber = Subscriber(client, begin="1", end=str(head.sequence))
    received = 0
    async for batch in subscriber.raw():
        received += len(batch)
    assert received == head.sequence
    return received / (time.perf_counter() - began)


async def exported(client: Client, directory: Path, name: str) -> float:
    """Events per second that go to a file, which is on disk at the end."""
    form = FORMATS[name]
    began = time.perf_counter()
    async with open_source(client.host) as source:
        with FileSink(directory / name, form.encode, form.position_of) as sink:
            last = await export(source, sink)
    return last / (time.perf_counter() - began)


async def live(client: Client, head: Position, subscribers: int, rate: float, seconds: float) -> list[float]:
    """Milliseconds from an event's clock to its line at each subscriber; all of these are one other process."""
    numbers = map(str, (subscribers, head.sequence + 1, int(rate * seconds)))
    command = [sys.executable, "-m", "tests.subscribers.followers", client.host.removeprefix("unix://"), *numbers]
    async with await anyio.open_process(command, cwd=ROOT, stderr=None) as process:
        assert process.stdout is not None
        said = BufferedByteReceiveStream(process.stdout)
        with anyio.fail_after(LIVE_LIMIT_S + seconds):
            assert await said.receive_until(b"\n", OUTPUT_BYTES) == b"ready"
            await client.act("POST", "/write", {"rate": str(rate), "seconds": str(seconds)})
            return sorted(msgspec.json.decode(await said.receive_until(b"\n", OUTPUT_BYTES), type=list[float]))


async def measure(events: int, subscribers: int, rate: float, seconds: float) -> None:
    """Print a line for each figure."""
    with tempfile.TemporaryDirectory(prefix="sl", dir="/var/tmp") as name, engine(Path(name), events) as client:
        head = await ready(client)
        print(f"log of {head.sequence} events", flush=True)  # noqa: T201  # it is a program
        say("catch-up of one subscriber", f"{await catch_up(client, head):,.0f} events/s", TARGET)
        for form in FORMATS:
            say(f"export to a file, {form}", f"{await exported(client, Path(name), form):,.0f} events/s", TARGET)
        delays_ms = await live(client, head, subscribers, rate, seconds)
        middle, late = delays_ms[len(delays_ms) // 2], delays_ms[len(delays_ms) * 99 // 100]
        what = f"live event to {subscribers} subscribers, {rate:.0f} events/s"
        say(what, f"median {middle:.1f} ms, p99 {late:.1f} ms", "p99 under 20 ms")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench readers", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--subscribers", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    # The engine runs on uvloop; clients that need not live long with many connections do well with it too.
    options = {"use_uvloop": True}
    anyio.run(measure, given.events, given.subscribers, given.rate, given.seconds, backend_options=options)


if __name__ == "__main__":
    main()
