"""Health probes by the thousand, through the fake runtime and into a real log: what they add to it, and to memory.

Run by `ops/probes N`. A probe is no fact: two million of them may not add a megabyte to either.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import anyio
import msgspec

from daemon.health import HealthChecks
from daemon.watch import StreamWatcher
from events.base import Command
from events.envelope import ENGINE, Cause
from events.log import Append
from events.messages import container as c
from events.messages.image import HealthcheckConfig
from events.projections.containers import Container
from events.projections.state import State
from events.sqlite_log import SqliteLog
from handlers.containers.health import change_health
from handlers.context import Context, RandomIds, Sender, Services, SystemClock
from handlers.exec.ports import ProcessPlan
from handlers.exec.probes import Probes
from handlers.exec.specification import Settings
from handlers.kernel.memory import give_back, share_one_area
from handlers.policies.health import ProbeResult
from tests.fakes.keyring import MemoryKeyring
from tests.fakes.processes import new_id, some_facts
from tests.fakes.runtime import MemoryRuntime

CONTAINERS = 20
INTERVAL_NS = 1_000_000  # the shortest that there is
WARM_UP = 2_000  # probes until every cache has its size
PARTS = 20  # of a run, after each of which is told what has grown
CAUSE = Cause(actor=ENGINE, command_id="load", correlation_id="load")


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """What probes have left."""

    probes: int
    seconds: float
    log_bytes: int
    memory_bytes: int
    healthy: int  # containers whose health is known


class Counting:
    """The real probes, counted."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self.done = 0

    async def run(self, services: Services, container: Container, timeout_ns: int) -> ProbeResult:
        """See `Probe`."""
        result = await self._probes.run(services, container, timeout_ns)
        self.done += 1
        return result


class Load:
    """Containers that are probed as often as can be."""

    def __init__(self, log: SqliteLog, directory: Path) -> None:
        self._directory = directory
        self.runtime = MemoryRuntime()
        state, watcher = State(), StreamWatcher()
        log.listen(state.apply)
        log.listen(watcher.notify)
        self.services = Services(
            log=log,
            state=state,
            clock=SystemClock(),
            ids=RandomIds(),
            keyring=MemoryKeyring(),
            sender=cast("Sender", self._send),
            watcher=watcher,
        )
        self.probes = Counting(
            Probes(self.runtime, some_facts(), Settings(cgroup_parent="/load", runtimes={"runc": "runc"}))
        )

    async def _send(self, command: Command[None], *, command_id: str, cause: Cause) -> None:
        assert isinstance(command, c.ChangeHealth)
        await change_health(Context(self.services, cause), command)

    async def add_container(self) -> None:
        """One that runs."""
        container_id = new_id()
        secrets = c.ContainerSecrets(healthcheck_test=("CMD-SHELL", "echo fine"), cmd=("sleep", "1"))
        check = HealthcheckConfig(test=("CMD-SHELL",), interval=INTERVAL_NS)
        requested = c.ContainerCreateRequested(
            container_id=container_id,
            name=container_id[:12],
            image_id="sha256:0",
            image_reference="busybox",
            config=c.ContainerConfig(healthcheck=check),
            host=c.HostConfig(runtime="runc"),
            secrets=await self.services.keyring.seal(f"container/{container_id}", msgspec.json.encode(secrets)),
        )
        started = c.ContainerStarted(container_id=container_id, pid=os.getpid(), started_at_ns=time.time_ns())
        events = (
            requested,
            c.ContainerCreated(container_id=container_id),
            c.ContainerStartRequested(container_id=container_id, run=1),
            started,
        )
        plan = ProcessPlan(
            container_id=container_id,
            run=1,
            name="web",
            specification=b'{"process":{"args":["sleep","1"]}}',
            runtime="runc",
            terminal=False,
            stdin=False,
            stdin_once=False,
        )
        await self.runtime.create(plan)
        await self.runtime.start(container_id)
        await self.services.log.append((Append(stream=f"container/{container_id}", events=events),), cause=CAUSE)

    async def until(self, count: int) -> None:
        """Wait for so many probes."""
        while self.probes.done < count:  # probes tell nobody
            await anyio.sleep(0.01)

    def log_bytes(self) -> int:
        """Of everything in the log's directory."""
        return sum(path.stat().st_size for path in self._directory.rglob("*") if path.is_file())


def memory_bytes() -> int:
    """Resident, after what nobody uses has gone."""
    gc.collect()
    give_back()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def grow(directory: Path, probes: int, told: Callable[[Growth], None] = lambda _: None) -> Growth:
    """Let `probes` probes pass after the warm-up, and measure; on the way tell some times how far it is."""
    async with SqliteLog.open(directory, SystemClock()) as log, anyio.create_task_group() as tasks:
        load = Load(log, directory)
        for _ in range(CONTAINERS):
            await load.add_container()
        HealthChecks(load.services, load.probes, tasks).begin()
        await load.until(WARM_UP)
        head, log_before, memory_before, began = log.head, load.log_bytes(), memory_bytes(), time.monotonic()

        def growth() -> Growth:
            return Growth(
                probes=load.probes.done - WARM_UP,
                seconds=time.monotonic() - began,
                log_bytes=load.log_bytes() - log_before,
                memory_bytes=memory_bytes() - memory_before,
                healthy=sum(container.health == "healthy" for container in load.services.state.containers),
            )

        for part in range(1, PARTS):
            await load.until(WARM_UP + probes * part // PARTS)
            told(growth())
        await load.until(WARM_UP + probes)
        grown = growth()
        assert log.head == head, "a probe has left an event"
        tasks.cancel_scope.cancel("all probes are done")
    return grown


def tell(grown: Growth) -> None:
    """One line."""
    print(  # noqa: T201  # what it is for
        f"{grown.probes} probes in {grown.seconds:.0f} s: {grown.log_bytes} bytes more of log, "
        f"{grown.memory_bytes} bytes more of memory",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was measured; exit status 1 when it is a megabyte or more."""
    parser = argparse.ArgumentParser(prog="probes", description=__doc__)
    parser.add_argument("probes", type=int, nargs="?", default=2_000_000)
    options = parser.parse_args(arguments)
    share_one_area()  # as the engine does
    with tempfile.TemporaryDirectory() as directory:
        grown = anyio.run(grow, Path(directory), options.probes, tell, backend_options={"use_uvloop": True})
    tell(grown)
    return 0 if max(grown.log_bytes, grown.memory_bytes) < 1_000_000 else 1


if __name__ == "__main__":
    sys.exit(main())
