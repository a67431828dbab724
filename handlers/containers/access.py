"""How every verb finds its container and waits for its turn."""

from collections.abc import Callable

from events.container_lookup import NoSuchContainer, find_container
from events.errors import DeadlineExceeded
from events.log import Append
from events.messages import container as m
from events.projections.containers import Container
from handlers.containers import decide
from handlers.context import Context

TURN_TIMEOUT_S = 120.0


def current(context: Context, container_id: str) -> Container:
    """The present state by full id. Raises NoSuchContainer."""
    found = context.state.containers.get(container_id)
    if found is None:
        raise NoSuchContainer(container_id)
    return found


async def enter(context: Context, name: str, verb: str, decision: Callable[[Container], Append]) -> Container:
    """Append what `decision` chooses once no open intent stands against it; the state before that is returned.

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
            await context.decide(choose)
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
