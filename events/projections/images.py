"""What is known of every image; `images`, `inspect`, `history` and decisions about images read this."""

from collections.abc import Iterator, Set

import msgspec

from events.base import Event
from events.envelope import Recorded
from events.messages import image as m
from events.projections.tables import Projection
from events.sealed import Sealed


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image as the log tells it."""

    id: str  # sha256:<hex of its configuration>
    config: m.ImageConfig = m.ImageConfig()  # without what is sealed
    secrets: Sealed | None = None
    layers: tuple[str, ...] = ()  # chain ids, bottom first
    parent: str = ""  # id of the image whose container was committed as this; that may have gone
    committed_from: str = ""  # what that container's creation called its image
    size_bytes: int = 0
    references: tuple[str, ...] = ()  # canonical names, in order of tagging
    created_at_ns: int = 0  # when it came into this engine
    tagged_at_ns: int = 0
    blobs: tuple[m.Blob, ...] = ()  # its layers as the registry had them that it came from last, bottom first
    repositories: tuple[str, ...] = ()  # where those blobs are known to be, canonical names
    status: str = "creating"  # creating, ready, removing
    version: int = 0


_MADE_HERE = ("commit", "build")  # and so it is known what they stand on


def repository_of(name: str) -> str:
    """A canonical name without its tag and digest."""
    path, _, last = name.partition("@")[0].rpartition("/")
    return f"{path}/{last.partition(':')[0]}"


def fold(image: Image, event: Event, recorded: Recorded) -> Image | None:
    """The state after an event; None when it is gone."""
    replace = msgspec.structs.replace
    match event:
        case m.ImageCreated():
            return replace(
                image,
                config=event.config,
                secrets=event.secrets,
                layers=event.layers,
                parent=event.config.parent if event.origin in _MADE_HERE else "",
                size_bytes=event.size_bytes,
                created_at_ns=recorded.clock_ns,
                status="ready",
            )
        case m.ImageCommitted(container_image=container_image):
            return replace(image, committed_from=container_image)
        case m.ImageCreateFailed() | m.ImageRemoved():
            return None
        case m.ImageTagged(reference=reference):
            others = tuple(name for name in image.references if name != reference)
            return replace(image, references=(*others, reference), tagged_at_ns=recorded.clock_ns)
        case m.ImageUntagged(reference=reference):
            return replace(image, references=tuple(name for name in image.references if name != reference))
        case m.ImagePulled(name=name, blobs=blobs) | m.ImagePushed(name=name, blobs=blobs):
            others = image.repositories if blobs == image.blobs else ()
            repository = repository_of(name)
            return replace(image, blobs=blobs, repositories=(*(o for o in others if o != repository), repository))
        case m.ImageRemoveRequested():
            return replace(image, status="removing")
        case _:
            return image


class Images(Projection):
    """All images, by id and by name, and the containers that use them."""

    _by_id: dict[str, Image]
    _id_of_reference: dict[str, str]
    _users: dict[str, dict[str, None]]  # container ids: ten thousand may use one image, so they aren't its field

    def __iter__(self) -> Iterator[Image]:
        """In order of arrival, also those not ready."""
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, image_id: str) -> Image | None:
        """By full id (`sha256:...`)."""
        return self._by_id.get(image_id)

    def users(self, image_id: str) -> Set[str]:
        """Ids of the containers that use an image, as they are now."""
        return self._users.get(image_id, {}).keys()

    def named(self, reference: str) -> Image | None:
        """By canonical reference (`docker.io/library/busybox:latest`)."""
        image_id = self._id_of_reference.get(reference)
        return None if image_id is None else self._by_id[image_id]

    def with_prefix(self, prefix: str) -> tuple[Image, ...]:
        """All whose id starts so; the prefix may come with or without `sha256:`."""
        wanted = "sha256:" + prefix.removeprefix("sha256:")
        return tuple(image for key, image in self._by_id.items() if key.startswith(wanted))

    def parent(self, image: Image) -> Image | None:
        """The image that its own was committed upon here, if that is still there."""
        parent = self._by_id.get(image.parent)
        return parent if parent is not None and parent.status == "ready" else None

    def parents(self) -> frozenset[str]:
        """Ids of what others were committed upon that are there, also ids of images that have gone."""
        return frozenset(image.parent for image in self if image.parent and image.status == "ready")

    def apply(self, recorded: Recorded) -> None:
        """Take in one event of an `image/` stream."""
        event = recorded.event
        image_id = recorded.stream.partition("/")[2]
        before = self._by_id.get(image_id)
        if isinstance(event, m.ImageCreateRequested):
            before = before or Image(id=image_id)
        elif before is None:
            return
        after: Image | None = before
        match event:
            case m.ImageAcquired(container_id=container_id):
                self._users.setdefault(image_id, {})[container_id] = None
            case m.ImageReleased(container_id=container_id):
                self._users.get(image_id, {}).pop(container_id, None)
            case _:
                after = fold(before, event, recorded)
        for name in before.references:
            if (after is None or name not in after.references) and self._id_of_reference.get(name) == image_id:
                del self._id_of_reference[name]
        if after is None:
            self._by_id.pop(image_id, None)
            self._users.pop(image_id, None)
            return
        self._by_id[image_id] = msgspec.structs.replace(after, version=recorded.version)
        self._id_of_reference.update(dict.fromkeys(after.references, image_id))
