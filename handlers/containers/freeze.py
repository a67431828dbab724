"""Pausing and going on."""

import anyio

from events.messages import container as m
from events.messages.exec import FreezeProcess
from handlers.containers import decide
from handlers.containers.access import enter
from handlers.context import Context


async def pause(context: Context, name: str) -> None:
    """Answer PauseContainer."""
    c = await enter(context, name, "pause", decide.pause)
    await _freeze(context, c.id, frozen=True)
    await context.append(f"container/{c.id}", m.ContainerPaused(container_id=c.id), answer=None)


async def unpause(context: Context, name: str) -> None:
    """Answer UnpauseContainer."""
    c = await enter(context, name, "unpause", decide.unpause)
    await _freeze(context, c.id, frozen=False)
    await context.append(f"container/{c.id}", m.ContainerUnpaused(container_id=c.id), answer=None)


async def _freeze(context: Context, container_id: str, *, frozen: bool) -> None:
    try:
        await context.send(FreezeProcess(container_id=container_id, frozen=frozen))
    except BaseException as error:
        failed = m.ContainerFreezeFailed(
            container_id=container_id, paused=not frozen, error=str(error) or type(error).__name__
        )
        with anyio.CancelScope(shield=True):
            await context.append(f"container/{container_id}", failed)
        raise
