"""Independent steps at once, and one for many; without it a start would take the sum of its parts."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

Result = TypeVar("Result")
Step = Callable[[], Awaitable[object]]


async def together(*steps: Step) -> None:
    """Run independent steps at once and let all of them end; then raise the failure of the first that failed as listed.

    None is cut off by another's failure, so that whoever undoes them finds nothing half begun.
    """
    failures: dict[int, Exception] = {}

    async def run(number: int, step: Step) -> None:
        try:
            await step()
        except Exception as error:  # noqa: BLE001  # raised below
            failures[number] = error

    async with anyio.create_task_group() as group:
        for number, step in enumerate(steps):
            group.start_soon(run, number, step)
    if failures:
        raise failures[min(failures)]


async def beside(companion: Step, main: Callable[[], Awaitable[Result]]) -> Result:
    """The result of `main`, with `companion` beside it; a failure of either is raised when both have ended.

    The companion's comes first, whichever ended first: what `main` says may follow from what was undone there.
    """
    results: list[Result] = []

    async def run() -> None:
        results.append(await main())

    await together(companion, run)
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
