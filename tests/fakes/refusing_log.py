"""A log whose disk is full for a while; without it nothing would show what becomes of events that it refuses."""

from collections.abc import Sequence

from typing_extensions import override

from events.envelope import Cause, Recorded
from events.log import Append
from events.memory_log import MemoryLog
from events.segment_reader import NoSpace


class RefusingLog(MemoryLog):
    """Refuses the next `refusals` appends."""

    refusals = 0

    @override
    async def append(
        self, appends: Sequence[Append], *, cause: Cause, reply: bytes | None = None
    ) -> Sequence[Recorded]:
        if self.refusals:
            self.refusals -= 1
            raise NoSpace
        return await super().append(appends, cause=cause, reply=reply)
