"""One seed from its first request to the last check."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import msgspec
from typing_extensions import override

from events.projections.containers import Container
from tests.chaos import deaths, witnesses
from tests.chaos.clients import Client, Deed, ask
from tests.chaos.control import Control
from tests.chaos.operations import CODE, IN_REGISTRY
from tests.crashing import squaring
from tests.crashing.world import BYSTANDER, World

CLIENTS = 3
LONGEST_S = 1.2  # that clients go on, when nothing ends it sooner
PATIENCE_S = 60.0  # for what goes on after an answer, or beside the API after a start
DEATH_S = 20.0
DESTROYED = b"is gone with what it was about"  # a secret's key goes with its object
# Exit codes of who was killed, or told to end before it could heed that; 2: while it was still runc's own init, which
# as the first process of its namespace can't die of SIGTERM as the Go runtime tries first.
KILLED = frozenset({2, 137, 143})
LET_GO = 1  # runc's init, when who let it start died before it had read the word from it: its program never ran
SEEDS_PER_ENGINE = 20  # its log grows with each


class Wrong(AssertionError):
    """A promise was broken."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a seed."""

    seed: int
    point: str = ""  # `<operation> <point>` at which the daemon killed itself
    recovery_point: str = ""
    recovery_s: float = 0.0
    requests: int = 0
    confirmed: int = 0
    lost: int = 0  # confirmed commands without an event in the log
    leaked: int = 0  # differences between host and log that stayed
    visits: int = 0  # of the published port
    failed_visits: int = 0
    wrong: tuple[str, ...] = ()
    whole_s: float = 0.0


