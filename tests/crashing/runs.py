"""Kills the daemon at a point of an operation, starts it again, and checks all that must hold then."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import msgspec

from tests.clients.raw import Answer
from tests.crashing import squaring
from tests.crashing.operation import Operation
from tests.crashing.points import Point
from tests.crashing.world import BYSTANDER, GONE, World

QUIET_S = 8.0  # what goes on after an answer, or beside the API after a start, must be over by then
INTERRUPTED = 503  # the answer to what is settled as not done, or unknown


class Wrong(AssertionError):
    """A promise was broken."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an operation that was cut off."""

    reached: bool  # otherwise it ended without passing the point
    confirmed: bool = False
    done: bool = False
    boot_s: float = 0.0
    lost_events: int = 0  # acknowledged, and not in the log afterwards
    recovery: tuple[Point, ...] = ()  # what the start passed afterwards


class Worlds:
    """Hands out a running engine, another one after something was wrong with it. Nothing is left at the end."""

    def __init__(self) -> None:
        self._world: World | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @contextmanager
    def sound(self) -> Iterator[World]:
        """One that is as it should be."""
        if self._world is None:
            self._world = World()
            self._world.boot()
            self._world.furnish()
        try:
            yield self._world
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        if self._world is not None:
            self._world.close()
        self._world = None


def points(world: World, operation: Operation) -> tuple[Point, ...]:
    """Every point that an operation passes, in order, found by letting it pass them once."""
    _prepared(world, operation)
    world.control.trace()
    _succeeded(operation, operation.act(world))
    agree(world, "after an operation that nobody cut off")
    found = world.control.traced()
    world.clear()
    return found


def cut_off(world: World, operation: Operation, point: Point, again: Point | None = None) -> Result:
    """Crash at a point, and, if `again` is given, there in the recovery too; then check everything. Raises Wrong."""
    before = _prepared(world, operation)
    bystander = _pid(world, BYSTANDER)
    world.control.arm(point)
    answers = operation.act(world)
    confirmed = answers[-1].status not in (0, INTERRUPTED)
    if not _has_died(world):
        world.control.disarm()
        agree(world, "after an operation that nobody cut off")
        world.clear()
        return Result(reached=False)
    acknowledged = world.control.acknowledged()
    boot_s, recovery = _restart(world, again)
    log = squaring.read_log(world.log_directory())
    _same(bystander, _pid(world, BYSTANDER), "the bystander's pid")
    done = _settled(world, operation, before, confirmed=confirmed)
    _repeat(world, operation, answers, confirmed=confirmed, done=done)
    world.clear()
    agree(world, "after everything was removed")
    _once_more(world, operation)
    lost = max(0, acknowledged - log.head)
    return Result(reached=True, confirmed=confirmed, done=done, boot_s=boot_s, lost_events=lost, recovery=recovery)


def agree(world: World, when: str) -> None:
    """Wait until host and log agree. Raises Wrong with what remains."""
    deadline = time.monotonic() + QUIET_S
    while found := squaring.differences(world.engine, squaring.read_log(world.log_directory())):
        if time.monotonic() > deadline:
            raise Wrong(f"{when}:\n  " + "\n  ".join(found))
        time.sleep(0.02)


def choose(found: Sequence[Point], count: int, seed: int) -> tuple[Point, ...]:
    """Some of many, the same ones for a seed."""
    chance = random.Random(seed)
    return tuple(sorted(chance.sample(found, min(count, len(found))), key=found.index))


def _prepared(world: World, operation: Operation) -> int:
    """Returns the pid of the operation's container; 0 for none."""
    world.new_key()
    operation.prepare(world)
    agree(world, "before the operation")
    return _pid(world, "web")


def _pid(world: World, name: str) -> int:
    found = world.inspect(name)
    return int(found["State"]["Pid"]) if found else 0


def _has_died(world: World) -> bool:
    """Some points come after the answer."""
    deadline = time.monotonic() + 1.0
    while not world.is_dead and time.monotonic() < deadline:
        time.sleep(0.005)
    return world.is_dead


def _restart(world: World, again: Point | None) -> tuple[float, tuple[Point, ...]]:
    """Returns how long the start took, and what it passed."""
    if again is not None:
        world.control.arm(again)
        _boot_in_vain(world)
    world.control.trace()
    began = time.monotonic()
    if world.is_dead:
        world.boot()
    return time.monotonic() - began, world.control.traced()


def _boot_in_vain(world: World) -> None:
    """The point may come before it answers, afterwards, or not at all."""
    try:
        world.boot()
    except AssertionError:
        if not world.is_dead:
            raise
    _has_died(world)


def _settled(world: World, operation: Operation, pid: int, *, confirmed: bool) -> bool:
    """Whether it took effect: a confirmed operation has, another has wholly or not at all."""
    agree(world, "after the start")
    deadline = time.monotonic() + QUIET_S
    while True:
        done, undone = operation.done(world), operation.undone(world)
        if done or (undone and not confirmed):
            break
        if time.monotonic() > deadline:
            listed = (
                world.names(),
                {name: world.status(name) for name in world.names()},
                world.volumes(),
                world.images(),
            )
            raise Wrong(f"{'confirmed' if confirmed else 'unconfirmed'}, and neither done nor undone: {listed}")
        time.sleep(0.02)
    if pid and not done and world.status("web") == "running":
        _same(pid, _pid(world, "web"), "the pid of a container that runs on")
    return done


def _repeat(world: World, operation: Operation, first: Sequence[Answer], *, confirmed: bool, done: bool) -> None:
    """The same requests again, by the same key: the first answers again, or what was cut off done now."""
    answers = operation.act(world)
    if confirmed:
        _same([_shown(a) for a in first], [_shown(a) for a in answers], "answers to a repeat")
    statuses = [answer.status for answer in answers]
    unsettled = INTERRUPTED in statuses
    if not unsettled and any(status >= 400 and not (status == GONE and operation.vanishes) for status in statuses):
        raise Wrong(f"a repeat of what was {'done' if done else 'undone'} was answered {[_shown(a) for a in answers]}")
    if unsettled and done and not operation.unknowable:
        raise Wrong(f"a repeat of what was done was answered {[_shown(a) for a in answers]}")
    agree(world, "after a repeat")
    deadline = time.monotonic() + QUIET_S
    while not (operation.done(world) or (unsettled and operation.undone(world))):
        if time.monotonic() > deadline:
            raise Wrong(f"a repeat was answered {statuses} and had no effect")
        time.sleep(0.02)


def _shown(answer: Answer) -> tuple[int, bytes]:
    return answer.status, answer.body


def _once_more(world: World, operation: Operation) -> None:
    """Nothing stands in the way of the same operation."""
    _prepared(world, operation)
    _succeeded(operation, operation.act(world))
    if not operation.done(world):
        raise Wrong("the operation has no effect afterwards")
    world.clear()
    agree(world, "after the operation was done again")


def _succeeded(operation: Operation, answers: Sequence[Answer]) -> None:
    for answer in answers:
        if not 200 <= answer.status < 400:
            raise Wrong(f"{operation.name}: {_shown(answer)}")


def _same(expected: object, found: object, what: str) -> None:
    if expected != found:
        raise Wrong(f"{what}: {expected} before, {found} after")
