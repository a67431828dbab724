"""A subscriber is told when the log has lost what it was about to read."""

from collections.abc import Sequence

import anyio
import pytest

from events.envelope import ENGINE, Cause, Recorded
from events.log import LogBroken
from events.messages.container import ContainerCreated
from events.tail import Tail


def recorded(sequence: int) -> Recorded:
    return Recorded(
        sequence=sequence,
        time_ns=sequence,
        clock_ns=sequence,
        stream="a/1",
        version=sequence,
        event=ContainerCreated(container_id="x"),
        cause=Cause(actor=ENGINE, command_id="c", correlation_id="r"),
    )


@pytest.mark.parametrize("left", [[], [recorded(2)]])
async def test_missing_events_are_named(left: list[Recorded]) -> None:
    async def read_page(after: int, limit: int) -> Sequence[Recorded]:
        return left

    async with Tail(3, read_page).subscribe(0) as events:
        with anyio.fail_after(5), pytest.raises(LogBroken, match="event 1 is missing"):
            await anext(events)


async def test_closing_tells_the_first_reason_only() -> None:
    async def read_page(after: int, limit: int) -> Sequence[Recorded]:
        return [recorded(after + 1)]

    tail = Tail(0, read_page)
    broken = LogBroken("first")
    tail.close(broken)
    tail.close()
    assert await tail.ended() is broken
