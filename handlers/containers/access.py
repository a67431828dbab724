"""How every verb finds its container and waits for its turn."""

from collections.abc import Callable, Sequence

import anyio
import msgspec

from events.base import Event
from events.container_lookup import NoSuchContainer, find_container
from events.errors import DeadlineExceeded, Unavailable
from events.log import Append
from events.messages import container as m
from events.projections.containers import Container
from handlers.containers import decide
from handlers.context import Context

TURN_TIMEOUT_S = 120.0
OUTCOME_PAUSES_S = (0.1, 0.5, 2.0, 5.0, 10.0)


def current(context: Context, container_id: str) -> Container:
    """The present state by full id. Raises NoSuchContainer."""
    found = context.state.containers.get(container_id)
    if found is None:
        raise NoSuchContainer(container_id)
    return found


async def conclude(
    context: Context, container_id: str, *events: Event, release: Sequence[str] = (), answer: object = msgspec.UNSET
) -> None:
    """Append an outcome: an intent must not stay open because the disk is full for a moment, or a client left."""
    stream = f"container/{container_id}"
    with anyio.CancelScope(shield=True):
        for pause_s in OUTCOME_PAUSES_S:
            try:
                await context.append(stream, *events, release=release, answer=answer)
            except Unavailable:
                await anyio.sleep(pause_s)
            else:
                return
        await context.append(stream, *events, release=release, answer=answer)


async def enter(
    context: Context,
    name: str,
    verb: str,
    decision: Callable[[Container], Append],
    *,
    answer: object = msgspec.UNSET,
) -> Container:
    """Append what `decision` chooses once no open intent stands against it; the state before that is returned.

    `answer` is for a command that the decision concludes.

    Raises what the table of meetings or the decision refuses with, DeadlineExceeded when its turn doesn't come.
    """
    c = find_container(context.state.containers, name)
    while True:
        await turn(context, c.id, verb)
        seen: list[Container] = []

        def choose(container_id: str = c.id, seen: list[Container] = seen) -> Append:
            state = current(context, container_id)
            seen.append(state)
            if decide.meet(verb, state) is decide.Meeting.WAIT:
                raise NotYet
            return decision(state)

        try:
            await context.decide(choose, answer=answer)
        except NotYet:
            continue
        return seen[-1]


class NotYet(Exception):
    """Another intent was opened while this one waited."""


async def turn(context: Context, container_id: str, verb: str) -> None:
    """Wait until no open intent makes this verb wait."""

    def free() -> bool:
        state = context.state.containers.get(container_id)
        return state is None or decide.meet(verb, state) is not decide.Meeting.WAIT

    if not await context.until(f"container/{container_id}", free, TURN_TIMEOUT_S):
        operation = current(context, container_id).operation
        raise DeadlineExceeded(f"container {container_id}: its {operation} is still under way; try again later")


async def record_access(context: Context, command: m.RecordAccess) -> None:
    """Somebody looked into it: a fact of its own, no effect."""
    c = find_container(context.state.containers, command.container)
    event = m.ContainerAccessed(container_id=c.id, action=command.action, attributes=command.attributes)
    await context.append(f"container/{c.id}", event, answer=None)
