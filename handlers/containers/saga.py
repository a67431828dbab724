"""Steps that are undone in reverse when a later one fails; without it a failed start would leave half a container."""

import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import anyio

LOGGER = logging.getLogger(__name__)
UNDO_TIMEOUT_S = 60.0

Undo = Callable[[], Awaitable[object]]


class Saga:
    """Remembers how to undo what was begun. Register the undo before the step: an interrupted step needs it too.

    On any exception, cancellation included, all undo steps run, shielded and each bounded; `leftovers` tells what
    could not be undone.
    """

    def __init__(self) -> None:
        self._undo: list[tuple[str, Undo]] = []
        self.leftovers: list[str] = []

    def begin(self, name: str, undo: Undo) -> None:
        """Announce a step."""
        self._undo.append((name, undo))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            await self.unwind()

    async def unwind(self) -> None:
        """Undo everything, latest first."""
        while self._undo:
            name, undo = self._undo.pop()
            with anyio.CancelScope(shield=True):
                try:
                    with anyio.fail_after(UNDO_TIMEOUT_S):
                        await undo()
                except Exception as failure:
                    LOGGER.exception("undoing %s failed", name)
                    self.leftovers.append(f"{name}: {failure}")
