"""Follows the log and sends the commands that policies choose; a command's id names its event, so it acts once."""

import logging

import anyio
import anyio.abc

from events.envelope import ENGINE, Cause, Recorded
from events.errors import Conflict, DeadlineExceeded, EngineError, NotModified, Unavailable
from events.log import EventLog
from events.projections.state import State
from handlers.context import Clock, Sender
from handlers.policies.reactions import Reaction, react

LOGGER = logging.getLogger(__name__)
LONGEST_DELAY_S = 60.0  # a wall clock that was set back holds nothing up for longer
PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 60.0, 60.0, 60.0)


class PolicyRunner:
    """Runs until cancelled; each command in a task of its own, so that one that hangs holds up no other."""

    def __init__(self, log: EventLog, state: State, sender: Sender, clock: Clock) -> None:
        self._log, self._state, self._sender, self._clock = log, state, sender, clock

    async def run(self, after: int, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """React to every event with a sequence greater than `after`."""
        async with anyio.create_task_group() as tasks, self._log.subscribe(after) as events:
            task_status.started()
            async for recorded in events:
                for number, reaction in enumerate(react(recorded, self._state)):
                    tasks.start_soon(self._carry_out, reaction, recorded, number)

    async def _carry_out(self, reaction: Reaction, recorded: Recorded, number: int) -> None:
        left_s = (reaction.due_ns - self._clock.now_ns()) / 1e9 if reaction.due_ns else 0.0
        await anyio.sleep(min(max(0.0, left_s), LONGEST_DELAY_S))
        await self._send(reaction, recorded, number)

    async def _send(self, reaction: Reaction, recorded: Recorded, number: int) -> None:
        """Try until it is carried out or makes no sense any more; each try is a command of its own."""
        command = reaction.command
        passing = (Unavailable, DeadlineExceeded, Conflict) if reaction.is_patient else (Unavailable, DeadlineExceeded)
        for attempt, pause_s in enumerate((*PAUSES_S, 0.0)):
            cause = Cause(
                actor=ENGINE,
                command_id=f"policy-{recorded.sequence}-{number}-{attempt}",
                correlation_id=recorded.cause.correlation_id,
                causation=recorded.sequence,
            )
            try:
                await self._sender(command, command_id=cause.command_id, cause=cause)
            except passing as error:
                LOGGER.warning("policy on event %d: %s: %s", recorded.sequence, command.TYPE, error)
                await anyio.sleep(pause_s)
            except NotModified:
                return
            except EngineError as error:
                LOGGER.warning("policy on event %d: %s: %s", recorded.sequence, command.TYPE, error)
                return
            else:
                return
