"""Image archives for tests: docker-archive as `docker save` of several ages wrote it, and OCI layouts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.fakes.tars import TarBuilder, digest

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class SampleImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image to be archived: layers are uncompressed tars."""

    layers: tuple[bytes, ...]
    names: tuple[str, ...] = ()
    config: dict[str, Any] = {}
    diff_ids: tuple[str, ...] | None = None  # what the configuration claims; None: the truth

    @property
    def content(self) -> bytes:
        """The configuration's bytes."""
        diff_ids = self.diff_ids if self.diff_ids is not None else tuple(map(digest, self.layers))
        base = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"], "Env": None, "Volumes": None}}
        return json.dumps(base | self.config | {"rootfs": {"type": "layers", "diff_ids": list(diff_ids)}}).encode()

    @property
    def id(self) -> str:
        """The image's id."""
        return digest(self.content)


def layer(*names: str) -> bytes:
    """A layer with a file for each name."""
    tar = TarBuilder()
    for name in names:
        tar.file(name, name)
    return tar.bytes()


def sample(*layers: str, names: Sequence[str] = (), **config: Any) -> SampleImage:
    """An image with a layer for each word."""
    return SampleImage(layers=tuple(layer(word) for word in layers), names=tuple(names), config=config)


def docker_archive(*images: SampleImage) -> bytes:
    """As dockerd 20.10 writes it: a directory for each layer; one that repeats is a symbolic link to the first."""
    tar, manifest, first = TarBuilder(), [], dict[bytes, str]()
    for number, image in enumerate(images):
        paths = []
        for depth, content in enumerate(image.layers):
            path = f"{number:032x}{depth:032x}/layer.tar"
            if content in first:
                tar.symlink(path, f"../{first[content]}")
            else:
                first[content] = path
                tar.file(path, content)
            paths.append(path)
        config = f"{image.id.removeprefix('sha256:')}.json"
        tar.file(config, image.content)
        manifest.append({"Config": config, "RepoTags": list(image.names) or None, "Layers": paths})
    return tar.file("manifest.json", json.dumps(manifest)).bytes()


class OciLayout:
    """An OCI layout that grows: blobs by digest, and descriptors for index.json."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def blob(self, content: bytes, **fields: Any) -> dict[str, Any]:
        """Store a blob and describe it."""
        self.blobs[digest(content)] = content
        return {"digest": digest(content), "size": len(content), **fields}

    def manifest(self, image: SampleImage, *, layers: Sequence[bytes] | None = None, **fields: Any) -> dict[str, Any]:
        """Store an image; `layers` are its blobs when they aren't the plain tars."""
        document = {
            "schemaVersion": 2,
            "config": self.blob(image.content),
            "layers": [self.blob(content) for content in layers or image.layers],
        }
        return self.blob(json.dumps(document).encode(), mediaType=MANIFEST, **fields)

    def index(self, *descriptors: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """Store a nested index."""
        document = {"schemaVersion": 2, "manifests": list(descriptors)}
        return self.blob(json.dumps(document).encode(), mediaType=INDEX, **fields)

    def archive(self, *descriptors: Mapping[str, Any]) -> bytes:
        """The whole layout as a tar."""
        tar = TarBuilder().file("oci-layout", '{"imageLayoutVersion": "1.0.0"}')
        for name, content in self.blobs.items():
            tar.file(f"blobs/sha256/{name.removeprefix('sha256:')}", content)
        return tar.file("index.json", json.dumps({"schemaVersion": 2, "manifests": list(descriptors)})).bytes()


def write(directory: Path, content: bytes, name: str = "archive.tar") -> str:
    """An archive as a file."""
    path = directory / name
    path.write_bytes(content)
    return str(path)
