"""Manifests and indexes of registries, checked before anything is believed; without it a registry's nonsense would
reach decisions.

OCI image specification, manifest.md and image-index.md; Docker's schema 2 has the same members under other types.
"""

import re
from typing import TypeVar

import msgspec

from events.messages.image import Blob, ImageConfig
from handlers.images.platforms import Platform
from handlers.images.registry_errors import BadManifest, NoMatchingManifest

_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"
_CONFIG_TYPES = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_PLUGIN = "application/vnd.docker.plugin.v1+json"
_LAYER_TYPES = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/octet-stream",
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ATTESTATION = "vnd.docker.reference.type"
_LAYERS_LIMIT = 128

Document = TypeVar("Document")


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """OCI image specification, descriptor.md."""

    digest: str
    size: int
    media_type: str = ""
    annotations: dict[str, str] | None = None
    platform: Platform | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An image: its configuration and its layers, bottom first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = ""
    schema_version: int = 2


class Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Manifests of one image for several platforms."""

    manifests: tuple[Descriptor, ...]
    media_type: str = ""


class _Kind(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    media_type: str | None = None
    schema_version: int = 0
    manifests: msgspec.Raw = msgspec.Raw(b"")
    layers: msgspec.Raw = msgspec.Raw(b"")


def read(content: bytes, media_type: str) -> Manifest | Index:
    """A document as its own member, or else the registry's header, calls it. Raises BadManifest."""
    kind = decode(content, _Kind)
    told = kind.media_type or media_type
    if kind.schema_version == 1 or told.startswith(_SCHEMA_1):
        raise BadManifest("manifests of schema 1 are not supported: the image has to be pushed again by a newer client")
    if bytes(kind.manifests) and bytes(kind.layers):
        raise BadManifest("invalid manifest: it has both manifests and layers")
    if told in _INDEX_TYPES or (told not in _MANIFEST_TYPES and bytes(kind.manifests)):
        return _checked_index(decode(content, Index))
    if told in _MANIFEST_TYPES or bytes(kind.layers):
        return _checked_manifest(decode(content, Manifest))
    raise BadManifest(f"unsupported manifest media type: {told or 'none'}")


def choose(index: Index, platform: Platform) -> Descriptor:
    """The entry for a platform; the variant said goes before one that isn't. Raises NoMatchingManifest."""
    fitting = [
        each
        for each in index.manifests
        if each.platform is not None and each.platform.fits(platform) and _ATTESTATION not in (each.annotations or {})
    ]
    if not fitting:
        raise NoMatchingManifest(platform.text)
    return min(fitting, key=lambda each: each.platform is None or each.platform.variant != platform.variant)


def blobs(manifest: Manifest, config: ImageConfig) -> tuple[Blob, ...]:
    """The layers with what the configuration says of them. Raises BadManifest when the two contradict each other."""
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise BadManifest(
            f"invalid manifest, layers length mismatch: expected {len(diff_ids)}, got {len(manifest.layers)}"
        )
    filled = sum(not line.empty_layer for line in config.history)
    if config.history and filled != len(diff_ids):
        raise BadManifest(f"invalid image configuration: its history tells of {filled} layers, it has {len(diff_ids)}")
    for diff_id in diff_ids:
        _check_digest(diff_id)
    return tuple(
        Blob(diff_id=diff_id, digest=layer.digest, size_bytes=layer.size, media_type=layer.media_type)
        for diff_id, layer in zip(diff_ids, manifest.layers, strict=True)
    )


def decode(content: bytes, kind: type[Document]) -> Document:
    """JSON as a type. Raises BadManifest, whatever the bytes are."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadManifest(f"invalid manifest: {error}") from error
    except RecursionError as error:
        raise BadManifest("invalid manifest: nested too deeply") from error


def _checked_index(index: Index) -> Index:
    for each in index.manifests:
        _check(each)
    return index


def _checked_manifest(manifest: Manifest) -> Manifest:
    _check(manifest.config)
    if manifest.config.media_type == _PLUGIN:
        raise BadManifest(f'Encountered remote "{_PLUGIN}"(plugin config) when fetching')
    if manifest.config.media_type not in ("", *_CONFIG_TYPES):
        raise BadManifest(f'Encountered remote "{manifest.config.media_type}"(unknown) when fetching')
    if len(manifest.layers) > _LAYERS_LIMIT:
        raise BadManifest(f"invalid manifest: {len(manifest.layers)} layers, at most {_LAYERS_LIMIT} are taken")
    for layer in manifest.layers:
        _check(layer)
        if layer.media_type and not layer.media_type.startswith(_LAYER_TYPES):
            raise BadManifest(f"unsupported layer media type {layer.media_type!r}")
    return manifest


def _check(descriptor: Descriptor) -> None:
    _check_digest(descriptor.digest)
    if descriptor.size < 0:
        raise BadManifest(f"invalid manifest: {descriptor.digest} has the size {descriptor.size}")


def _check_digest(digest: str) -> None:
    if not _DIGEST.fullmatch(digest):
        raise BadManifest(f"invalid manifest: unsupported digest {digest[:100]!r}")
