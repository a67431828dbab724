"""Pulls, removals, prunes, runs, commits and saves of images that share layers, at once, in thousands of orders: what
somebody needs is never taken away, and nothing is left that nobody needs.

Two thousand of them take some ten seconds; SHIPLOG_TEST_INTERLEAVINGS=10000 has all tried.
"""

import os

import anyio
import pytest

from tests.fakes.interleaving import World, quietly
from tests.fakes.tars import digest

BASE, X, Y, Z = (digest(name.encode()) for name in ("base", "x", "y", "z"))
STACKS = ((BASE,), (BASE, X), (BASE, Y), (BASE, X, Z))
NAMES = tuple(f"docker.io/library/{name}:latest" for name in ("a", "b", "c"))
SEEDS = int(os.environ.get("SHIPLOG_TEST_INTERLEAVINGS", "2000"))
IN_ONE = 500
STEPS = 7


async def live(world: World) -> None:
    """One interleaving, and what must hold after it."""
    choose = world.pace.random
    await world.pull(STACKS[1], NAMES[:1])
    async with anyio.create_task_group() as tasks:
        for _ in range(STEPS):
            name, other = choose.sample(NAMES, 2)
            step = choose.choice(
                (
                    lambda name=name: world.pull(choose.choice(STACKS), (name,)),
                    lambda name=name: world.pull(choose.choice(STACKS), (name,), patient=False),
                    lambda name=name: world.remove(name, force=choose.random() < 0.5),
                    lambda: world.prune(dangling=choose.random() < 0.5),
                    lambda name=name, other=other: world.tag(name, other),
                    lambda name=name: world.run(name),
                    lambda name=name: world.save(name),
                )
            )
            tasks.start_soon(quietly, step())
    world.check()
    await world.prune(dangling=False)
    world.check()
    assert world.driver.rows == {}
    assert world.shelf.kept == {}


@pytest.mark.parametrize("first", range(0, SEEDS, IN_ONE))
async def test_what_is_needed_stays_and_nothing_else(first):
    for seed in range(first, first + IN_ONE):
        try:
            await live(World(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
