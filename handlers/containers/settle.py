"""What follows the end of a process: everything that served it is taken down, then the container has died."""

import logging
from functools import partial

from events.errors import EngineError
from events.log import Append
from events.messages import container as m
from events.messages.exec import DeleteProcess
from events.messages.layer import UnmountContainerLayer
from events.messages.network import DisconnectSandbox
from events.messages.volume import UnmountVolume
from events.projections.containers import Container
from handlers.containers import decide
from handlers.containers.access import current, turn
from handlers.context import Context
from handlers.together import together

LOGGER = logging.getLogger(__name__)
_NS_PER_S = 1_000_000_000


async def settle_exit(context: Context, container_id: str) -> None:
    """Answer SettleExit. Not ended, or settled meanwhile, is fine."""
    await turn(context, container_id, "settle")
    try:
        await context.decide(lambda: _observe(context, container_id))
    except NotEnded:
        return
    await finish_exit(context, container_id)


async def finish_exit(context: Context, container_id: str) -> None:
    """What an observed exit demands; recovery comes here when a daemon was killed in the middle of it."""
    await take_down(context, current(context, container_id))
    c = current(context, container_id)
    run_s = max(0, c.finished_at_ns - c.started_at_ns) // _NS_PER_S
    died = m.ContainerDied(container_id=c.id, exit_code=c.exit_code, run_s=run_s)
    await context.append(f"container/{c.id}", died, answer=None)


class NotEnded(Exception):
    """There is a process still, or somebody else settles its end."""


def _observe(context: Context, container_id: str) -> Append:
    c = context.state.containers.get(container_id)
    exited = context.state.execs.last_exit(container_id)
    if c is None or exited is None or not c.is_live or exited.run != c.run or c.operation == "exit":
        raise NotEnded
    return decide.observe(c, exited.exit_code, exited.finished_at_ns, oom_killed=exited.oom_killed)


async def take_down(context: Context, c: Container) -> None:
    """Everything that a start makes, in reverse; what resists is logged and left to the removal."""
    await together(
        partial(_down_file_systems, context, c),
        partial(_attempt, context, "network", DisconnectSandbox(container_id=c.id)),
    )


async def _down_file_systems(context: Context, c: Container) -> None:
    await _attempt(context, "process", DeleteProcess(container_id=c.id))
    for point in reversed(c.mounts):
        if point.type == "volume":
            await _attempt(context, "volume", UnmountVolume(name=point.name, container_id=c.id))
    await _attempt(context, "mount", UnmountContainerLayer(container_id=c.id))


Step = DeleteProcess | DisconnectSandbox | UnmountVolume | UnmountContainerLayer


async def _attempt(context: Context, what: str, command: Step) -> None:
    try:
        await context.send(command)
    except EngineError as error:
        LOGGER.warning("the %s could not be taken down (%s): %s", what, command, error)
