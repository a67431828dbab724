"""Squares the log with the host at boot, domain by domain; a stuck object delays neither boot nor another object."""

import logging
from collections.abc import Sequence

import anyio
import anyio.abc

from events.envelope import RECOVERY, Cause
from handlers.context import Context, Handler, Services

LOGGER = logging.getLogger(__name__)
PATIENCE_S = 10.0  # for each domain; what takes longer goes on beside the API


async def recover(handlers: Sequence[Handler], services: Services, tasks: anyio.abc.TaskGroup) -> None:
    """Reconcile every handler, in the order given: what a later one asks the host must be settled by then."""
    for handler in handlers:
        done = anyio.Event()
        tasks.start_soon(_reconcile, handler, services, done)
        with anyio.move_on_after(PATIENCE_S):
            await done.wait()
            continue
        LOGGER.warning("%s: recovery takes long and goes on in the background", type(handler).__name__)


async def _reconcile(handler: Handler, services: Services, done: anyio.Event) -> None:
    recovery_id = f"recovery-{services.ids.new()[:32]}"
    cause = Cause(actor=RECOVERY, command_id=recovery_id, correlation_id=recovery_id)
    try:
        await handler.reconcile(Context(services, cause))
    except Exception:
        LOGGER.exception("%s: recovery failed; it is tried again at the next start", type(handler).__name__)
    finally:
        done.set()
