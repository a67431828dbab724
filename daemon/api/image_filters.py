"""The filters of `GET /images/json` and of image prunes."""

from typing import Final

from daemon.api.filters import Filters, boolean, labelled, single
from daemon.api.patterns import Matcher, wildcards
from daemon.api.prune_filters import parse_until
from daemon.shapes.images import created_s, names
from daemon.shapes.times import SECOND_NS
from events.lookup import find_image
from events.projections.images import Image
from events.projections.state import State

KEYS: Final = frozenset({"before", "dangling", "label", "label!", "reference", "since", "until"})


def select(state: State, filters: Filters, now_ns: int) -> list[tuple[Image, list[str]]]:
    """Images with the tags to show, newest first.

    Raises InvalidParameter, and NotFound for an image in `before` or `since` that there isn't.
    """
    patterns = filters.get("reference", ())
    matching = wildcards(patterns) if patterns else None
    dangling = boolean(filters, "dangling")
    oldest, newest = _bounds(state, filters, now_ns)
    found = [
        (image, shown)
        for image in state.images
        if image.status == "ready"
        and oldest < created_s(image) < newest
        and labelled(filters, image.config.config.labels)
        and (dangling is None or dangling == (not image.references))
        and ((shown := _shown(image, matching)) or matching is None)
    ]
    return sorted(found, key=lambda row: created_s(row[0]), reverse=True)


def _bounds(state: State, filters: Filters, now_ns: int) -> tuple[float, float]:
    """Seconds, both ends excluded."""
    since = [created_s(find_image(state.images, name)) for name in filters.get("since", ())]
    before = [created_s(find_image(state.images, name)) for name in filters.get("before", ())]
    until = single(filters, "until", lambda text: parse_until(text, now_ns))
    ends = before if until is None else [*before, until / SECOND_NS]
    return max(since, default=float("-inf")), min(ends, default=float("inf"))


def _shown(image: Image, matching: Matcher | None) -> list[str]:
    """The tags that a pattern matches, with or without their tag part; all without patterns."""
    tags = names(image)
    if matching is None:
        return tags
    return [tag for tag in tags if matching(tag) or matching(tag.rpartition(":")[0])]
