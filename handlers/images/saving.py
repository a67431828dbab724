"""What an archive of images holds, in both forms at once: Docker's (`manifest.json`, `repositories`) and the OCI's
(`index.json`, `oci-layout`), upon the same blobs, as dockerd writes it since its release 25. Pure.

docker-archive: https://github.com/moby/docker-image-spec; OCI: image specification, image-layout.md.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from events import references
from events.lookup import find_image
from events.projections.images import Images
from events.projections.layers import Layer

_BLOBS = "blobs/sha256/"
_INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_NAME = "io.containerd.image.name"
_REFERENCE_NAME = "org.opencontainers.image.ref.name"

Json = dict[str, object]


class SavedImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image to be saved: its configuration's exact bytes, its layers, bottom first, its names with a tag."""

    config: bytes
    layers: tuple[Layer, ...]
    names: tuple[str, ...]  # canonical


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the archive: `content`, or a layer's tar, or a link. A name that ends with a slash is a directory."""

    name: str
    link: str = ""  # what it is a symbolic link to
    size: int = 0
    content: bytes = b""
    layer: Layer | None = None


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """A document as a descriptor tells of it."""

    digest: str
    size: int


def manifest_of(config: bytes, layers: Sequence[tuple[str, int]]) -> Described:
    """The OCI manifest that an image is saved with; `layers` are diff ids and sizes of their tars, bottom first."""
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    content = _manifest(digest, len(config), [_descriptor(diff_id, size) for diff_id, size in layers])
    return Described(digest=f"sha256:{hashlib.sha256(content).hexdigest()}", size=len(content))


def chosen(images: Images, asked: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Names to save by image id, in the order of asking.

    A name without a tag stands for all tags of its repository; an id (or the beginning of one) brings no name.
    Raises NoSuchImage, InvalidReference, AmbiguousImage.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name in asked:
        for image_id, reference in _meant(images, name):
            before = found.get(image_id, ())
            found[image_id] = before if not reference or reference in before else (*before, reference)
    return found


def _meant(images: Images, name: str) -> list[tuple[str, str]]:
    if name.startswith("sha256:") or references.is_image_id(name):
        return [(find_image(images, name).id, "")]
    reference = references.parse(name)
    tags = [] if reference.tag or reference.digest else _tags(images, reference.name)
    if tags:
        return tags
    image = find_image(images, name)
    return [(image.id, reference.canonical if reference.tag and reference.canonical in image.references else "")]


def _tags(images: Images, repository: str) -> list[tuple[str, str]]:
    return [
        (image.id, known)
        for image in images
        if image.status == "ready"
        for known in image.references
        if (reference := references.parse(known)).name == repository and reference.tag
    ]


def members(images: Sequence[SavedImage], sizes: Mapping[str, int]) -> tuple[Member, ...]:
    """Everything in the archive, in its order. `sizes`: bytes of each layer's tar by its diff id."""
    blobs: dict[str, Member] = {}
    index: list[Json] = []
    listed: list[Json] = []
    repositories: dict[str, dict[str, str]] = {}
    for image in images:
        config = _blob(blobs, image.config)
        layers = [_layer(blobs, layer, sizes[layer.diff_id]) for layer in image.layers]
        manifest = _blob(blobs, _manifest(config, len(image.config), layers))
        index += _index_entries(manifest, blobs[_path(manifest)].size, image.names)
        listed.append(_docker_entry(config, layers, image.names))
        for name in image.names:
            _note(repositories, name, image.layers[-1].diff_id if image.layers else config)
    files = {
        "index.json": {"schemaVersion": 2, "mediaType": _INDEX, "manifests": index},
        "manifest.json": listed,
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
    } | ({"repositories": repositories} if repositories else {})
    return (
        Member(name="blobs/"),
        Member(name=_BLOBS),
        *(blobs[name] for name in sorted(blobs)),
        *(old for name in sorted(blobs) if blobs[name].layer for old in _old_form(name)),
        *(_file(name, msgspec.json.encode(content)) for name, content in files.items()),
    )


def _old_form(path: str) -> tuple[Member, Member]:
    """A layer where `repositories` says that it is; tools that go by an engine's version look there."""
    place = path.removeprefix(_BLOBS)
    return Member(name=f"{place}/"), Member(name=f"{place}/layer.tar", link=f"../{path}")


def _file(name: str, content: bytes) -> Member:
    return Member(name=name, size=len(content), content=content)


def _path(digest: str) -> str:
    return _BLOBS + digest.removeprefix("sha256:")


def _blob(blobs: dict[str, Member], content: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    blobs[_path(digest)] = _file(_path(digest), content)
    return digest


def _layer(blobs: dict[str, Member], layer: Layer, size: int) -> Json:
    path = _path(layer.diff_id)
    blobs[path] = Member(name=path, size=size, layer=layer)
    return _descriptor(layer.diff_id, size)


def _descriptor(diff_id: str, size: int) -> Json:
    return {"mediaType": _LAYER, "digest": diff_id, "size": size}


def _manifest(config: str, size: int, layers: list[Json]) -> bytes:
    return msgspec.json.encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": _CONFIG, "digest": config, "size": size},
            "layers": layers,
        }
    )


def _index_entries(manifest: str, size: int, names: Sequence[str]) -> list[Json]:
    entry: Json = {"mediaType": MANIFEST_TYPE, "digest": manifest, "size": size}
    if not names:
        return [entry]
    return [entry | {"annotations": {_NAME: name, _REFERENCE_NAME: references.parse(name).tag}} for name in names]


def _docker_entry(config: str, layers: list[Json], names: Sequence[str]) -> Json:
    return {
        "Config": _path(config),
        "RepoTags": [references.familiar(name) for name in names] or None,
        "Layers": [_path(str(layer["digest"])) for layer in layers],
        "LayerSources": {str(layer["digest"]): layer for layer in layers},
    }


def _note(repositories: dict[str, dict[str, str]], name: str, top: str) -> None:
    reference = references.parse(name)
    repositories.setdefault(reference.familiar_name, {})[reference.tag] = top.removeprefix("sha256:")
