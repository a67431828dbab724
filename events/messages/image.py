"""Everything that can be asked of images and everything that can happen to them."""

from typing import ClassVar

import msgspec

from events.base import Command, Event
from events.sealed import Sealed

# ---- the image configuration (OCI image specification, config.md), as far as the engine acts on it or shows it


class HealthcheckConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Docker's extension: how to probe; times in ns, 0 means the default."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The `config` object: defaults for containers."""

    user: str = ""
    exposed_ports: dict[str, dict[str, str]] = {}
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: dict[str, dict[str, str]] = {}
    working_dir: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""
    healthcheck: HealthcheckConfig | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()


class History(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an image's history."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class RootFilesystem(msgspec.Struct, frozen=True, kw_only=True):
    """Uncompressed layer digests, bottom first."""

    type: str = "layers"
    diff_ids: tuple[str, ...] = ()


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The image configuration; unknown keys are kept in the content store's exact bytes only."""

    created: str = ""  # RFC 3339, or ""
    author: str = ""
    architecture: str = ""
    variant: str = ""
    os: str = ""
    config: RunConfig = RunConfig()
    rootfs: RootFilesystem = RootFilesystem()
    history: tuple[History, ...] = ()
    docker_version: str = ""
    comment: str = ""
    container: str = ""
    parent: str = ""


class ImageSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a configuration that may hold secrets; sealed in the log."""

    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    healthcheck_test: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    created_by: tuple[str, ...] = ()  # of each line of the history


# ---- commands


class LoadedImages(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of LoadImages: one line per image, in the archive's order (`Loaded image: x`)."""

    lines: tuple[str, ...]


class LoadImages(Command[LoadedImages], frozen=True, kw_only=True):
    """Take in a docker-archive or an OCI layout, plain or compressed, that lies in a file."""

    TYPE: ClassVar[str] = "image.load"
    path: str


class ImportedImage(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of ImportImage."""

    image_id: str


class ImportImage(Command[ImportedImage], frozen=True, kw_only=True):
    """Make a one-layer image of a file-system tar that lies in a file."""

    TYPE: ClassVar[str] = "image.import"
    path: str
    source: str  # what the history says it came from
    reference: str = ""  # canonical, or "" for none
    message: str = ""
    changes: tuple[str, ...] = ()  # Dockerfile instructions
    platform: str = ""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a client presents to a registry (the content of X-Registry-Auth); never in an event."""

    username: str = ""
    password: str = ""
    identity_token: str = ""  # stands for a password that was given once
    registry_token: str = ""  # a bearer token that is taken as it is


class FetchImage(Command[ImportedImage], frozen=True, kw_only=True):
    """Make a one-layer image of a file-system tar that the engine fetches itself.

    It ends when the last of those who follow its progress has left.
    """

    TYPE: ClassVar[str] = "image.fetch"
    url: str  # http or https, without a user
    credentials: Credentials = Credentials()
    reference: str = ""  # canonical, or "" for none
    message: str = ""
    changes: tuple[str, ...] = ()  # Dockerfile instructions
    platform: str = ""


class PulledImages(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of PullImages: ids of the images, in the order of their tags."""

    image_ids: tuple[str, ...]


class PullImages(Command[PulledImages], frozen=True, kw_only=True):
    """Fetch an image, or all tags of a repository, from its registry or a mirror of it.

    It ends when the last of those who follow its progress has left.
    """

    TYPE: ClassVar[str] = "image.pull"
    name: str  # canonical, with a tag or a digest; without either: all tags
    platform: str = ""  # os/architecture/variant, "" the host's
    credentials: Credentials = Credentials()


class CommittedImage(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of CommitImage and CommitContainer."""

    image_id: str


class CommitImage(Command[CommittedImage], frozen=True, kw_only=True):
    """Make an image of another one and a layer tar that lies in a file.

    `config` is what a client says of it, changed by `changes`; what it leaves open is the container's (`container`).
    """

    TYPE: ClassVar[str] = "image.commit"
    parent: str  # id of the image that the layer stands on
    path: str
    diff_id: str
    size_bytes: int  # of the tar
    container_id: str
    container_image: str = ""  # what its creation called the image
    container: RunConfig
    config: RunConfig
    changes: tuple[str, ...] = ()
    author: str = ""
    comment: str = ""
    reference: str = ""  # canonical, or "" for none


class AssembleImage(Command[CommittedImage], frozen=True, kw_only=True):
    """Make an image of another one, or of none, and at most one more layer: what a step of a build comes to.

    The layer is a tar that lies in a file, or with `path` "" one that is there already.
    """

    TYPE: ClassVar[str] = "image.assemble"
    parent: str = ""  # id of the image below
    path: str = ""
    diff_id: str = ""  # "": no layer
    size_bytes: int = 0  # of the tar
    config: RunConfig
    created_by: str
    created: str = ""  # RFC 3339, of a step that was done before; "": now
    author: str = ""
    container_id: str = ""  # in which the step was done


class PushedTag(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest that a registry has taken; `size_bytes` is its own size."""

    tag: str
    digest: str
    size_bytes: int


class PushedImages(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of PushImages, in the order of tags."""

    tags: tuple[PushedTag, ...]


class PushImages(Command[PushedImages], frozen=True, kw_only=True):
    """Send an image, or all tags of a repository, to its registry.

    It ends when the last of those who follow its progress has left.
    """

    TYPE: ClassVar[str] = "image.push"
    name: str  # canonical, with a tag; without one: all tags
    credentials: Credentials = Credentials()


class TagImage(Command[None], frozen=True, kw_only=True):
    """Give an image (by id, prefix or name) another name; a name that is taken moves."""

    TYPE: ClassVar[str] = "image.tag"
    source: str
    reference: str  # canonical name:tag


class RecordSaving(Command[None], frozen=True, kw_only=True):
    """Somebody takes images away as an archive."""

    TYPE: ClassVar[str] = "image.record_saving"
    image_ids: tuple[str, ...]


class RemovedImage(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of RemoveImage: what `docker rmi` prints, in order."""

    untagged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


class RemoveImage(Command[RemovedImage], frozen=True, kw_only=True):
    """Untag, and delete when no name and no container is left."""

    TYPE: ClassVar[str] = "image.remove"
    name: str
    force: bool = False
    prune: bool = True


class PruneImage(Command[RemovedImage], frozen=True, kw_only=True):
    """Delete an image (by id) with all its names if no container uses it; with `dangling` only if it has none.

    One that has come to be needed meanwhile stays: the answer is empty then.
    """

    TYPE: ClassVar[str] = "image.prune"
    image_id: str
    dangling: bool = True


class AcquireImage(Command[None], frozen=True, kw_only=True):
    """Record that a container uses an image: it can't be deleted until ReleaseImage."""

    TYPE: ClassVar[str] = "image.acquire"
    image_id: str
    container_id: str


class ReleaseImage(Command[None], frozen=True, kw_only=True):
    """The container needs it no more; unknown image or container is fine."""

    TYPE: ClassVar[str] = "image.release"
    image_id: str
    container_id: str


# ---- events


class ImageCreateRequested(Event, frozen=True, kw_only=True):
    """Intent: content and layers will be stored for this id."""

    TYPE: ClassVar[str] = "image.create_requested"
    image_id: str
    origin: str  # "load", "import", "pull", "commit", "build"


class ImageCreated(Event, frozen=True, kw_only=True):
    """All of it is on disk."""

    TYPE: ClassVar[str] = "image.created"
    SCHEMA: ClassVar[int] = 2
    image_id: str
    config: ImageConfig  # without what is sealed
    layers: tuple[str, ...]  # chain ids, bottom first
    size_bytes: int
    origin: str
    secrets: Sealed | None = None  # `ImageSecrets`, with the image's key; None in events of older engines


class ImageCreateFailed(Event, frozen=True, kw_only=True):
    """Nothing of it is left."""

    TYPE: ClassVar[str] = "image.create_failed"
    image_id: str
    error: str


class ImageLoaded(Event, frozen=True, kw_only=True):
    """An archive brought it (also when it was there already)."""

    TYPE: ClassVar[str] = "image.loaded"
    image_id: str
    name: str  # familiar name, or the id


class ImageImported(Event, frozen=True, kw_only=True):
    """A file system was imported as it."""

    TYPE: ClassVar[str] = "image.imported"
    image_id: str
    name: str


class ImageCommitted(Event, frozen=True, kw_only=True):
    """A container was committed as it."""

    TYPE: ClassVar[str] = "image.committed"
    image_id: str
    container_id: str
    container_image: str  # what the container's creation called its image


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """A layer as a registry keeps it."""

    diff_id: str
    digest: str  # of the compressed bytes
    size_bytes: int
    media_type: str


class ImagePullRequested(Event, frozen=True, kw_only=True):
    """Intent: content is being fetched. Nothing of it is visible before an image's own intent and outcome."""

    TYPE: ClassVar[str] = "image.pull_requested"
    pull_id: str
    name: str  # canonical
    platform: str


class ImageRefused(Event, frozen=True, kw_only=True):
    """The trust policy doesn't let it in; nothing of it was stored."""

    TYPE: ClassVar[str] = "image.refused"
    pull_id: str
    name: str  # canonical
    digest: str  # of what the name stands for
    reason: str


class ImagePulled(Event, frozen=True, kw_only=True):
    """A registry brought it (also when it was there already)."""

    TYPE: ClassVar[str] = "image.pulled"
    image_id: str
    name: str  # canonical
    digest: str  # of the manifest, or of the index that named it
    blobs: tuple[Blob, ...]  # bottom first


class ImagePullFinished(Event, frozen=True, kw_only=True):
    """All that was asked for is there."""

    TYPE: ClassVar[str] = "image.pull_finished"
    pull_id: str
    image_ids: tuple[str, ...]


class ImagePullFailed(Event, frozen=True, kw_only=True):
    """It was given up; images that were complete stay."""

    TYPE: ClassVar[str] = "image.pull_failed"
    pull_id: str
    error: str


class ImageSaved(Event, frozen=True, kw_only=True):
    """Somebody has taken it away as an archive."""

    TYPE: ClassVar[str] = "image.saved"
    image_id: str


class ImagePushRequested(Event, frozen=True, kw_only=True):
    """Intent: content is being sent. Its layers are held by `push_id` meanwhile."""

    TYPE: ClassVar[str] = "image.push_requested"
    push_id: str
    name: str  # canonical


class ImagePushed(Event, frozen=True, kw_only=True):
    """A registry has it under this name."""

    TYPE: ClassVar[str] = "image.pushed"
    image_id: str
    name: str  # canonical
    digest: str  # of the manifest
    blobs: tuple[Blob, ...]  # bottom first


class ImagePushFinished(Event, frozen=True, kw_only=True):
    """The registry has all that was asked for."""

    TYPE: ClassVar[str] = "image.push_finished"
    push_id: str


class ImagePushFailed(Event, frozen=True, kw_only=True):
    """It was given up; what the registry had taken it keeps."""

    TYPE: ClassVar[str] = "image.push_failed"
    push_id: str
    error: str


class ImageTagged(Event, frozen=True, kw_only=True):
    """It has one more name; takes the claim `reference/<canonical>`."""

    TYPE: ClassVar[str] = "image.tagged"
    image_id: str
    reference: str
    asked: bool = True  # False when a load or import did it


class ImageUntagged(Event, frozen=True, kw_only=True):
    """It has one name less; `moved` when another image took the name."""

    TYPE: ClassVar[str] = "image.untagged"
    image_id: str
    reference: str
    moved: bool = False


class ImageAcquired(Event, frozen=True, kw_only=True):
    """A container uses it."""

    TYPE: ClassVar[str] = "image.acquired"
    image_id: str
    container_id: str


class ImageReleased(Event, frozen=True, kw_only=True):
    """A container that used it is gone."""

    TYPE: ClassVar[str] = "image.released"
    image_id: str
    container_id: str


class ImageRemoveRequested(Event, frozen=True, kw_only=True):
    """Intent: content and layers go."""

    TYPE: ClassVar[str] = "image.remove_requested"
    image_id: str


class ImageRemoved(Event, frozen=True, kw_only=True):
    """Nothing of it is left."""

    TYPE: ClassVar[str] = "image.removed"
    image_id: str
