"""Past states of the engine, the last few kept; without it each look at the past would be folded anew."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

import anyio

from events.projections.state import State

KEPT_STATES = 4

StateAt = Callable[[int], Awaitable[State]]


class Past:
    """Gives the state right after an event. States are shared: whoever gets one only reads it."""

    def __init__(self, state_at: StateAt) -> None:
        """`state_at` makes a state anew. Raises what it raises."""
        self._state_at = state_at
        self._states: OrderedDict[int, State] = OrderedDict()
        self._read: set[int] = set()
        self._making = anyio.Lock()  # one at a time: the engine has better things to do

    async def state_at(self, sequence: int) -> State:
        """The state after event `sequence`."""
        async with self._making:
            if sequence not in self._states:
                self._states[sequence] = await self._state_at(sequence)
            self._states.move_to_end(sequence)
            while len(self._states) > KEPT_STATES:
                self._states.popitem(last=False)
            self._read.add(sequence)
            return self._states[sequence]

    def forget_unread(self) -> bool:
        """Forget the states that nobody has asked for since the last call; whether there were any."""
        unread = self._states.keys() - self._read
        for sequence in unread:
            del self._states[sequence]
        self._read.clear()
        return bool(unread)
