"""The handler of what goes to and from registries: commands, their intents and outcomes, and what a crash leaves."""

import logging
from collections.abc import Sequence
from typing import Any

import anyio
import msgspec

from events import references
from events.base import Command
from events.envelope import Recorded
from events.errors import EngineError, Unavailable, reason_of
from events.messages import image as m
from handlers.context import Context, Handle
from handlers.images.create import INTERRUPTED
from handlers.images.downloads import Downloads, wall_s
from handlers.images.handler import ImageHandler
from handlers.images.ports import Registries, Repository
from handlers.images.pull import Means, Pulled, pull_one
from handlers.images.registry_errors import RegistryRefused, denied_pull
from handlers.progress import Note, Progress

LOGGER = logging.getLogger(__name__)


class Abandoned(Unavailable):
    """Whoever wanted it has left."""

    def __init__(self) -> None:
        super().__init__("context canceled")  # Docker's words


class DistributionHandler:
    """Pulls. It shares content and turns with the handler of images, so that both agree on who changes what."""

    def __init__(self, images: ImageHandler, registries: Registries, downloads: Downloads, progress: Progress) -> None:
        self._images, self._registries, self._downloads, self._progress = images, registries, downloads, progress

    def commands(self) -> dict[type[Command[Any]], Handle]:
        """See `Handler.commands`."""
        return {m.PullImages: self._pull}

    async def reconcile(self, context: Context) -> None:
        """See `Handler.reconcile`. Cut off downloads stay for the next try."""
        for transfer in context.state.transfers:
            intent = await _intent(context, stream(transfer.id))
            if intent is None:
                continue
            cause = msgspec.structs.replace(intent.cause, actor=context.cause.actor, causation=intent.sequence)
            failed = m.ImagePullFailed(pull_id=transfer.id, error=INTERRUPTED)
            await context.on_behalf_of(cause).append(stream(transfer.id), failed, answer=Unavailable(INTERRUPTED))
        await self._clean()

    async def _pull(self, context: Context, command: m.PullImages) -> m.PulledImages:
        with self._progress.watched(context.cause.command_id) as scope:
            return await self._told(context, command)
        if scope.cancelled_caught:
            raise Abandoned
        raise AssertionError("unreachable")

    async def _told(self, context: Context, command: m.PullImages) -> m.PulledImages:
        """Intent, act, outcome."""
        pull_id = context.ids.new()
        requested = m.ImagePullRequested(pull_id=pull_id, name=command.name, platform=command.platform)
        with anyio.CancelScope(shield=True):
            await context.append(stream(pull_id), requested)
        try:
            answer = await self._all(context, command)
        except BaseException as error:
            reason = reason_of(error if isinstance(error, Exception) else Abandoned())
            with anyio.CancelScope(shield=True):
                await context.append(stream(pull_id), m.ImagePullFailed(pull_id=pull_id, error=reason))
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await self._clean()
        with anyio.CancelScope(shield=True):
            finished = m.ImagePullFinished(pull_id=pull_id, image_ids=answer.image_ids)
            await context.append(stream(pull_id), finished, answer=answer)
        return answer

    async def _all(self, context: Context, command: m.PullImages) -> m.PulledImages:
        reference = references.parse(command.name)
        async with self._registries.repository(reference.name, command.credentials) as repository:
            means = self._means(context, repository)
            pulled: list[Pulled] = []
            for each in await _wanted(repository, reference):
                pulled.append(await pull_one(context, each, command.platform, means))
                means.tell(Note(status=f"Digest: {pulled[-1].digest}"))
        means.tell(Note(status=_status(reference, pulled)))
        return m.PulledImages(image_ids=tuple(each.image_id for each in pulled))

    def _means(self, context: Context, repository: Repository) -> Means:
        command_id = context.cause.command_id
        return Means(
            repository=repository,
            downloads=self._downloads,
            content=self._images.content,
            turns=self._images.turns,
            tell=lambda note: self._progress.tell(command_id, note),
        )

    async def _clean(self) -> None:
        try:
            await self._downloads.remove_stale(wall_s())
        except EngineError:
            LOGGER.exception("stale downloads can't be removed")


def stream(transfer_id: str) -> str:
    """The stream of a transfer."""
    return f"transfer/{transfer_id}"


async def _wanted(repository: Repository, reference: references.Reference) -> Sequence[references.Reference]:
    """What was named, or all tags of a repository that was named without one."""
    if reference.tag or reference.digest:
        return (reference,)
    try:
        tags = await repository.tags()
    except RegistryRefused as error:
        raise denied_pull(reference.familiar_name, reference.familiar, error) from error
    return [references.parse(references.tagged(reference.name, tag)) for tag in tags]


def _status(reference: references.Reference, pulled: Sequence[Pulled]) -> str:
    is_new = any(each.is_new for each in pulled)
    return f"Status: {'Downloaded newer image' if is_new else 'Image is up to date'} for {reference.familiar}"


async def _intent(context: Context, transfer: str) -> Recorded | None:
    async for recorded in context.log.read_stream(transfer):
        if isinstance(recorded.event, m.ImagePullRequested):
            return recorded
    return None
