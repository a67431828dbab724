"""Images as lists, inspect and history show them."""

from collections import Counter
from collections.abc import Iterator

import msgspec

from daemon.shapes.container_configuration import healthcheck_shape
from daemon.shapes.go_values import JsonObject, Version, without_empty
from daemon.shapes.layout import Layout
from daemon.shapes.times import NEVER, rfc3339, unix_ns, unix_seconds
from events.messages.image import RunConfig
from events.projections.images import Image
from events.projections.layers import Layer
from events.projections.state import State
from events.references import familiar

_NO_NAME = "<none>:<none>"
_MISSING = "<missing>"
_CONFIG_OPTIONAL = ("ExposedPorts", "Healthcheck", "StopSignal", "Shell")
_CONTAINER_FIELDS: JsonObject = {
    "Hostname": "",
    "Domainname": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Image": "",
}  # always empty in an image; shown below API 1.50


def names(image: Image) -> list[str]:
    """Its tags as people write them, in order."""
    return sorted(familiar(reference) for reference in image.references if "@" not in reference)


def digests(image: Image) -> list[str]:
    """Its names by digest."""
    return sorted(familiar(reference) for reference in image.references if "@" in reference)


def summary(
    image: Image, state: State, containers: int, version: Version, shown: tuple[list[str], list[str]] | None = None
) -> JsonObject:
    """A list entry. `shown` are the tags and digests to show, otherwise all; `containers` -1 when nobody counted."""
    unnamed = version < (1, 43)
    tags, by_digest = shown or (names(image), digests(image))
    shape: JsonObject = {
        "Id": image.id,
        "ParentId": parent_id(image, state),
        "RepoTags": tags or ([_NO_NAME] if unnamed else []),
        "RepoDigests": by_digest or (["<none>@<none>"] if unnamed and not tags else []),
        "Created": unix_seconds(image.config.created),
        "Size": image.size_bytes,
        "SharedSize": -1,
        "Labels": image.config.config.labels or None,
        "Containers": containers,
    }
    return shape | _virtual_size(image, version)


def _virtual_size(image: Image, version: Version) -> JsonObject:
    return {"VirtualSize": image.size_bytes} if version < (1, 44) else {}


def inspection(image: Image, state: State, layout: Layout, version: Version) -> JsonObject:
    """All there is to tell of an image."""
    config = image.config
    shape: JsonObject = {
        "Id": image.id,
        "RepoTags": names(image),
        "RepoDigests": digests(image),
        "Parent": parent_id(image, state),
        "Comment": config.comment or _last_comment(image),
        "Created": config.created or (NEVER if version < (1, 44) else ""),
        "DockerVersion": config.docker_version,
        "Author": config.author,
        "Config": run_config(config.config, version),
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": image.size_bytes,
        **_virtual_size(image, version),
        "GraphDriver": _graph(image, state, layout),
        "RootFS": without_empty({"Type": "layers", "Layers": list(config.rootfs.diff_ids)}, ("Layers",)),
        "Metadata": {"LastTagTime": rfc3339(image.tagged_at_ns)},
    }
    if version < (1, 45) or image.parent:
        shape |= _container(image, version)
    return without_empty(shape, ("Variant", "Created"))


def _container(image: Image, version: Version) -> JsonObject:
    """What was committed; newer versions don't have it, but who commits looks for it."""
    shape = _CONTAINER_FIELDS | run_config(RunConfig(), version) | {"Image": image.committed_from}
    return {"Container": image.config.container, "ContainerConfig": shape}


def _last_comment(image: Image) -> str:
    return image.config.history[-1].comment if image.config.history else ""


def _graph(image: Image, state: State, layout: Layout) -> JsonObject:
    lineage = state.layers.lineage(image.layers[-1]) if image.layers else ()
    return layout.graph(lineage[0].cache_id, lineage[1:]) if lineage else layout.graph("", ())


def run_config(config: RunConfig, version: Version) -> JsonObject:
    """The `Config` object: defaults for containers."""
    shape: JsonObject = msgspec.to_builtins(config)
    nullable = ("Env", "Cmd", "Entrypoint", "Volumes", "OnBuild", "Labels")
    shape |= {name: shape[name] or None for name in nullable}
    shape["Healthcheck"] = healthcheck_shape(config.healthcheck, version)
    shape = without_empty(shape, _CONFIG_OPTIONAL)
    return _CONTAINER_FIELDS | shape if version < (1, 50) else shape


def history(image: Image, state: State) -> list[JsonObject]:
    """Its history, newest first; lines have ids and names as far as the images that it was made of are there."""
    sizes = iter([layer_size(chain_id, state) for chain_id in image.layers])
    lines: list[JsonObject] = [
        {
            "Id": _MISSING,
            "Created": unix_seconds(line.created),
            "CreatedBy": line.created_by,
            "Tags": None,
            "Size": 0 if line.empty_layer else next(sizes, 0),
            "Comment": line.comment,
        }
        for line in image.config.history
    ]
    for line, each in zip(reversed(lines), _line(image, state), strict=False):
        line |= {"Id": each.id, "Tags": names(each) or None}
    return lines[::-1]


def _line(image: Image | None, state: State) -> Iterator[Image]:
    """An image and what it was made of here, one upon the other."""
    while image is not None:
        yield image
        image = state.images.parent(image)


def layer_size(chain_id: str, state: State) -> int:
    """Bytes of a layer's own files; 0 for one that isn't there."""
    layer = state.layers.get(chain_id)
    return layer.size_bytes if layer else 0


def parent_id(image: Image, state: State) -> str:
    """The image that this was made of here, as long as it is there."""
    parent = state.images.parent(image)
    return parent.id if parent else ""


class SharedSizes:
    """Bytes in layers of an image that other images have too, for many images in one pass over all.

    Who reads a layer, or is still fetching an image, holds it too, and doesn't count.
    """

    def __init__(self, state: State) -> None:
        ready = (image for image in state.images if image.status == "ready")
        self._images = Counter(chain_id for image in ready for chain_id in image.layers)
        self._state = state

    def layers(self, image: Image) -> list[Layer]:
        """All that are there."""
        found = map(self._state.layers.get, image.layers)
        return [layer for layer in found if layer]

    def file_bytes(self, image: Image) -> int:
        """In files of shared layers."""
        return sum(layer.size_bytes for layer in self._shared(image))

    def disk_bytes(self, image: Image) -> int:
        """On disk."""
        return sum(layer.disk_bytes for layer in self._shared(image))

    def _shared(self, image: Image) -> list[Layer]:
        return [layer for layer in self.layers(image) if self._images[layer.chain_id] > 1]


def created_ns(image: Image) -> int:
    """When it says that it was made, in ns since 1970; 0 if it doesn't."""
    return unix_ns(image.config.created)
