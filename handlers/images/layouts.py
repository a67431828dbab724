"""The two forms that images travel in as a file: docker-archive (`manifest.json`) and OCI layout (`index.json`).

docker-archive: https://github.com/moby/docker-image-spec; OCI: image specification, image-layout.md and annotations.md.
"""

import hashlib
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from events import references
from events.errors import InvalidParameter
from handlers.images import configuration
from handlers.images.archive import Archive, Missing, Region
from handlers.images.errors import BadImageArchive, ContentMismatch
from handlers.images.platforms import Platform

_LIMIT_BYTES = 4 * 1024 * 1024
_NESTING_LIMIT = 4
_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_NAME = "io.containerd.image.name"
_REFERENCE_NAME = "org.opencontainers.image.ref.name"
_ATTESTATION = "vnd.docker.reference.type"
_BLOBS = "blobs/sha256/"

Document = TypeVar("Document")


class ArchivedImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image in an archive: its configuration's exact bytes, where its layers lie, bottom first, and its names."""

    config: bytes
    layers: tuple[Region | Missing, ...]
    names: tuple[str, ...]  # canonical


class _DockerImage(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    config: str
    repo_tags: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None


class _Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    digest: str
    media_type: str = ""
    size: int = -1
    annotations: dict[str, str] | None = None
    platform: Platform | None = None


class _Index(msgspec.Struct, frozen=True, kw_only=True):
    manifests: tuple[_Descriptor, ...] = ()


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    config: _Descriptor
    layers: tuple[_Descriptor, ...] = ()


def read_images(archive: Archive, platform: Platform) -> tuple[ArchivedImage, ...]:
    """All images of an archive; of several platforms the given one. Raises InvalidParameter. Blocks."""
    if "manifest.json" in archive:
        return tuple(_docker_images(archive))
    if "index.json" in archive:
        return tuple(_oci_images(archive, platform))
    raise BadImageArchive("unrecognized image format")


def _docker_images(archive: Archive) -> Iterator[ArchivedImage]:
    for image in _decode(archive.read("manifest.json", _LIMIT_BYTES), tuple[_DockerImage, ...], "manifest.json"):
        config = archive.read(image.config, configuration.LIMIT_BYTES)
        if image.config.startswith(_BLOBS):
            _verify(image.config, f"sha256:{image.config.removeprefix(_BLOBS)}", config)
        yield ArchivedImage(
            config=config,
            layers=tuple(archive.find(name) for name in image.layers or ()),
            names=tuple(_tag(text) for text in image.repo_tags or ()),
        )


def _tag(text: str) -> str:
    try:
        reference = references.parse(text)
    except InvalidParameter as error:
        raise BadImageArchive(f"invalid tag {text!r}: {error}") from error
    if not reference.tag or reference.digest:
        raise BadImageArchive(f'invalid tag "{text}"')
    return reference.canonical


def _oci_images(archive: Archive, platform: Platform) -> Iterator[ArchivedImage]:
    index = _decode(archive.read("index.json", _LIMIT_BYTES), _Index, "index.json")
    wanted = [descriptor for descriptor in index.manifests if not _is_attestation(descriptor)]
    if not wanted:
        raise BadImageArchive("index.json names no image")
    for descriptor in wanted:
        manifest = _decode(_blob(archive, chosen := _choose(archive, descriptor, platform)), _Manifest, chosen.digest)
        yield ArchivedImage(
            config=_blob(archive, manifest.config),
            layers=tuple(_layer(archive, layer) for layer in manifest.layers),
            names=tuple(_annotated_names(descriptor.annotations or {})),
        )


def _choose(archive: Archive, descriptor: _Descriptor, platform: Platform) -> _Descriptor:
    """Go down nested indexes to the image for a platform, or to the only one there is."""
    for _ in range(_NESTING_LIMIT):
        if descriptor.media_type not in _INDEX_TYPES:
            return descriptor
        nested = _decode(_blob(archive, descriptor), _Index, descriptor.digest)
        present = [one for one in nested.manifests if not _is_attestation(one) and _path(one.digest) in archive]
        fitting = [one for one in present if one.platform is None or one.platform.fits(platform)]
        if not fitting and len(present) != 1:
            raise BadImageArchive(f"no matching manifest for {platform.text} in the manifest list entries")
        descriptor = (fitting or present)[0]
    raise BadImageArchive("indexes are nested too deeply")


def _is_attestation(descriptor: _Descriptor) -> bool:
    return _ATTESTATION in (descriptor.annotations or {})


def _annotated_names(annotations: dict[str, str]) -> Iterator[str]:
    """`ref.name` is often a bare tag, which names nothing."""
    name = annotations.get(_NAME) or annotations.get(_REFERENCE_NAME, "")
    if _NAME in annotations or ":" in name or "/" in name:
        try:
            yield references.canonical(name)
        except InvalidParameter as error:
            raise BadImageArchive(f"invalid image name {name!r} in index.json: {error}") from error


def _layer(archive: Archive, descriptor: _Descriptor) -> Region:
    region = archive.region(_path(descriptor.digest))
    if descriptor.size not in (-1, region.length):
        raise BadImageArchive(f"{descriptor.digest}: {region.length} bytes instead of {descriptor.size}")
    return region


def _blob(archive: Archive, descriptor: _Descriptor) -> bytes:
    content = archive.read(_path(descriptor.digest), _LIMIT_BYTES)
    _verify(descriptor.digest, descriptor.digest, content)
    return content


def _path(digest: str) -> str:
    algorithm, _, digits = digest.partition(":")
    if algorithm != "sha256" or len(digits) != hashlib.sha256().digest_size * 2:
        raise BadImageArchive(f"unsupported digest {digest!r}")
    return _BLOBS + digits


def _verify(name: str, expected: str, content: bytes) -> None:
    actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if actual != expected:
        raise ContentMismatch(name, expected, actual)


def _decode(content: bytes, kind: type[Document], name: str) -> Document:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadImageArchive(f"{name}: {error}") from error
