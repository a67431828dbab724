"""Steps at once and what is told of their failures; one piece of work for many who wait."""

import anyio
import pytest

from events.errors import SystemFailure
from handlers.together import Shared, beside, together

LIMIT_S = 10.0


class Work:
    """Counts its runs; each waits to be let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = anyio.Event()

    async def run(self) -> None:
        self.begun += 1
        await self.go_on.wait()


async def test_the_first_failure_is_the_one_that_is_listed_first():
    ended: list[str] = []

    def step(name: str, pause_s: float):
        async def fail() -> None:
            await anyio.sleep(pause_s)
            ended.append(name)
            raise SystemFailure(name)

        return fail

    with pytest.raises(SystemFailure, match="slow"):
        await together(step("slow", 0.02), step("quick", 0))
    with pytest.raises(SystemFailure, match="companion"):
        await beside(step("companion", 0.02), step("main", 0))
    assert ended == ["quick", "slow", "main", "companion"]


async def test_who_asks_meanwhile_shares_the_next_run():
    work = Work()
    shared = Shared(work.run)
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(LIMIT_S):
            tasks.start_soon(shared.run)
            await anyio.wait_all_tasks_blocked()
            for _ in range(5):
                tasks.start_soon(shared.run)
            await anyio.wait_all_tasks_blocked()
            assert work.begun == 1
            work.go_on.set()
    assert work.begun == 2


async def test_who_comes_after_a_failure_tries_again():
    failures = [SystemFailure("no")]

    async def work() -> None:
        if failures:
            raise failures.pop()

    shared = Shared(work)
    with pytest.raises(SystemFailure):
        await shared.run()
    await shared.run()
