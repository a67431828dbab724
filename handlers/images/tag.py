"""TagImage and AcquireImage: an image gets names and users."""

from collections.abc import Sequence

from events import references
from events.errors import InvalidParameter
from events.log import Append
from events.lookup import NoSuchImage, find_image
from events.messages import image as m
from events.projections.images import Image
from handlers.context import Context
from handlers.images import naming


async def tag_image(context: Context, command: m.TagImage) -> None:
    """Give an image a name, which moves if another has it. Raises NoSuchImage, InvalidParameter."""
    target = references.parse(command.reference).with_default_tag
    if target.digest:
        raise InvalidParameter("refusing to create a tag with a digest reference")

    def decision() -> Sequence[Append]:
        image = find_image(context.state.images, command.source)
        return naming.give_names(context.state.images, image.id, (target.canonical,), asked=True).appends

    await naming.append_decided(context, decision, answer=lambda: None)


async def acquire_image(context: Context, command: m.AcquireImage) -> None:
    """A container uses it from now on; twice is fine. Raises NoSuchImage."""
    image = _ready(context, command.image_id)
    if command.container_id in context.state.images.users(image.id):
        return
    event = m.ImageAcquired(image_id=command.image_id, container_id=command.container_id)

    def decision() -> Append:
        version = _ready(context, command.image_id).version
        return Append(stream=naming.stream(command.image_id), events=(event,), expected=version)

    await context.decide(decision, answer=None)


def _ready(context: Context, image_id: str) -> Image:
    image = context.state.images.get(image_id)
    if image is None or image.status != "ready":
        raise NoSuchImage(image_id)
    return image
