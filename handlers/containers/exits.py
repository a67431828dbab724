"""What follows the end of a process: what served it goes, the container has died, and with `--rm` it goes too."""

from events.log import Append
from events.messages import container as m
from events.projections.containers import Container
from handlers.containers import decide
from handlers.containers.access import NotYet, conclude, current, turn
from handlers.containers.remove import carry_out, remove
from handlers.containers.settle import take_down
from handlers.context import Context
from handlers.policies.restart import next_run

_NS_PER_S, _NS_PER_MS = 1_000_000_000, 1_000_000


async def settle_exit(context: Context, container_id: str) -> None:
    """Answer SettleExit. Not ended, or settled meanwhile, is fine."""
    while True:
        await turn(context, container_id, "settle")
        try:
            await context.decide(lambda: _observe(context, container_id))
        except NotYet:
            continue
        except NotEnded:
            await turn(context, container_id, "settle")  # whoever was faster: when this returns the end is settled
        else:
            await finish_exit(context, container_id, answer=None)
        break
    await _remove_what_is_left(context, container_id)


async def finish_exit(context: Context, container_id: str, *, answer: object) -> None:
    """What an observed exit demands; recovery comes here when a daemon was killed in the middle of it."""
    leftovers = await take_down(context, current(context, container_id))
    c = current(context, container_id)
    run_s = max(0, c.finished_at_ns - c.started_at_ns) // _NS_PER_S
    died = m.ContainerDied(container_id=c.id, exit_code=c.exit_code, run_s=run_s, leftovers=leftovers)
    removes_itself = c.host.auto_remove and not c.restarting and c.operation == "exit" and not leftovers
    if removes_itself:
        await conclude(context, c.id, died, m.ContainerRemoveRequested(container_id=c.id, volumes=True), answer=answer)
        await carry_out(context, c.id, volumes=True)
    else:
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


async def _remove_what_is_left(context: Context, container_id: str) -> None:
    """Its removal failed, or there was something in the way, when it ended."""
    c = context.state.containers.get(container_id)
    if c is not None and not c.operation and c.removes_itself:
        await remove(context, m.RemoveContainer(container=container_id, volumes=True))


class NotEnded(Exception):
    """There is a process still, or somebody else settles its end."""


def _observe(context: Context, container_id: str) -> Append:
    c = context.state.containers.get(container_id)
    exited = context.state.execs.last_exit(container_id)
    if c is None or exited is None or not c.is_live or exited.run != c.run or c.observed_run == c.run:
        raise NotEnded
    if decide.meet("settle", c) is decide.Meeting.WAIT:
        raise NotYet
    return decide.observe(c, exited.exit_code, exited.finished_at_ns, oom_killed=exited.oom_killed)
