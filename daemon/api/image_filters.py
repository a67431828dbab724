"""The filters of `GET /images/json` and of image prunes."""

from collections.abc import Callable, Container
from typing import Final

import msgspec

from daemon.api.filters import Filters, boolean, labelled, single
from daemon.api.patterns import Matcher, wildcards
from daemon.api.prune_filters import parse_until
from daemon.shapes.images import created_ns, digests, names
from events.lookup import find_image
from events.projections.images import Image
from events.projections.state import State
from handlers.images.removal_plan import is_tagged

KEYS: Final = frozenset({"before", "dangling", "label", "label!", "reference", "since", "until"})


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """An image, and those of its names that a list shows."""

    image: Image
    tags: list[str]
    digests: list[str]


def select(state: State, filters: Filters, now_ns: int, *, intermediate: bool) -> list[Row]:
    """Images as moby's daemon/images/images.go chooses them, newest first.

    What has no name, and children, is shown with `intermediate` only, and is never dangling. Raises InvalidParameter,
    and NotFound for an image in `before` or `since` that there isn't.
    """
    patterns = filters.get("reference", ())
    matching = wildcards(patterns) if patterns else None
    dangling = boolean(filters, "dangling")
    is_within = _span(state, filters, now_ns)
    parents = state.images.parents()
    rows = (
        _row(image, matching)
        for image in state.images
        if image.status == "ready" and is_within(image) and labelled(filters, image.config.config.labels)
    )
    found = [
        row
        for row in rows
        if _is_wanted(row, parents, dangling=dangling, intermediate=intermediate or dangling is True)
    ]
    return sorted(
        (row for row in found if matching is None or row.tags or row.digests),
        key=lambda row: created_ns(row.image),
        reverse=True,
    )


def _is_wanted(row: Row, parents: Container[str], *, dangling: bool | None, intermediate: bool) -> bool:
    is_parent = row.image.id in parents
    if not row.image.references and is_parent and not intermediate:
        return False
    if dangling:
        return not is_tagged(row.image) and not is_parent
    return dangling is None or bool(row.image.references)


def _span(state: State, filters: Filters, now_ns: int) -> Callable[[Image], bool]:
    """Whether an image was made between two moments, both excluded; if one is named, an image must say when."""
    since = [created_ns(find_image(state.images, name)) for name in filters.get("since", ())]
    before = [created_ns(find_image(state.images, name)) for name in filters.get("before", ())]
    until = single(filters, "until", lambda text: parse_until(text, now_ns))
    ends = before if until is None else [*before, until]
    oldest, newest = max(since, default=0), min(ends, default=0)
    return lambda image: (not since or oldest < created_ns(image)) and (not ends or (0 < created_ns(image) < newest))


def _row(image: Image, matching: Matcher | None) -> Row:
    """The names that a pattern matches, with or without their last part; all without patterns."""
    tags, by_digest = names(image), digests(image)
    if matching is None:
        return Row(image=image, tags=tags, digests=by_digest)
    return Row(
        image=image,
        tags=[tag for tag in tags if matching(tag) or matching(tag.rpartition(":")[0])],
        digests=[name for name in by_digest if matching(name) or matching(name.partition("@")[0])],
    )
