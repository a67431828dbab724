"""Takes down everything that a start made; what resists is told, so that the container can say it."""

import logging
from functools import partial

from events.base import Command
from events.errors import EngineError
from events.messages.exec import DeleteProcess
from events.messages.layer import UnmountContainerLayer
from events.messages.network import DisconnectSandbox
from events.messages.volume import UnmountVolume
from events.projections.containers import Container
from handlers.context import Context
from handlers.together import together

LOGGER = logging.getLogger(__name__)


async def take_down(context: Context, c: Container) -> tuple[str, ...]:
    """Everything that a start makes, in reverse. Returns what resisted, and why."""
    leftovers: list[str] = []
    await together(
        partial(_down_process, context, c, leftovers),
        partial(_attempt, context, DisconnectSandbox(container_id=c.id), leftovers),
    )
    for point in reversed(c.mounts):
        if point.type == "volume":
            await _attempt(context, UnmountVolume(name=point.name, container_id=c.id), leftovers)
    return tuple(leftovers)


async def _down_process(context: Context, c: Container, leftovers: list[str]) -> None:
    process = partial(_attempt, context, DeleteProcess(container_id=c.id), leftovers)
    layer = partial(_attempt, context, UnmountContainerLayer(container_id=c.id), leftovers)
    if _uses_no_file_system(c):
        await together(process, layer)
    else:
        await process()
        await layer()


def _uses_no_file_system(c: Container) -> bool:
    """Whether its end was seen, and with it that of all others in a pid namespace of its own."""
    return c.observed_run == c.run and not c.host.pid_mode


async def _attempt(context: Context, command: Command[None], leftovers: list[str]) -> None:
    try:
        await context.send(command)
    except EngineError as error:
        LOGGER.warning("%s: %s", command, error)
        leftovers.append(f"{command.TYPE}: {error}")
