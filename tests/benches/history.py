"""Makes the long history that benchmarks read: a million events of containers as `docker run` leaves them.

`ops/bench history DIRECTORY` makes it once and prints where it lies: a data-root with `log` and `snapshots`. Whoever
writes to it works on a copy.
"""

import argparse
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import msgspec
from anyio.to_thread import run_sync

from events.envelope import ENGINE, Actor, Cause
from events.file_keyring import FileKeyring
from events.log import Append
from events.messages import container as c
from events.messages import image as i
from events.messages import network as n
from events.messages.exec import ProcessExited
from events.projections.state import State
from events.sealed import Sealed
from events.snapshot_directory import SnapshotDirectory
from events.snapshots import fold_fingerprint
from events.sqlite_log import SqliteLog
from handlers.context import SystemClock

EVENTS = 1_000_000
CONTAINERS = 10_000
IMAGE = f"sha256:{'ab' * 32}"
NETWORK = "cd" * 32
ACTOR = Actor(
    kind="unix", uid=0, gid=0, pid=4711, executable="/usr/bin/docker", user_agent="Docker-Client/28.2 (linux)"
)
SNAPSHOT_EVENTS = 20_000
LIVES_AT_ONCE = 150
DONE = b'{"sequence":0,"answer":null,"failure":null}'


class Step(msgspec.Struct, frozen=True):
    """An append of a life; with an answer where it concludes a command."""

    append: Append
    cause: Cause
    reply: bytes | None = None


def client_cause() -> Cause:
    """Of a request of somebody's."""
    one = secrets.token_hex(32)
    return Cause(actor=ACTOR, command_id=one, correlation_id=one)


def life(*, removed: bool) -> Iterator[Step]:
    """What one container leaves in the log; one that isn't removed stays there, ended."""
    made, now_ns = secrets.token_hex(32), time.time_ns()
    address = f"172.17.{secrets.randbelow(256)}.{secrets.randbelow(256)}"
    container, sandbox, image = f"container/{made}", f"sandbox/{made}", f"image/{IMAGE}"
    create, start = client_cause(), client_cause()
    answer = b'{"sequence":0,"answer":{"container_id":"%s","warnings":[]},"failure":null}' % made.encode()
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
        host=c.HostConfig(
            network_mode="bridge",
            auto_remove=removed,
            runtime="runc",
            shm_size=67108864,
            log_config=c.LogConfig(type="json-file"),
        ),
        secrets=Sealed(owner=container, nonce=secrets.token_bytes(12), ciphertext=secrets.token_bytes(200)),
        endpoints={"bridge": c.EndpointConfig()},
    )
    wanted = n.SandboxRequested(container_id=made, mode="bridge", endpoints=(endpoint,), ports=())
    started = c.ContainerStarted(container_id=made, pid=4711, started_at_ns=now_ns)
    yield Step(Append(stream=container, events=(requested,), take=(f"name/{requested.name}",)), create)
    yield Step(Append(stream=image, events=(i.ImageAcquired(image_id=IMAGE, container_id=made),)), create)
    yield Step(Append(stream=container, events=(c.ContainerCreated(container_id=made),)), create, answer)
    yield Step(Append(stream=container, events=(c.ContainerAccessed(container_id=made, action="attach"),)), create)
    yield Step(Append(stream=container, events=(c.ContainerStartRequested(container_id=made, run=1),)), start)
    yield Step(Append(stream=sandbox, events=(wanted,)), start)
    yield Step(Append(stream=sandbox, events=(n.SandboxConnected(container_id=made),)), start)
    yield Step(Append(stream=container, events=(started,)), start, DONE)
    exited = ProcessExited(container_id=made, run=1, exit_code=0, oom_killed=False, finished_at_ns=now_ns)
    observed = c.ContainerExitObserved(container_id=made, exit_code=0, oom_killed=False, finished_at_ns=now_ns)
    yield Step(Append(stream=f"process/{made}", events=(exited,)), policy)
    yield Step(Append(stream=container, events=(observed,)), policy)
    yield Step(Append(stream=sandbox, events=(n.SandboxDisconnected(container_id=made),)), policy)
    yield Step(Append(stream=container, events=(c.ContainerDied(container_id=made, exit_code=0, run_s=0),)), policy)
    if removed:
        going, gone = c.ContainerRemoveRequested(container_id=made, volumes=True), c.ContainerRemoved(container_id=made)
        yield Step(Append(stream=container, events=(going,)), policy)
        yield Step(Append(stream=image, events=(i.ImageReleased(image_id=IMAGE, container_id=made),)), policy)
        yield Step(Append(stream=container, events=(gone,), release=(f"name/{requested.name}",)), policy, DONE)


