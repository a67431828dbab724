"""Follows the log and sends the commands that policies choose; a command's id names its event, so it acts once."""

import logging
from typing import Any

import anyio
import anyio.abc

from events.base import Command
from events.envelope import ENGINE, Cause, Recorded
from events.errors import EngineError
from events.log import EventLog
from events.projections.state import State
from handlers.context import Sender
from handlers.policies.reactions import react

LOGGER = logging.getLogger(__name__)


class PolicyRunner:
    """Runs until cancelled; each command in a task of its own, so that one that hangs holds up no other."""

    def __init__(self, log: EventLog, state: State, sender: Sender) -> None:
        self._log, self._state, self._sender = log, state, sender

    async def run(self, after: int, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """React to every event with a sequence greater than `after`."""
        async with anyio.create_task_group() as tasks, self._log.subscribe(after) as events:
            task_status.started()
            async for recorded in events:
                for number, command in enumerate(react(recorded, self._state)):
                    tasks.start_soon(self._send, command, recorded, number)

    async def _send(self, command: Command[Any], recorded: Recorded, number: int) -> None:
        cause = Cause(
            actor=ENGINE,
            command_id=f"policy-{recorded.sequence}-{number}",
            correlation_id=recorded.cause.correlation_id,
            causation=recorded.sequence,
        )
        try:
            await self._sender(command, command_id=cause.command_id, cause=cause)
        except EngineError as error:
            LOGGER.warning("policy on event %d: %s: %s", recorded.sequence, command.TYPE, error)