class ChaosWorld(World):
    """The daemon itself, with failpoints that the test sets, and a container that is visited all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.failpoints = Control(self.engine.directory / "failpoints")
        self.visitor = witnesses.Visitor(self.engine.namespace)
        self.seeds = 0
        self.log = squaring.Reader(self.log_directory())

    @override
    def boot(self) -> None:
        """Start the daemon."""
        self.engine.start(environment=self.failpoints.environment)

    @override
    def furnish(self) -> None:
        """What is there before and after every seed."""
        self.engine.load_busybox()
        self.registry.put_image("pulled:1", IN_REGISTRY)
        witnesses.make_bystander(self)
        self.visitor.start()

    def clear_objects(self) -> None:
        """Remove containers and volumes, as far as that goes now."""
        for name in self.names() - {BYSTANDER}:
            self.attempt("DELETE", f"/containers/{name}", force="1", v="1")
        for name in self.volumes():
            self.attempt("DELETE", f"/volumes/{name}")

    @override
    def close(self) -> None:
        """Nothing is left."""
        if self.visitor.is_alive():
            self.visitor.stop()
        super().close()


class Worlds:
    """Hands out a running engine, another one after something was wrong with it, or when it has seen enough."""

    def __init__(self) -> None:
        self._world: ChaosWorld | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @contextmanager
    def sound(self) -> Iterator[ChaosWorld]:
        """One that is as it should be."""
        if self._world is not None and self._world.seeds >= SEEDS_PER_ENGINE:
            self._close()
        if self._world is None:
            self._world = ChaosWorld()
            self._world.boot()
            self._world.furnish()
        self._world.seeds += 1
        try:
            yield self._world
        except BaseException:
            self._close()
            raise

    def discard(self) -> None:
        """Something is wrong with it."""
        self._close()

    def _close(self) -> None:
        world, self._world = self._world, None
        if world is not None:
            world.close()


def run(world: ChaosWorld, seed: int) -> Result:
    """Do it; what was wrong is in the result, and what led to it."""
    subject = Seed(world, seed)
    try:
        subject.run()
    except Wrong as error:
        subject.wrong.append(str(error))
    except Exception as error:  # noqa: BLE001  # whatever it is, it is told with its seed
        subject.wrong.append(f"{type(error).__name__}: {error}")
    return subject.result()


class Seed:
    """The run of one."""

    def __init__(self, world: ChaosWorld, seed: int) -> None:
        self._world, self._seed = world, seed
        self._chance = random.Random(seed)
        self._death = deaths.choose(self._chance, LONGEST_S)
        self._began, self._visits = time.monotonic(), world.visitor.visits
        self._deeds: list[Deed] = []
        self._point = self._recovery_point = ""
        self._recovery_s = 0.0
        self._lost = self._leaked = 0
        self._taken: set[str] = set()  # names of containers that were removed for what a fault left of them
        self.wrong: list[str] = []

    def run(self) -> None:
        """Work, die, recover, check, clear away."""
        world = self._world
        world.failpoints.plan()
        codes = witnesses.make_enders(world, self._chance, LONGEST_S)
        bystander = world.inspect(BYSTANDER)
        self._work()
        gone_s, live = time.time(), world.log.read(verify=True).live
        back_s = self._recover()
        self._agree("after the start")
        self._check_confirmed(world.log.read())
        self._check_runs(live, bystander)
        self._check_ends(codes, gone_s, back_s)
        self._check_codes(codes)
        self._repeat()
        self._agree("after repeats")
        self._clear()

    def result(self) -> Result:
        """What became of it; where something is wrong, also what was asked."""
        world = self._world
        if failures := world.visitor.failures:
            self.wrong.append(f"the published port was not served: {failures[:3]}")
        if self.wrong:
            self.wrong += [f"{self._death}", *map(str, self._deeds), world.engine.log()[-4000:]]
        return Result(
            seed=self._seed,
            point=self._point,
            recovery_point=self._recovery_point,
            recovery_s=self._recovery_s,
            requests=len(self._deeds),
            confirmed=sum(deed.is_confirmed for deed in self._deeds),
            lost=self._lost,
            leaked=self._leaked,
            visits=world.visitor.visits - self._visits,
            failed_visits=len(world.visitor.failures),
            wrong=tuple(self.wrong),
            whole_s=time.monotonic() - self._began,
        )

    # ---- the catastrophe

    def _work(self) -> None:
        """Returns when the daemon is dead."""
        world = self._world
        until_s = time.monotonic() + self._death.after_s
        clients = [
            Client(world, world.registry.address, f"{self._seed}/{number}", until_s) for number in range(CLIENTS)
        ]
        world.failpoints.plan(*self._death.rules)
        for client in clients:
            client.start()
        while time.monotonic() < until_s and not world.is_dead:
            time.sleep(0.002)
        if not world.is_dead:
            world.engine.kill()
        elif passed := world.failpoints.passed():
            self._point = passed[-1]
        for client in clients:
            client.join(DEATH_S)
            if client.is_alive() or client.failure is not None:
                self.wrong.append(f"a client has no answer and no end: {client.failure!r}")
            self._deeds += client.deeds

    def _recover(self) -> float:
        """Start it, in vain at first if the seed says so. Returns when it began to come back."""
        world = self._world
        world.failpoints.plan(*filter(None, [self._death.recovery_rule]))
        if self._death.recovery_rule:
            try:
                world.boot()
            except AssertionError:
                if not world.is_dead:
                    raise
            if not world.is_dead:
                world.engine.kill()
            elif passed := world.failpoints.passed():
                self._recovery_point = passed[-1]
            world.failpoints.plan()
        back_s, began = time.time(), time.monotonic()
        world.boot()
        self._recovery_s = time.monotonic() - began
        return back_s

    # ---- what must hold

    def _agree(self, when: str) -> None:
        """Wait until host and log agree."""
        world, deadline = self._world, time.monotonic() + PATIENCE_S
        while found := squaring.differences(world.engine, log := world.log.read()):
            if self._death.has_fault:
                self._remove_marked(log)
            if time.monotonic() > deadline:
                self._leaked += len(found)
                raise Wrong(f"{when}:\n  " + "\n  ".join(found))
            time.sleep(0.02)

    def _remove_marked(self, log: squaring.Log) -> None:
        """What says that something of it is left behind takes that along when it goes."""
        for container in log.state.containers:
            if container.leftovers or container.status == "dead":
                self._taken.add(container.name)
                self._world.attempt("DELETE", f"/containers/{container.id}", force="1", v="1")

    def _check_confirmed(self, log: squaring.Log) -> None:
        """Every confirmed command is in the log."""
        told = [deed for deed in self._deeds if deed.is_confirmed and deed.command_id]
        missing = [deed for deed in told if deed.command_id not in log.commands]
        self.wrong += [f"confirmed, and not in the log: {deed}" for deed in missing]
        self._lost += len(missing)

    def _check_runs(self, live: Sequence[Container], bystander: dict[str, Any] | None) -> None:
        """Who ran when the daemon died runs on, and nobody had anything to do with it."""
        assert bystander is not None
        for container in live:
            inspected = self._world.inspect(container.id)
            is_settled = not (container.operation or container.kills or container.restarting)
            if not (is_settled and is_process(container.pid, container.id)):
                continue
            if inspected is None or not inspected["State"]["Running"]:
                self.wrong.append(
                    f"{container.name} runs as {container.pid}, told is {inspected and inspected['State']}"
                )
            elif inspected["State"]["Pid"] != container.pid:
                self.wrong.append(f"{container.name} had pid {container.pid}, now {inspected['State']['Pid']}")
        now = self._world.inspect(BYSTANDER)
        if now is None or now["State"] != bystander["State"]:
            self.wrong.append(f"the bystander was {bystander['State']}, is {now and now['State']}")
        if gaps := witnesses.unbroken(self._world):
            self.wrong.append(gaps)

    def _check_ends(self, codes: dict[str, int], gone_s: float, back_s: float) -> None:
        """Containers that nobody touched: wait for their end and look whether it is told truly."""
        for name, code in codes.items():
            if name in self._taken:
                continue
            self._world.until(partial(self._has_ended, name), f"{name} has ended", PATIENCE_S)
            inspected = self._world.inspect(name)
            assert inspected is not None
            if told := witnesses.truth_of_end(self._world, inspected, code, back_s, gone_s):
                self.wrong.append(told)

    def _has_ended(self, name: str) -> bool:
        return self._world.status(name) == "exited"

    def _check_codes(self, codes: dict[str, int]) -> None:
        """Exit codes of the others are their own, or those of who was killed."""
        for name in self._world.names() - {BYSTANDER, *codes}:
            inspected = self._world.inspect(name)
            if inspected is None or inspected["State"]["Status"] != "exited":
                continue
            possible = KILLED | {int(inspected["Config"]["Labels"][CODE])}
            if self._is_cut_off(inspected):
                possible |= {LET_GO}
            if inspected["State"]["ExitCode"] not in possible and not inspected["State"]["Error"]:
                self.wrong.append(f"{name} can't have ended so: {inspected['State']}")

    def _is_cut_off(self, inspected: dict[str, Any]) -> bool:
        """Whether the daemon died while it started it."""
        names = (inspected["Id"], inspected["Name"].removeprefix("/"))
        starts = {f"/containers/{name}/{verb}" for name in names for verb in ("start", "restart")}
        return any(not deed.answer.status and deed.request.path in starts for deed in self._deeds)

    def _repeat(self) -> None:
        """By the same keys: the first answers again, and no answer without end to what was cut off."""
        told = [deed for deed in self._deeds if deed.is_confirmed and deed.command_id]
        cut_off = [deed for deed in self._deeds if not deed.answer.status]
        chosen = self._chance.sample(told, min(3, len(told))) + cut_off
        for deed in chosen:
            again = ask(self._world, deed.request, deed.key).answer
            is_same = (again.status, again.body) == (deed.answer.status, deed.answer.body)
            if deed.answer.status and not (is_same or deed.is_stream) and DESTROYED not in again.body:
                self.wrong.append(f"{deed}, by the same key then {again.status} {again.body!r}")
            if again.status == 0 or b"internal error" in again.body:
                self.wrong.append(f"{deed}, then {again.status} {again.body!r}")

    def _clear(self) -> None:
        """Nothing that can't be removed."""
        world, deadline = self._world, time.monotonic() + PATIENCE_S
        while world.names() - {BYSTANDER} or world.volumes():
            world.clear_objects()
            if time.monotonic() > deadline:
                raise Wrong(f"can't be removed: {world.names() - {BYSTANDER}} {world.volumes()}")
        world.clear()
        self._agree("after everything was removed")


def is_process(pid: int, container_id: str) -> bool:
    """Whether a process lives that is in the container's control group."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return stat != "Z" and container_id in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
