"""The handler of what is fetched and sent over the network: commands, intents and outcomes, and what a crash leaves."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import anyio
import msgspec

from events import references
from events.base import Command, Event
from events.envelope import Recorded
from events.errors import EngineError, Unavailable, reason_of
from events.messages import image as m
from events.messages.layer import ReleaseLayers
from events.projections.transfers import Transfer
from handlers.context import Context, Handle
from handlers.images.create import INTERRUPTED
from handlers.images.downloads import Downloads, wall_s
from handlers.images.fetch import fetched, importing
from handlers.images.handler import ImageHandler
from handlers.images.ports import LayerTars, Registries, Repository, Sources
from handlers.images.pull import Means, Pulled, pull_one
from handlers.images.push import Sending, local_tags, push_one
from handlers.images.registry_errors import RegistryRefused, denied_pull
from handlers.images.registry_settings import RegistrySettings
from handlers.images.trust import Guard, Untrusted
from handlers.progress import Note, Progress

LOGGER = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class Abandoned(Unavailable):
    """Whoever wanted it has left."""

    def __init__(self) -> None:
        super().__init__("context canceled")  # Docker's words


class DistributionHandler:
    """Pulls, pushes and imports from URLs. Content and turns are those of the handler of images, so that both agree."""

    def __init__(
        self,
        images: ImageHandler,
        registries: Registries,
        sources: Sources,
        downloads: Downloads,
        tars: LayerTars,
        *,
        progress: Progress,
        settings: Callable[[], RegistrySettings],
    ) -> None:
        self._images, self._registries, self._sources = images, registries, sources
        self._downloads, self._tars = downloads, tars
        self._progress, self._settings = progress, settings
        self._uploads = anyio.CapacityLimiter(1)

    def commands(self) -> dict[type[Command[Any]], Handle]:
        """See `Handler.commands`."""
        return {m.PullImages: self._pull, m.PushImages: self._push, m.FetchImage: self._import}

    async def reconcile(self, context: Context) -> None:
        """See `Handler.reconcile`. Cut off downloads stay for the next try."""
        for transfer in context.state.transfers:
            try:
                await self._settle(context, transfer)
            except EngineError:
                LOGGER.exception("the transfer of %s can't be settled", transfer.name)
        await self._clean()

    async def _settle(self, context: Context, transfer: Transfer) -> None:
        intent = await _intent(context, stream(transfer.id))
        if intent is None:
            return
        if transfer.is_push:
            await context.send(ReleaseLayers(holder=transfer.id))
        cause = msgspec.structs.replace(intent.cause, actor=context.cause.actor, causation=intent.sequence)
        failed = _failed(transfer.id, INTERRUPTED, is_push=transfer.is_push)
        await context.on_behalf_of(cause).append(stream(transfer.id), failed, answer=Unavailable(INTERRUPTED))

    async def _pull(self, context: Context, command: m.PullImages) -> m.PulledImages:
        pull_id = context.ids.new()
        requested = m.ImagePullRequested(pull_id=pull_id, name=command.name, platform=command.platform)

        async def act() -> m.PulledImages:
            try:
                return await self._fetch(context, command)
            except Untrusted as error:
                refused = m.ImageRefused(pull_id=pull_id, name=error.name, digest=error.digest, reason=error.reason)
                await context.append(stream(pull_id), refused)
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    await self._clean()

        def finished(answer: m.PulledImages) -> Event:
            return m.ImagePullFinished(pull_id=pull_id, image_ids=answer.image_ids)

        return await self._transfer(context, pull_id, requested, act, finished)

    async def _push(self, context: Context, command: m.PushImages) -> m.PushedImages:
        push_id = context.ids.new()
        requested = m.ImagePushRequested(push_id=push_id, name=command.name)

        async def act() -> m.PushedImages:
            try:
                return await self._send(context, command, push_id)
            finally:
                with anyio.CancelScope(shield=True):
                    await context.send(ReleaseLayers(holder=push_id))

        def finished(_: m.PushedImages) -> Event:
            return m.ImagePushFinished(push_id=push_id)

        return await self._transfer(context, push_id, requested, act, finished)

    async def _import(self, context: Context, command: m.FetchImage) -> m.ImportedImage:
        """Nothing but a scratch file changes before the import's own intent. Raises Abandoned."""
        tell = self._telling(context)
        with self._progress.watched(context.cause.command_id) as scope:
            async with self._sources.open(command.url, command.credentials) as stream:
                tell(Note(status=f"Downloading from {command.url}"))
                async with fetched(stream, self._images.scratch, context.cause.command_id, tell) as path:
                    return await self._images.take_in(context, importing(command, path))
        if scope.cancelled_caught:
            raise Abandoned
        raise AssertionError("unreachable")

    async def _transfer(
        self,
        context: Context,
        transfer_id: str,
        requested: Event,
        act: Callable[[], Awaitable[Answer]],
        finished: Callable[[Answer], Event],
    ) -> Answer:
        """Intent, act, outcome; ends with the last of its watchers. Raises what `act` raises, and Abandoned."""
        where, is_push = stream(transfer_id), isinstance(requested, m.ImagePushRequested)
        with self._progress.watched(context.cause.command_id) as scope:
            with anyio.CancelScope(shield=True):
                await context.append(where, requested)
            try:
                answer = await act()
            except BaseException as error:
                reason = reason_of(error if isinstance(error, Exception) else Abandoned())
                with anyio.CancelScope(shield=True):
                    await context.append(where, _failed(transfer_id, reason, is_push=is_push))
                raise
            with anyio.CancelScope(shield=True):
                await context.append(where, finished(answer), answer=answer)
            return answer
        if scope.cancelled_caught:
            raise Abandoned
        raise AssertionError("unreachable")

    async def _fetch(self, context: Context, command: m.PullImages) -> m.PulledImages:
        reference = references.parse(command.name)
        tell, policy = self._telling(context), self._settings().trust_policy
        async with self._registries.repository(reference.name, command.credentials) as repository:
            means = Means(
                repository=repository,
                downloads=self._downloads,
                content=self._images.content,
                turns=self._images.turns,
                tell=tell,
                guard=Guard(policy) if policy else None,
            )
            pulled: list[Pulled] = []
            for each in await _wanted(repository, reference):
                pulled.append(await pull_one(context, each, command.platform, means))
                tell(Note(status=f"Digest: {pulled[-1].digest}"))
        tell(Note(status=_status(reference, pulled)))
        return m.PulledImages(image_ids=tuple(each.image_id for each in pulled))

    async def _send(self, context: Context, command: m.PushImages, push_id: str) -> m.PushedImages:
        reference = references.parse(command.name)
        tell, settings = self._telling(context), self._settings()
        tell(Note(status=f"The push refers to repository [{reference.name}]"))
        tags = local_tags(context.state.images, reference)
        self._uploads.total_tokens = settings.uploads
        async with self._registries.repository(reference.name, command.credentials) as repository:
            sending = Sending(
                repository=repository,
                tars=self._tars,
                content=self._images.content,
                limiter=self._uploads,
                attempts=settings.attempts,
                holder=push_id,
                tell=tell,
            )
            return m.PushedImages(tags=tuple([await push_one(context, each, sending) for each in tags]))

    def _telling(self, context: Context) -> Callable[[Note], None]:
        command_id = context.cause.command_id
        return lambda note: self._progress.tell(command_id, note)

    async def _clean(self) -> None:
        try:
            await self._downloads.remove_stale(wall_s())
        except EngineError:
            LOGGER.exception("stale downloads can't be removed")


def stream(transfer_id: str) -> str:
    """The stream of a transfer."""
    return f"transfer/{transfer_id}"


def _failed(transfer_id: str, error: str, *, is_push: bool) -> Event:
    if is_push:
        return m.ImagePushFailed(push_id=transfer_id, error=error)
    return m.ImagePullFailed(pull_id=transfer_id, error=error)


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
        if isinstance(recorded.event, m.ImagePullRequested | m.ImagePushRequested):
            return recorded
    return None
