"""Builds that a killed daemon left: their containers go, and it is told that they have failed.

Which containers are a build's is told by the log: they were created for its client's command, after its intent.
"""

import logging

import msgspec

from events.errors import Unavailable
from events.messages.build import BuildFailed, BuildRequested
from events.messages.container import ContainerCreateRequested
from events.projections.builds import Build
from handlers.build.containers import remove
from handlers.context import Context

LOGGER = logging.getLogger(__name__)
INTERRUPTED = "the engine was interrupted"


async def reconcile(context: Context) -> None:
    """End every build that is open. One that can't be ended is tried again at the next start."""
    for build in context.state.builds:
        try:
            await _settle(context, build)
        except Exception:  # whatever is wrong with one, the others are ended
            LOGGER.exception("build %s can't be settled", build.id)


async def _settle(context: Context, build: Build) -> None:
    for container_id in await _containers(context, build):
        await remove(context, container_id)
    stream = f"build/{build.id}"
    async for recorded in context.log.read_stream(stream):
        if isinstance(recorded.event, BuildRequested):
            cause = msgspec.structs.replace(recorded.cause, actor=context.cause.actor, causation=recorded.sequence)
            failed = BuildFailed(build_id=build.id, error=INTERRUPTED)
            await context.on_behalf_of(cause).append(stream, failed, answer=Unavailable(INTERRUPTED))


async def _containers(context: Context, build: Build) -> list[str]:
    """Ids of the containers of its steps that are there."""
    found = []
    async for recorded in context.log.read(build.sequence, limit=0):
        event = recorded.event
        if isinstance(event, ContainerCreateRequested) and recorded.cause.correlation_id == build.correlation_id:
            found.append(event.container_id)
    return [each for each in found if context.state.containers.get(each) is not None]
