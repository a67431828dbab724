"""Whether a step was done before; without it every build would begin from its base. Pure.

As in dockerd a step is known by the image below it, by what the history says of it, and by the configuration that it
leads to. Images that are named as sources (`--cache-from`) needn't have been built here.
"""

from collections.abc import Iterable, Sequence

import msgspec

from events.messages.image import History, ImageConfig, RunConfig
from events.opened import open_image
from events.projections.images import Images
from events.sealed import Keyring


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """An image, or the layer ("" for none) that makes one together with what is below, as it was made before."""

    image_id: str = ""
    diff_id: str = ""
    created: str = ""  # when the layer was


def built_here(images: Images, keyring: Keyring, parent: str, config: RunConfig, created_by: str) -> Hit | None:
    """The newest image that this step has made."""
    known = [image for image in images if image.parent == parent and image.status == "ready"]
    for image in sorted(known, key=lambda one: one.config.created, reverse=True):
        opened = open_image(image, keyring).config
        is_alone = bool(parent) or len(opened.history) == 1  # nothing is below the first step of a build from scratch
        said = opened.history[-1].created_by if opened.history and is_alone else ""
        if said == created_by and opened.config == config:
            return Hit(image_id=image.id)
    return None


def of_sources(sources: Sequence[tuple[str, ImageConfig]], below: ImageConfig, created_by: str) -> Hit | None:
    """The step as images tell of it that came from elsewhere. `sources`: ids and opened configurations."""
    depth = len(below.history)
    for image_id, config in sources:
        if len(config.history) <= depth or not _begins_with(config, below):
            continue
        line = config.history[depth]
        if line.created_by != created_by:
            continue
        if len(config.history) == depth + 1:
            return Hit(image_id=image_id)
        return Hit(diff_id="" if line.empty_layer else _layer_at(config, depth), created=line.created)
    return None


def _begins_with(config: ImageConfig, below: ImageConfig) -> bool:
    layers = below.rootfs.diff_ids
    same_layers = config.rootfs.diff_ids[: len(layers)] == layers
    return same_layers and _told(config.history[: len(below.history)]) == _told(below.history)


def _told(history: Iterable[History]) -> list[tuple[str, str, bool]]:
    return [(line.created, line.created_by, line.empty_layer) for line in history]


def _layer_at(config: ImageConfig, depth: int) -> str:
    number = sum(not line.empty_layer for line in config.history[:depth])
    layers = config.rootfs.diff_ids
    return layers[number] if number < len(layers) else ""
