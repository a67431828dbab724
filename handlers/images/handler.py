"""The image handler: which command goes where, and what they share."""

from pathlib import Path
from typing import Any

from events.base import Command
from events.messages import image as m
from handlers.context import Context, Handle
from handlers.images import commit, import_image, load, recovery, remove, tag
from handlers.images.content import ContentStore
from handlers.images.record import record_saving
from handlers.turns import Turns

TURN_LIMIT_S = 3600.0  # an image may be large


class ImageHandler:
    """Images by id and name. `content_directory` keeps configurations, `scratch` expanded archives for a while."""

    def __init__(self, content_directory: Path, scratch: Path) -> None:
        self.content = ContentStore(content_directory)
        self.scratch = scratch
        self.turns = Turns(TURN_LIMIT_S)

    def commands(self) -> dict[type[Command[Any]], Handle]:
        """See `Handler.commands`."""
        return {
            m.LoadImages: self._load,
            m.ImportImage: self.take_in,
            m.CommitImage: self._commit,
            m.AssembleImage: self._assemble,
            m.TagImage: self._tag,
            m.RecordSaving: record_saving,
            m.RemoveImage: self._remove,
            m.PruneImage: self._prune,
            m.AcquireImage: self._acquire,
            m.ReleaseImage: self._release,
        }

    async def reconcile(self, context: Context) -> None:
        """See `Handler.reconcile`."""
        await recovery.reconcile(context, self.content, self.turns)

    async def _load(self, context: Context, command: m.LoadImages) -> m.LoadedImages:
        return await load.load_images(context, command, self.content, self.scratch, self.turns)

    async def take_in(self, context: Context, command: m.ImportImage) -> m.ImportedImage:
        """Import a file. Raises InvalidParameter for what isn't a tar, a change, a name or a platform."""
        return await import_image.import_image(context, command, self.content, self.turns)

    async def _commit(self, context: Context, command: m.CommitImage) -> m.CommittedImage:
        return await commit.commit_image(context, command, self.content, self.turns)

    async def _assemble(self, context: Context, command: m.AssembleImage) -> m.CommittedImage:
        return await commit.assemble_image(context, command, self.content, self.turns)

    async def _tag(self, context: Context, command: m.TagImage) -> None:
        await tag.tag_image(context, command)

    async def _remove(self, context: Context, command: m.RemoveImage) -> m.RemovedImage:
        return await remove.remove_image(context, command, self.content, self.turns)

    async def _prune(self, context: Context, command: m.PruneImage) -> m.RemovedImage:
        return await remove.prune_image(context, command, self.content, self.turns)

    async def _acquire(self, context: Context, command: m.AcquireImage) -> None:
        await tag.acquire_image(context, command)

    async def _release(self, context: Context, command: m.ReleaseImage) -> None:
        await remove.release_image(context, command, self.content, self.turns)
