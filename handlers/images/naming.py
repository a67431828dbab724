"""How images get names: a name belongs to one image, and who gets a taken one takes it from the other, at once.

Without the claim in the append two commands could give one name to two images.
"""

from collections.abc import Callable, Sequence

import msgspec

from events import references
from events.base import Event
from events.errors import DeadlineExceeded
from events.log import Append, ClaimTaken, VersionConflict
from events.messages import image as m
from events.projections.images import Images
from handlers.context import DECISION_RETRIES, Context


class Naming(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be appended so that an image has names, and what the client is told."""

    appends: tuple[Append, ...]
    moved: dict[str, str]  # name -> id of the image that loses it


def claim(reference: str) -> str:
    """The key that makes a canonical name unique."""
    return f"reference/{reference}"


def stream(image_id: str) -> str:
    """The stream of an image."""
    return f"image/{image_id}"


def give_names(
    images: Images,
    image_id: str,
    names: Sequence[str],
    *,
    asked: bool,
    made: Sequence[Event] = (),
    conclusion: Sequence[Event] = (),
) -> Naming:
    """Names for an image, taken from others if need be, after the event that makes it and before others. Pure."""
    image = images.get(image_id)
    moved = {name: holder.id for name in names if (holder := images.named(name)) is not None and holder.id != image_id}
    tagged = (m.ImageTagged(image_id=image_id, reference=name, asked=asked) for name in names)
    own = Append(
        stream=stream(image_id),
        events=(*made, *tagged, *conclusion),
        expected=image.version if image else None,
        take=tuple(map(claim, names)),
    )
    losses = (_loss(images, loser, moved) for loser in dict.fromkeys(moved.values()))
    return Naming(appends=(*losses, own), moved=moved)


async def append_decided(
    context: Context, decision: Callable[[], Sequence[Append]], *, answer: Callable[[], object] | None = None
) -> None:
    """Append to several streams what `decision` chooses, deciding again while others are faster.

    `answer` is asked for after each decision. Raises what `decision` raises, and DeadlineExceeded.
    """
    for _ in range(DECISION_RETRIES):
        appends = decision()
        try:
            await context.append_all(appends, answer=answer() if answer else msgspec.UNSET)
        except (VersionConflict, ClaimTaken):
            continue
        return
    raise DeadlineExceeded("too many others are changing the same images; try again")


def moved_lines(moved: dict[str, str]) -> tuple[str, ...]:
    """What a client is told of names that `load` took from other images."""
    return tuple(
        f"The image {references.familiar(name)} already exists, renaming the old one with ID {loser} to empty string"
        for name, loser in moved.items()
    )


def _loss(images: Images, loser: str, moved: dict[str, str]) -> Append:
    names = tuple(name for name, holder in moved.items() if holder == loser)
    image = images.get(loser)
    return Append(
        stream=stream(loser),
        events=tuple(m.ImageUntagged(image_id=loser, reference=name, moved=True) for name in names),
        expected=image.version if image else None,
        release=tuple(map(claim, names)),
    )
