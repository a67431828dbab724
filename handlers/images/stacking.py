"""An image's layers made at once as far as possible; without it one core would unpack while the others look on.

A layer is begun when the one below it was, and fails when that one fails.
"""

from collections.abc import Awaitable, Callable, Sequence

import anyio

from events.errors import EngineError
from events.messages.layer import AppliedLayer
from handlers.context import Context

AT_ONCE = 8  # what a few cores unpack, and what waits for the disk meanwhile

Apply = Callable[[int], Awaitable[AppliedLayer]]


async def apply_stack(context: Context, holder: str, chains: Sequence[str], apply: Apply) -> list[AppliedLayer]:
    """Have layers (their chain ids, bottom first) made by `apply`, which is given each one's number.

    Raises the failure of the lowest that failed, when all has ended.
    """
    stack = _Stack(context, holder, apply)
    async with anyio.create_task_group() as tasks:
        for number, chain in enumerate(chains):
            await stack.slots.acquire()
            if stack.failures:
                break
            tasks.start_soon(stack.run, number)
            await stack.begun(chain)
    if stack.failures:
        raise stack.failures[min(stack.failures)]
    return [stack.applied[number] for number in range(len(chains))]


class _Stack:
    """One run."""

    def __init__(self, context: Context, holder: str, apply: Apply) -> None:
        self._context, self._holder, self._apply = context, holder, apply
        self._waiting = anyio.CancelScope()
        self.slots = anyio.Semaphore(AT_ONCE)
        self.applied: dict[int, AppliedLayer] = {}
        self.failures: dict[int, EngineError] = {}

    async def run(self, number: int) -> None:
        """One layer."""
        try:
            self.applied[number] = await self._apply(number)
        except EngineError as error:
            self.failures[number] = error
            self._waiting.cancel("a layer failed")
        finally:
            self.slots.release()

    async def begun(self, chain: str) -> None:
        """Wait until another layer can be made upon this one, or one has failed."""
        with self._waiting:
            await self._context.until(f"layer/{chain}", lambda: self._is_held(chain), None)
        self._waiting = anyio.CancelScope()

    def _is_held(self, chain: str) -> bool:
        layer = self._context.state.layers.get(chain)
        return layer is not None and self._holder in layer.holders
