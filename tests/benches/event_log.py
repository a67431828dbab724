"""Measures the event log: appends, fold, verification, boot. `ops/bench log` runs it.

The history is of containers that were created, run and removed, as `docker run --rm` leaves them; the last of them
still exist. Files are in a temporary directory: `--directory` names one on the disk that is to be measured.
"""

import argparse
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import anyio

from daemon.engine import replay
from events.envelope import ENGINE, Actor, Cause
from events.log import Append
from events.messages import container as c
from events.messages import image as i
from events.messages import network as n
from events.messages.exec import ProcessExited
from events.projections.state import State
from events.sealed import Sealed
from events.snapshot_directory import SnapshotDirectory
from events.sqlite_log import SqliteLog
from handlers.context import SystemClock

IMAGE = f"sha256:{'ab' * 32}"
NETWORK = "cd" * 32
ACTOR = Actor(
    kind="unix", uid=0, gid=0, pid=4711, executable="/usr/bin/docker", user_agent="Docker-Client/28.2 (linux)"
)
CAUSE = Cause(actor=ACTOR, command_id=secrets.token_hex(32), correlation_id=secrets.token_hex(32))
LIVES_AT_ONCE = 150
WRITERS = 64
LONE_APPENDS = 1000
SECONDS = 4.0


def life(*, removed: bool) -> Iterator[tuple[Append, Cause]]:
    """What one container leaves in the log."""
    made, address = secrets.token_hex(32), f"172.17.{secrets.randbelow(256)}.{secrets.randbelow(256)}"
    container, sandbox, image = f"container/{made}", f"sandbox/{made}", f"image/{IMAGE}"
    create, start = (
        Cause(actor=ACTOR, command_id=(one := secrets.token_hex(32)), correlation_id=one) for _ in range(2)
    )
    policy = Cause(actor=ENGINE, command_id="policy-52-0-0", correlation_id=start.correlation_id, causation=52)
    endpoint = n.Endpoint(
        endpoint_id=secrets.token_hex(32),
        network_id=NETWORK,
        network_name="bridge",
        interface="eth0",
        address=address,
        prefix_length=16,
        gateway="172.17.0.1",
        mac_address="02:42:ac:11:00:02",
    )
    requested = c.ContainerCreateRequested(
        container_id=made,
        name=f"bench_{made[:12]}",
        image_id=IMAGE,
        image_reference="busybox",
        config=c.ContainerConfig(hostname=made[:12], image="busybox", attach_stdout=True),
        host=c.HostConfig(network_mode="bridge", auto_remove=removed, runtime="runc", shm_size=67108864),
        secrets=Sealed(owner=container, nonce=secrets.token_bytes(12), ciphertext=secrets.token_bytes(200)),
        endpoints={"bridge": c.EndpointConfig()},
    )
    told = [
        (Append(stream=container, events=(requested,), take=(f"name/{requested.name}",)), create),
        (Append(stream=image, events=(i.ImageAcquired(image_id=IMAGE, container_id=made),)), create),
        (Append(stream=container, events=(c.ContainerCreated(container_id=made),)), create),
        (Append(stream=container, events=(c.ContainerAccessed(container_id=made, action="attach"),)), create),
        (Append(stream=container, events=(c.ContainerStartRequested(container_id=made, run=1),)), start),
        (
            Append(
                stream=sandbox,
                events=(n.SandboxRequested(container_id=made, mode="bridge", endpoints=(endpoint,), ports=()),),
            ),
            start,
        ),
        (Append(stream=sandbox, events=(n.SandboxConnected(container_id=made),)), start),
        (Append(stream=container, events=(c.ContainerStarted(container_id=made, pid=4711, started_at_ns=7),)), start),
    ]
    exited = ProcessExited(container_id=made, run=1, exit_code=0, oom_killed=False, finished_at_ns=8)
    observed = c.ContainerExitObserved(container_id=made, exit_code=0, oom_killed=False, finished_at_ns=8)
    ended = [
        (Append(stream=f"process/{made}", events=(exited,)), policy),
        (Append(stream=container, events=(observed,)), policy),
        (Append(stream=sandbox, events=(n.SandboxDisconnected(container_id=made),)), policy),
        (Append(stream=container, events=(c.ContainerDied(container_id=made, exit_code=0, run_s=0),)), policy),
        (Append(stream=container, events=(c.ContainerRemoveRequested(container_id=made, volumes=True),)), policy),
        (Append(stream=image, events=(i.ImageReleased(image_id=IMAGE, container_id=made),)), policy),
        (
            Append(
                stream=container,
                events=(c.ContainerRemoved(container_id=made),),
                release=(f"name/{requested.name}",),
            ),
            policy,
        ),
    ]
    yield from told + ended if removed else told


