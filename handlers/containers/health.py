"""Health as a fact: what probes found, once it differs from what the log says."""

from events.errors import NotModified
from events.log import Append
from events.messages import container as m
from events.projections.containers import Container
from handlers.containers.access import enter
from handlers.containers.errors import NotRunning
from handlers.context import Context


async def change_health(context: Context, command: m.ChangeHealth) -> None:
    """Answer ChangeHealth."""

    def decision(c: Container) -> Append:
        if not c.is_live or c.run != command.run:
            raise NotRunning(c.id)
        if c.health == command.status:
            raise NotModified(f"container {c.id} is {c.health} already")
        event = m.ContainerHealthChanged(container_id=c.id, status=command.status)
        return Append(stream=f"container/{c.id}", events=(event,), expected=c.version)

    await enter(context, command.container, "change_health", decision, answer=None)
