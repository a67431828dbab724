"""What is told of images without anything being done to them."""

from events.log import Append
from events.messages import image as m
from handlers.context import Context
from handlers.images import naming


async def record_saving(context: Context, command: m.RecordSaving) -> None:
    """Images leave as an archive: a fact of their own, no effect."""
    saved = tuple(
        Append(stream=naming.stream(image_id), events=(m.ImageSaved(image_id=image_id),))
        for image_id in command.image_ids
    )
    await context.append_all(saved, answer=None)