async def write_history(log: SqliteLog, events: int, containers: int) -> None:
    """Lives that have ended until there are as many events, then those of the containers that exist."""
    requested = i.ImageCreateRequested(image_id=IMAGE, origin="load")
    created = i.ImageCreated(image_id=IMAGE, config=i.ImageConfig(), layers=(), size_bytes=1, origin="load")
    await log.append([Append(stream=f"image/{IMAGE}", events=(requested, created))], cause=CAUSE)
    kept_events = containers * 8
    while log.head < events:
        removed = log.head < events - kept_events
        batch = [append for _ in range(LIVES_AT_ONCE) for append, _ in life(removed=removed)]
        await log.append(batch, cause=CAUSE)


async def appends(log: SqliteLog) -> None:
    """Lone appends, then as many writers as a busy engine has."""
    times = []
    for number in range(LONE_APPENDS):
        began = time.perf_counter()
        await log.append([_small(number)], cause=CAUSE)
        times.append((time.perf_counter() - began) * 1000)
    p99 = statistics.quantiles(times, n=100)[98]
    say("lone durable append", f"{statistics.median(times):.2f} ms median, {p99:.2f} ms p99", "under 5 ms p99")
    written = 0

    async def write(number: int) -> None:
        nonlocal written
        while time.perf_counter() < until:
            await log.append([_small(number)], cause=CAUSE)
            written += 1

    began = time.perf_counter()
    until = began + SECONDS
    async with anyio.create_task_group() as tasks:
        for number in range(WRITERS):
            tasks.start_soon(write, number)
    rate = written / (time.perf_counter() - began)
    say(f"durable appends from {WRITERS} writers", f"{rate:,.0f} a second", "20,000")


def _small(number: int) -> Append:
    return Append(stream=f"container/{number % 100}", events=(c.ContainerAccessed(container_id="a", action="top"),))


async def rates(log: SqliteLog, events: int) -> None:
    """Fold alone, and verification."""
    decoded = [recorded async for recorded in log.read(limit=events)]
    state, began = State(), time.perf_counter()
    state.apply(decoded)
    say("fold", f"{len(decoded) / (time.perf_counter() - began):,.0f} events a second", "200,000")
    del decoded
    began = time.perf_counter()
    await log.verify(1, events)
    say("verify", f"{events / (time.perf_counter() - began):,.0f} events a second", "200,000")


async def boot(directory: Path, what: str, target: str) -> None:
    """Open the log and fold it, as an engine does."""
    began = time.perf_counter()
    async with SqliteLog.open(directory / "log", SystemClock(), SnapshotDirectory(directory / "snapshots")) as log:
        state = State()
        await replay(log, state)
        taken = time.perf_counter() - began
        say(f"boot {what}, {log.head:,} events, {len(state.containers):,} containers", f"{taken:.1f} s", target)
        if "without" in what:
            await anyio.to_thread.run_sync(SnapshotDirectory(directory / "snapshots").save, log.capture(state))


async def bytes_of_a_life(directory: Path) -> None:
    """How the files grow by lives that have ended."""
    lives = 2000
    async with SqliteLog.open(directory / "log", SystemClock()) as log:
        for _ in range(lives // 20):
            await log.append([append for _ in range(20) for append, _ in life(removed=True)], cause=CAUSE)
    size = sum(path.stat().st_size for path in (directory / "log").glob("log-*.sqlite"))
    say("log of one container's life", f"{size / lives / 1000:.1f} KB", "8 KB")


def say(what: str, found: str, target: str) -> None:
    """One line of the report."""
    print(f"  {what:62} {found:36} (target: {target})", flush=True)  # noqa: T201


async def measure(place: Path, events: int, containers: int) -> None:
    """Everything, in a directory."""
    for name in ("small", "life", "long"):
        (place / name).mkdir()
    async with SqliteLog.open(place / "small" / "log", SystemClock()) as log:
        await appends(log)
    await bytes_of_a_life(place / "life")
    async with SqliteLog.open(place / "long" / "log", SystemClock()) as log:
        began = time.perf_counter()
        await write_history(log, events, containers)
        say("history written", f"{log.head / (time.perf_counter() - began):,.0f} events a second", "none")
        await rates(log, min(events, 200_000))
    await boot(place / "long", "without snapshot", "10 s at 1,000,000")
    await boot(place / "long", "with snapshot", "2 s at 1,000,000")


def main() -> None:
    """`event_log [--events N] [--containers N] [--directory DIR]`."""
    parser = argparse.ArgumentParser(prog="event_log", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--containers", type=int, default=10_000)
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shiplog-bench-", dir=given.directory) as place:
        anyio.run(measure, Path(place), given.events, given.containers, backend_options={"use_uvloop": True})


if __name__ == "__main__":
    main()
