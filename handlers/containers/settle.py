"""What follows the end of a process: everything that served it is taken down, then the container has died."""

import logging
from functools import partial

from events.base import Command
from events.errors import EngineError
from events.log import Append
from events.messages import container as m
from events.messages.exec import DeleteProcess
from events.messages.layer import UnmountContainerLayer
from events.messages.network import DisconnectSandbox
from events.messages.volume import UnmountVolume
from events.projections.containers import Container
from handlers.containers import decide
from handlers.containers.access import conclude, current, turn
from handlers.context import Context
from handlers.policies.restart import next_run
from handlers.together import together

LOGGER = logging.getLogger(__name__)
_NS_PER_S, _NS_PER_MS = 1_000_000_000, 1_000_000


async def settle_exit(context: Context, container_id: str) -> None:
    """Answer SettleExit. Not ended, or settled meanwhile, is fine."""
    await turn(context, container_id, "settle")
    try:
        await context.decide(lambda: _observe(context, container_id))
    except NotEnded:
        await turn(context, container_id, "settle")  # whoever was faster: when this returns the end is settled
        return
    await finish_exit(context, container_id, answer=None)


async def finish_exit(context: Context, container_id: str, *, answer: object) -> None:
    """What an observed exit demands; recovery comes here when a daemon was killed in the middle of it."""
    leftovers = await take_down(context, current(context, container_id))
    c = current(context, container_id)
    run_s = max(0, c.finished_at_ns - c.started_at_ns) // _NS_PER_S
    died = m.ContainerDied(container_id=c.id, exit_code=c.exit_code, run_s=run_s, leftovers=leftovers)
    await conclude(context, c.id, died, *_restart(context, c), answer=answer)


def _restart(context: Context, c: Container) -> tuple[m.ContainerRestartScheduled, ...]:
    """What its restart policy says to the end of this run, in the same append: it is never seen to have just exited."""
    follows = next_run(c)
    if follows is None:
        return ()
    scheduled = m.ContainerRestartScheduled(
        container_id=c.id,
        run=c.run,
        attempt=follows.attempt,
        delay_ms=follows.delay_ms,
        due_ns=context.clock.now_ns() + follows.delay_ms * _NS_PER_MS,
    )
    return (scheduled,)


class NotEnded(Exception):
    """There is a process still, or somebody else settles its end."""


def _observe(context: Context, container_id: str) -> Append:
    c = context.state.containers.get(container_id)
    exited = context.state.execs.last_exit(container_id)
    if c is None or exited is None or not c.is_live or exited.run != c.run or c.observed_run == c.run:
        raise NotEnded
    return decide.observe(c, exited.exit_code, exited.finished_at_ns, oom_killed=exited.oom_killed)


async def take_down(context: Context, c: Container) -> tuple[str, ...]:
    """Everything that a start makes, in reverse. Returns what resisted, and why."""
    leftovers: list[str] = []
    await together(
        partial(_down_process, context, c, leftovers),
        partial(_attempt, context, DisconnectSandbox(container_id=c.id), leftovers),
    )
    return tuple(leftovers)


async def _down_process(context: Context, c: Container, leftovers: list[str]) -> None:
    """The process first: it keeps the file systems busy."""
    await _attempt(context, DeleteProcess(container_id=c.id), leftovers)
    for point in reversed(c.mounts):
        if point.type == "volume":
            await _attempt(context, UnmountVolume(name=point.name, container_id=c.id), leftovers)
    await _attempt(context, UnmountContainerLayer(container_id=c.id), leftovers)


async def _attempt(context: Context, command: Command[None], leftovers: list[str]) -> None:
    try:
        await context.send(command)
    except EngineError as error:
        LOGGER.warning("%s: %s", command, error)
        leftovers.append(f"{command.TYPE}: {error}")
