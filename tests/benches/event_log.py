"""Measures the event log: appends, bytes of a life, fold, verification, boot. `ops/bench log` runs it.

The long history that is read is kept below `--directory` (`history.py`); what is written here goes with the program.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio

from daemon.engine import replay
from events.log import Append
from events.messages import container as c
from events.projections.state import State
from events.snapshot_directory import SnapshotDirectory
from events.sqlite_log import SqliteLog
from handlers.context import SystemClock
from tests.benches import history
from tests.benches.report import say

WRITERS = 64
LONE_APPENDS = 1000
SECONDS = 4.0
LIVES = 2000
RATED_EVENTS = 200_000
AUDIT_TIMEOUT_S = 600


async def appends(log: SqliteLog) -> None:
    """Lone appends, then as many writers as a busy engine has."""
    times, cause = [], history.client_cause()
    for number in range(LONE_APPENDS):
        began = time.perf_counter()
        await log.append([_small(number)], cause=cause)
        times.append((time.perf_counter() - began) * 1000)
    p99 = statistics.quantiles(times, n=100)[98]
    say("lone durable append", f"{statistics.median(times):.2f} ms median, {p99:.2f} ms p99", "under 5 ms p99")
    written = 0

    async def write() -> None:
        nonlocal written
        while time.perf_counter() < until:
            written += 1
            await log.append([_small(written)], cause=cause)

    began = time.perf_counter()
    until = began + SECONDS
    async with anyio.create_task_group() as tasks:
        for _ in range(WRITERS):
            tasks.start_soon(write)
    rate = written / (time.perf_counter() - began)
    say(f"durable appends from {WRITERS} writers", f"{rate:,.0f} a second", "20,000")


def _small(number: int) -> Append:
    return Append(stream=f"container/{number}", events=(c.ContainerAccessed(container_id="a", action="top"),))


class Stopwatch:
    """Starts when it is made."""

    def __init__(self) -> None:
        self._began, self._worked = time.perf_counter(), time.process_time()

    def rate(self, events: int) -> str:
        """By the clock, and by what this process had of the processors: that tells more on a busy machine."""
        passed, worked = time.perf_counter() - self._began, time.process_time() - self._worked
        return f"{events / passed:,.0f} events a second ({events / worked:,.0f} by work)"


async def rates(log: SqliteLog, events: int) -> None:
    """Fold alone, and verification."""
    decoded = [recorded async for recorded in log.read(limit=events)]
    state, watch = State(), Stopwatch()
    state.apply(decoded)
    say("fold", watch.rate(len(decoded)), "200,000")
    del decoded
    watch = Stopwatch()
    await log.verify(1, events)
    say("verify by the engine", watch.rate(events), "200,000")


def audit(log_directory: Path, events: int) -> None:
    """The program that others verify a copy of a log with, its start included."""
    began = time.perf_counter()
    program = [sys.executable, "-m", "clients.verifier", str(log_directory)]
    subprocess.run(program, stdout=subprocess.DEVNULL, timeout=AUDIT_TIMEOUT_S, check=True)
    rate = events / (time.perf_counter() - began)
    say(f"verify by shiplog-audit, {events:,} events", f"{rate:,.0f} events a second", "200,000")


async def boot(log_directory: Path, snapshots: Path, what: str, target: str) -> None:
    """Open the log and fold it, as an engine does, and leave a snapshot for the next."""
    kept, began = SnapshotDirectory(snapshots), time.perf_counter()
    async with SqliteLog.open(log_directory, SystemClock(), kept) as log:
        state = State()
        await replay(log, state)
        taken = time.perf_counter() - began
        say(f"boot {what}, {log.head:,} events, {len(state.containers):,} containers", f"{taken:.1f} s", target)
        if log.head not in kept.sequences():
            await anyio.to_thread.run_sync(kept.save, log.capture(state))


async def bytes_of_a_life(directory: Path) -> None:
    """How the files grow by lives that have ended."""
    async with SqliteLog.open(directory, SystemClock()) as log:
        for _ in range(LIVES // history.LIVES_AT_ONCE):
            await history.write_lives(log, removed=True, count=history.LIVES_AT_ONCE)
        lives = log.head / len(list(history.life(removed=True)))
    say("log of one container's life", f"{_log_bytes(directory) / lives / 1000:.1f} KB", "8 KB")


def _log_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("log-*.sqlite"))


async def measure_writing(place: Path) -> None:
    """What appends take, of time and room."""
    async with SqliteLog.open(place / "small", SystemClock()) as log:
        await appends(log)
    await bytes_of_a_life(place / "life")


async def measure_reading(root: Path, place: Path) -> None:
    """What a long history takes."""
    async with SqliteLog.open(root / "log", SystemClock()) as log:
        head = log.head
        await rates(log, min(head, RATED_EVENTS))
    await anyio.to_thread.run_sync(audit, root / "log", head)
    await boot(root / "log", place / "snapshots", "without snapshot", "10 s at 1,000,000")
    await boot(root / "log", place / "snapshots", "with snapshot", "2 s at 1,000,000")


def main() -> None:
    """`event_log [--events N] [--containers N] [--directory DIR]`."""
    parser = argparse.ArgumentParser(prog="event_log", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--containers", type=int, default=10_000)
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp/shiplog-bench"))
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="now-", dir=given.directory) as place:
        anyio.run(measure_writing, Path(place), backend_options={"use_uvloop": True})
        root = history.history(given.directory, given.events, given.containers)
        anyio.run(measure_reading, root, Path(place), backend_options={"use_uvloop": True})


if __name__ == "__main__":
    main()
