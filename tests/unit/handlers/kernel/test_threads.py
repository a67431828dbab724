import threading
from collections.abc import Callable

import anyio
import anyio.to_thread
import pytest

from handlers.kernel.threads import FOREIGN, LONG, run_foreign, run_long

DEADLINE_S = 10.0


class Stuck:
    """Work that comes back only when it is let go."""

    def __init__(self) -> None:
        self._let_go = threading.Event()
        self._lock = threading.Lock()
        self.running = 0

    def work(self) -> None:
        with self._lock:
            self.running += 1
        self._let_go.wait(DEADLINE_S)

    def let_go(self) -> None:
        self._let_go.set()


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(DEADLINE_S):
        while not holds():
            await anyio.sleep(0.001)


@pytest.mark.parametrize(("run", "other", "most"), [(run_long, run_foreign, LONG), (run_foreign, run_long, FOREIGN)])
async def test_what_takes_long_holds_up_only_its_own_kind(run, other, most):
    stuck = Stuck()
    async with anyio.create_task_group() as group:
        try:
            for _ in range(50):  # more than anyio's whole pool
                group.start_soon(run, stuck.work)
            await until(lambda: stuck.running == most)
            with anyio.fail_after(DEADLINE_S / 2):
                assert await anyio.to_thread.run_sync(lambda: "quick") == "quick"
                assert await other(divmod, 7, 2) == (3, 1)
            assert stuck.running == most
        finally:
            stuck.let_go()
    assert stuck.running == 50


@pytest.mark.parametrize("run", [run_long, run_foreign])
async def test_errors_come_through(run):
    with pytest.raises(ZeroDivisionError):
        await run(divmod, 1, 0)
