"""Pausing and going on."""

from events.errors import reason_of
from events.messages import container as m
from events.messages.exec import FreezeProcess
from handlers.containers import decide
from handlers.containers.access import conclude, enter
from handlers.context import Context


async def pause(context: Context, name: str) -> None:
    """Answer PauseContainer."""
    c = await enter(context, name, "pause", decide.pause)
    await _freeze(context, c.id, frozen=True)
    await conclude(context, c.id, m.ContainerPaused(container_id=c.id), answer=None)


async def unpause(context: Context, name: str) -> None:
    """Answer UnpauseContainer."""
    c = await enter(context, name, "unpause", decide.unpause)
    await thaw(context, c.id, answer=None)


async def thaw(context: Context, container_id: str, *, answer: object) -> None:
    """Carry out an unpause whose intent is in the log."""
    await _freeze(context, container_id, frozen=False)
    await conclude(context, container_id, m.ContainerUnpaused(container_id=container_id), answer=answer)


async def _freeze(context: Context, container_id: str, *, frozen: bool) -> None:
    try:
        await context.send(FreezeProcess(container_id=container_id, frozen=frozen))
    except BaseException as error:
        failed = m.ContainerFreezeFailed(container_id=container_id, paused=not frozen, error=reason_of(error))
        await conclude(context, container_id, failed)
        raise
