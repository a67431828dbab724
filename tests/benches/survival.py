"""Measures what running containers notice of a daemon that is killed again and again, and how soon it is back.

`ops/bench survival` runs it: hundreds of containers, some of them with published ports that are visited throughout.
"""

import argparse
import statistics
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.benches.report import say
from tests.chaos.witnesses import Visitor
from tests.engines import EngineUnderTest

CLIENTS = 4
FIRST_PORT = 20_000
BOOT_TIMEOUT_S = 120.0
NEAREST_KILLS_S = 0.5  # so long the daemon has its peace before the next


class Survival:
    """An engine full of containers."""

    def __init__(self, engine: EngineUnderTest, containers: int, published: int) -> None:
        self._engine, self._containers, self._published = engine, containers, published
        self._recovered_s: list[float] = []
        self._worked_s: list[float] = []

    @property
    def ports(self) -> range:
        """Of the host; one for each container that serves."""
        return range(FIRST_PORT, FIRST_PORT + self._published)

    def fill(self) -> None:
        """Start all containers."""
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(self._run, range(self._containers)))
        say(f"{self._containers} containers started", f"{time.perf_counter() - began:.0f} s", "none")

    def _run(self, number: int) -> None:
        if number < self._published:
            publish = f"{self.ports[number]}:80"
            self._engine.docker("run", "-d", "-p", publish, "busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
        else:
            self._engine.docker("run", "-d", "busybox", "sleep", "1000000")

    def processes(self) -> dict[str, tuple[int, str]]:
        """Pid and, since pids come again, start time of each container's process, by container."""
        ids = self._engine.out("ps", "-q", "--no-trunc").split()
        told = self._engine.out("inspect", "--format", "{{.Id}} {{.State.Pid}}", *ids) if ids else ""
        return {container: (int(pid), _started(int(pid))) for container, pid in map(str.split, told.splitlines())}

    def kill(self, times: int) -> None:
        """Kill the daemon and wait until it answers, so many times."""
        for _ in range(times):
            time.sleep(NEAREST_KILLS_S)
            self._engine.kill()
            began = time.perf_counter()
            self._engine.start(timeout_s=BOOT_TIMEOUT_S)
            self._recovered_s.append(time.perf_counter() - began)
            self._worked_s.append(self._engine.cpu_s())

    def report_recovery(self) -> None:
        """How soon it answered again."""
        times, worked = self._recovered_s, self._worked_s
        found = f"{statistics.median(times):.2f} s median, {max(times):.2f} s worst"
        say("from start to first answer", f"{found} ({statistics.median(worked):.2f} s of work)", "none")


def _started(pid: int) -> str:
    """When a process began, as the kernel counts; "" for none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def measure(containers: int, published: int, kills: int) -> int:
    """Print what was found; 1 when anything noticed anything."""
    engine = EngineUnderTest()
    try:
        engine.start()
        engine.load_busybox()
        survival = Survival(engine, containers, published)
        survival.fill()
        before, visitor = survival.processes(), Visitor(engine.namespace, survival.ports)
        visitor.start()
        survival.kill(kills)
        visitor.stop()
        survival.report_recovery()
        return tell(before, survival.processes(), visitor, kills)
    finally:
        engine.close()


def tell(before: dict[str, tuple[int, str]], after: dict[str, tuple[int, str]], visitor: Visitor, kills: int) -> int:
    """The two figures that are wanted, and their exit status."""
    changed = [container for container, process in before.items() if after.get(container) != process]
    say(f"{len(before)} containers, {kills} SIGKILLs: pids changed", f"{len(changed)}", "0")
    say(f"{visitor.visits} visits of published ports: failed", f"{len(visitor.failures)}", "0")
    _list(changed)
    _list(visitor.failures)
    return 1 if changed or visitor.failures or not visitor.visits else 0


def _list(lines: Iterable[str]) -> None:
    for line in list(lines)[:10]:
        print(f"    {line}")  # noqa: T201


def main() -> int:
    """`survival [--containers N] [--published N] [--kills N]`."""
    parser = argparse.ArgumentParser(prog="survival", description=__doc__)
    parser.add_argument("--containers", type=int, default=500)
    parser.add_argument("--published", type=int, default=20)
    parser.add_argument("--kills", type=int, default=100)
    given = parser.parse_args()
    return measure(given.containers, given.published, given.kills)


if __name__ == "__main__":
    raise SystemExit(main())
