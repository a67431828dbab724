"""Squares the log with the host at boot, domain by domain; a stuck object delays neither boot nor another object."""

import logging
from collections.abc import Sequence

import anyio
import anyio.abc
import msgspec

from events.envelope import RECOVERY, Cause
from events.log import EventLog
from handlers.context import Context, Handler, Services

LOGGER = logging.getLogger(__name__)


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long a domain is waited for; what takes longer goes on beside the API."""

    longest_s: float = 10.0
    without_event_s: float = 1.0  # nothing settled any more: what is left is stuck, or slow
    last_without_event_s: float = 0.5  # the same for the last domain: nothing but the API comes after it


DEFAULT_PATIENCE = Patience()


async def recover(
    handlers: Sequence[Handler],
    services: Services,
    tasks: anyio.abc.TaskGroup,
    patience: Patience = DEFAULT_PATIENCE,
) -> None:
    """Reconcile every handler, in the order given: what a later one asks the host must be settled by then."""
    for number, handler in enumerate(handlers, 1):
        done, is_last = anyio.Event(), number == len(handlers)
        tasks.start_soon(_reconcile, handler, services, done)
        without_event_s = patience.last_without_event_s if is_last else patience.without_event_s
        if not await _finished(done, services.log, patience.longest_s, without_event_s):
            LOGGER.warning("%s: recovery takes long and goes on in the background", type(handler).__name__)


async def _finished(done: anyio.Event, log: EventLog, longest_s: float, without_event_s: float) -> bool:
    with anyio.move_on_after(longest_s):
        while not done.is_set():
            before = log.head
            with anyio.move_on_after(without_event_s):
                await done.wait()
            if log.head == before:
                break
    return done.is_set()


async def _reconcile(handler: Handler, services: Services, done: anyio.Event) -> None:
    recovery_id = f"recovery-{services.ids.new()[:32]}"
    cause = Cause(actor=RECOVERY, command_id=recovery_id, correlation_id=recovery_id)
    try:
        await handler.reconcile(Context(services, cause))
    except Exception:
        LOGGER.exception("%s: recovery failed; it is tried again at the next start", type(handler).__name__)
    finally:
        done.set()