async def written(log: SqliteLog, events: int, containers: int) -> AsyncIterator[int]:
    """Write lives until there are so many events and, spread over them, so many containers that stay; the heads."""
    requested = i.ImageCreateRequested(image_id=IMAGE, origin="load")
    created = i.ImageCreated(image_id=IMAGE, config=i.ImageConfig(), layers=(), size_bytes=1, origin="load")
    await log.append([Append(stream=f"image/{IMAGE}", events=(requested, created))], cause=client_cause())
    kept = 0
    while log.head < events:
        due = min(LIVES_AT_ONCE, containers * log.head // events + LIVES_AT_ONCE // 8 - kept, containers - kept)
        await write_lives(log, removed=False, count=due)
        await write_lives(log, removed=True, count=LIVES_AT_ONCE - due)
        kept += due
        yield log.head


async def write_lives(log: SqliteLog, *, removed: bool, count: int) -> None:
    """Step by step of all of them, as they do who live at the same time."""
    for together in zip(*(life(removed=removed) for _ in range(count)), strict=True):
        async with anyio.create_task_group() as tasks:
            for step in together:
                tasks.start_soon(_take, log, step)


async def _take(log: SqliteLog, step: Step) -> None:
    await log.append((step.append,), cause=step.cause, reply=step.reply)


async def make(directory: Path, events: int, containers: int) -> None:
    """A new data-root, with the snapshots and the keys that an engine would have left."""
    snapshots, state, newest = SnapshotDirectory(directory / "snapshots"), State(), 0
    await run_sync(snapshots.prepare)
    async with SqliteLog.open(directory / "log", SystemClock()) as log:
        log.listen(state.apply)
        async for head in written(log, events, containers):
            if head - newest >= SNAPSHOT_EVENTS or head >= events:
                await run_sync(snapshots.save, log.capture(state))
                newest = head
        keyring = FileKeyring(directory / "keys")
        async with anyio.create_task_group() as tasks:
            for container in state.containers:
                tasks.start_soon(keyring.seal, f"container/{container.id}", b"")


def history(directory: Path, events: int = EVENTS, containers: int = CONTAINERS) -> Path:
    """The data-root of such a history below a directory; made where none of this engine's folds is there yet.

    Another engine's snapshots would be of no use, and its log be measured as if there were none.
    """
    beginning = f"history-{events}-{containers}-"
    path = directory / f"{beginning}{fold_fingerprint()[:12]}"
    if not path.exists():
        for other in directory.glob(f"{beginning}*"):
            shutil.rmtree(other)
        draft = path.with_suffix(".new")
        draft.mkdir(parents=True)
        anyio.run(make, draft, events, containers, backend_options={"use_uvloop": True})
        draft.rename(path)
    return path


def main() -> None:
    """`history DIRECTORY [--events N] [--containers N]`."""
    parser = argparse.ArgumentParser(prog="history", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--containers", type=int, default=CONTAINERS)
    given = parser.parse_args()
    print(history(given.directory, given.events, given.containers))  # noqa: T201


if __name__ == "__main__":
    main()
