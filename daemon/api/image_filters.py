"""The filters of `GET /images/json` and of image prunes."""

import re
from typing import Final

from daemon.api.filters import Filters, boolean, labelled, single
from daemon.api.prune_filters import parse_until
from daemon.shapes.images import created_s, names
from daemon.shapes.times import SECOND_NS
from events.errors import InvalidParameter
from events.lookup import find_image
from events.projections.images import Image
from events.projections.state import State

KEYS: Final = frozenset({"before", "dangling", "label", "label!", "reference", "since", "until"})


def select(state: State, filters: Filters, now_ns: int) -> list[tuple[Image, list[str]]]:
    """Images with the tags to show, newest first.

    Raises InvalidParameter, and NotFound for an image in `before` or `since` that there isn't.
    """
    patterns = [compile_pattern(pattern) for pattern in filters.get("reference", ())]
    dangling = boolean(filters, "dangling")
    oldest, newest = _bounds(state, filters, now_ns)
    found = [
        (image, shown)
        for image in state.images
        if image.status == "ready"
        and oldest < created_s(image) < newest
        and labelled(filters, image.config.config.labels)
        and (dangling is None or dangling == (not image.references))
        and ((shown := _shown(image, patterns)) or not patterns)
    ]
    return sorted(found, key=lambda row: created_s(row[0]), reverse=True)


def _bounds(state: State, filters: Filters, now_ns: int) -> tuple[float, float]:
    """Seconds, both ends excluded."""
    since = [created_s(find_image(state.images, name)) for name in filters.get("since", ())]
    before = [created_s(find_image(state.images, name)) for name in filters.get("before", ())]
    until = single(filters, "until", lambda text: parse_until(text, now_ns))
    ends = before if until is None else [*before, until / SECOND_NS]
    return max(since, default=float("-inf")), min(ends, default=float("inf"))


def _shown(image: Image, patterns: list[re.Pattern[str]]) -> list[str]:
    """The tags that a pattern matches, with or without their tag part; all without patterns."""
    tags = names(image)
    if not patterns:
        return tags
    return [tag for tag in tags if any(p.fullmatch(tag) or p.fullmatch(tag.rpartition(":")[0]) for p in patterns)]


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A shell pattern whose `*` and `?` don't match a slash. Raises InvalidParameter."""
    pieces = re.findall(r"\\.|\[\^?(?:\\.|[^\]\\])+\]|.", pattern, re.DOTALL)
    try:
        return re.compile("".join(map(_piece, pieces)), re.DOTALL)
    except re.error as error:
        raise InvalidParameter("syntax error in pattern") from error


def _piece(piece: str) -> str:
    if piece in ("*", "?"):
        return "[^/]" + ("*" if piece == "*" else "")
    if piece in ("[", "\\"):
        raise InvalidParameter("syntax error in pattern")
    if piece.startswith("[") and len(piece) > 1:
        return piece
    return re.escape(piece.removeprefix("\\") if len(piece) > 1 else piece)
