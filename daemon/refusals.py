"""Leaves a trace of what was asked for in vain; without it the log would know only of what worked."""

import logging

from events.envelope import Cause
from events.errors import EngineError
from events.log import Append, EventLog
from events.messages.system import CommandRefused

LOGGER = logging.getLogger(__name__)
REASON_CHARACTERS = 4096  # a client's own text may be part of it, and be as large as a body
TARGET_CHARACTERS = 256


async def record_refusal(
    log: EventLog, cause: Cause, *, command: str, target: str, error: EngineError, reply: bytes | None = None
) -> None:
    """Append CommandRefused under the cause's command. `reply` also concludes it: a repeat gets that again.

    A log that doesn't take it is a matter for the daemon's own log: the client has its answer either way.
    """
    refused = CommandRefused(
        command=command,
        target=target[:TARGET_CHARACTERS],
        kind=error.kind,
        reason=error.recorded[:REASON_CHARACTERS],
    )
    append = Append(stream=f"command/{cause.command_id}", events=(refused,))
    try:
        await log.append((append,), cause=cause, reply=reply)
    except EngineError:
        LOGGER.exception("the refusal of %s %s could not be recorded", command, cause.command_id)
