"""The daemon is killed within every operation, at a point that a seed chooses; `ops/crash-points` tries all of them."""

import random

import pytest

from tests.crashing import runs
from tests.crashing.operations import OPERATIONS

pytestmark = [pytest.mark.root, pytest.mark.slow]
SEED = 20
ATTEMPTS = 4  # the order of concurrent steps varies: a point may not be passed again
TWICE = ("start on bridge", "rm of running", "load")


@pytest.fixture(scope="module")
def worlds():
    """An engine for all of them, replaced after a failure."""
    with runs.Worlds() as made:
        yield made


def crash(worlds, operation, seed):
    """Kill it at one of the operation's points; what must hold afterwards is checked there."""
    with worlds.sound() as world:
        found = runs.points(world, operation)
        for point in random.Random(seed).sample(found, min(ATTEMPTS, len(found))):
            result = runs.cut_off(world, operation, point)
            if result.reached:
                assert result.lost_events == 0
                return point, result
    raise AssertionError(f"no point of {operation.name} was passed twice")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_killed_within_an_operation(worlds, operation):
    crash(worlds, operation, SEED)


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.name in TWICE], ids=lambda operation: operation.name
)
def test_killed_again_while_it_recovers(worlds, operation):
    point, result = crash(worlds, operation, SEED + 1)
    again = random.Random(SEED).choice(result.recovery)
    with worlds.sound() as world:
        assert runs.cut_off(world, operation, point, again).lost_events == 0
