"""Independent steps at once, and one for many; without it a start would take the sum of its parts."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

Result = TypeVar("Result")
Step = Callable[[], Awaitable[object]]


async def together(*steps: Step) -> None:
    """Run independent steps at once and let all of them end; then raise the first failure, if any.

    None is cut off by another's failure, so that whoever undoes them finds nothing half begun.
    """
    failures: list[Exception] = []

    async def run(step: Step) -> None:
        try:
            await step()
        except Exception as error:  # noqa: BLE001  # raised below
            failures.append(error)

    async with anyio.create_task_group() as group:
        for step in steps:
            group.start_soon(run, step)
    if failures:
        raise failures[0]


async def beside(companion: Step, main: Callable[[], Awaitable[Result]]) -> Result:
    """The result of `main`, with `companion` beside it; a failure of either is raised when both have ended."""
    results: list[Result] = []

    async def run() -> None:
        results.append(await main())

    await together(run, companion)
    return results[0]


class Shared:
    """Work that serves all who wait for it: who asks while it runs waits for the next run, together with others."""

    def __init__(self, work: Step) -> None:
        self._work = work
        self._lock = anyio.Lock()
        self._next = _Run()

    async def run(self) -> None:
        """Return when the work was done once, from its beginning to its end, since this was called."""
        run = self._next
        async with self._lock:
            if not run.is_done:
                self._next = _Run()
                await self._work()
                run.is_done = True


class _Run:
    is_done = False
