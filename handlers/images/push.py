"""PushImages: an image goes to a registry; what the registry has, there or elsewhere, isn't sent."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import anyio
import msgspec

from events import references
from events.errors import EngineError, NotFound, first_error
from events.log import Append
from events.messages import image as m
from events.messages.layer import HoldLayers
from events.projections.images import Image, Images
from events.projections.layers import Layer
from handlers.context import Context
from handlers.images import naming
from handlers.images.content import ContentStore
from handlers.images.ports import LayerTars, Repository
from handlers.images.uploads import MEDIA_TYPE, Upload
from handlers.progress import Note, Result

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_SHORT = slice(7, 19)  # of a digest, as clients show it
# what can stand in a manifest of Docker's schema 2, by what it is called in the OCI's
_KINDS = {
    MEDIA_TYPE: MEDIA_TYPE,
    "application/vnd.oci.image.layer.v1.tar+gzip": MEDIA_TYPE,
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.oci.image.layer.v1.tar": "application/vnd.docker.image.rootfs.diff.tar",
}

Known = tuple[m.Blob, tuple[str, ...]]


class NotLocal(NotFound):
    """Nothing here has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"An image does not exist locally with the tag: {name}")


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """What a push works with. `holder` keeps layers meanwhile."""

    repository: Repository
    tars: LayerTars
    content: ContentStore
    limiter: anyio.CapacityLimiter
    attempts: int
    holder: str
    tell: Callable[[Note], None]


async def push_one(context: Context, reference: references.Reference, sending: Sending) -> m.PushedTag:
    """Send the image that a tag stands for. Raises NotLocal, and what the registry says."""
    image = _local(context.state.images, reference)
    layers = await _held(context, image, sending)
    config = await sending.content.read(image.id)
    for layer in layers:
        sending.tell(Note(status="Preparing", subject=layer.diff_id[_SHORT], has_detail=True))
    blobs = await _send_layers(context, layers, sending)
    await _send_config(image.id, config, sending.repository)
    content = _manifest(image.id, len(config), blobs)
    await sending.repository.put_manifest(reference.tag, content, MANIFEST)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    await _record(context, image.id, reference, digest, blobs)
    pushed = m.PushedTag(tag=reference.tag, digest=digest, size_bytes=len(content))
    sending.tell(Note(status=f"{pushed.tag}: digest: {digest} size: {pushed.size_bytes}"))
    sending.tell(Note(status="", result=Result(tag=pushed.tag, digest=digest, size_bytes=pushed.size_bytes)))
    return pushed


def local_tags(images: Images, reference: references.Reference) -> list[references.Reference]:
    """The tag that was named, or all that a repository has here. Raises NotLocal."""
    if reference.tag:
        _local(images, reference)
        return [reference]
    parsed = [references.parse(name) for image in images if image.status == "ready" for name in image.references]
    found = [each for each in parsed if each.name == reference.name and each.tag]
    if not found:
        raise NotLocal(reference.familiar_name)
    return sorted(found, key=lambda each: each.tag)


def _local(images: Images, reference: references.Reference) -> Image:
    image = images.named(reference.canonical)
    if image is None or image.status != "ready":
        raise NotLocal(reference.familiar_name)
    return image


async def _held(context: Context, image: Image, sending: Sending) -> list[Layer]:
    """The image's layers, bottom first; they stay, whatever becomes of the image."""
    chains = tuple(dict.fromkeys(image.layers))
    held = await context.send(HoldLayers(chain_ids=chains, holder=sending.holder))
    if len(held.sizes_bytes) < len(chains):
        raise NotLocal(image.id)
    layers = [context.state.layers.get(chain) for chain in image.layers]
    return [layer for layer in layers if layer is not None]


async def _send_layers(context: Context, layers: Sequence[Layer], sending: Sending) -> list[m.Blob]:
    """All at once, as far as the limit on uploads lets them."""
    known = _known(context.state.images)
    missing = {layer.cache_id: layer.diff_id for layer in layers if layer.diff_id not in known}
    tars = sending.tars.several(missing)
    blobs: dict[str, m.Blob] = {}

    async def send(layer: Layer) -> None:
        blobs[layer.diff_id] = await _send_layer(layer, known.get(layer.diff_id, ()), sending, tars)

    try:
        async with anyio.create_task_group() as tasks:
            for layer in {layer.diff_id: layer for layer in layers}.values():
                tasks.start_soon(send, layer)
    except BaseExceptionGroup as group:
        error = first_error(group)
        if isinstance(error, EngineError):
            raise error from group
        raise
    return [blobs[layer.diff_id] for layer in layers]


def _known(images: Images) -> Mapping[str, tuple[Known, ...]]:
    """Forms in which registries are known to have layers, and where, by diff id."""
    found: dict[str, tuple[Known, ...]] = {}
    for image in images:
        for blob in image.blobs:
            if blob.media_type in _KINDS:
                found[blob.diff_id] = (*found.get(blob.diff_id, ()), (blob, image.repositories))
    return found


async def _send_layer(layer: Layer, known: Sequence[Known], sending: Sending, tars: LayerTars) -> m.Blob:
    def tell(status: str, current_bytes: int = 0, total_bytes: int = 0) -> None:
        sending.tell(
            Note(
                status=status,
                subject=layer.diff_id[_SHORT],
                has_detail=True,
                current_bytes=current_bytes,
                total_bytes=total_bytes,
            )
        )

    tell("Waiting")
    async with sending.limiter:
        for blob in dict.fromkeys(blob for blob, _ in known):
            if await sending.repository.has_blob(blob.digest):
                tell("Layer already exists")
                return blob
        for blob, source in _mountable(sending.repository.name, known):
            if not await sending.repository.begin_upload(mount=blob.digest, source=source):
                tell(f"Mounted from {source.partition('/')[2]}")
                return blob
        upload = Upload(
            sending.repository, tars, sending.attempts, lambda current, total: tell("Pushing", current, total)
        )
        blob = await upload.run(layer.cache_id, layer.diff_id)
        tell("Pushed")
        return blob


def _mountable(target: str, known: Sequence[Known]) -> list[tuple[m.Blob, str]]:
    """Blobs with another repository of the same registry."""
    registry = target.partition("/")[0]
    return [
        (blob, repository)
        for blob, repositories in known
        for repository in repositories
        if repository != target and repository.partition("/")[0] == registry
    ]


async def _send_config(digest: str, content: bytes, repository: Repository) -> None:
    if not await repository.has_blob(digest):
        place = await repository.begin_upload()
        await repository.finish_upload(place, digest, content)


def _manifest(config: str, config_bytes: int, blobs: Sequence[m.Blob]) -> bytes:
    return msgspec.json.encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": _CONFIG, "size": config_bytes, "digest": config},
            "layers": [
                {"mediaType": _KINDS[blob.media_type], "size": blob.size_bytes, "digest": blob.digest} for blob in blobs
            ],
        }
    )


async def _record(
    context: Context, image_id: str, reference: references.Reference, digest: str, blobs: Sequence[m.Blob]
) -> None:
    """What the registry has, and the name by digest; nothing when the image is gone meanwhile."""
    by_digest = msgspec.structs.replace(reference, tag="", digest=digest).canonical
    pushed = m.ImagePushed(image_id=image_id, name=reference.canonical, digest=digest, blobs=tuple(blobs))

    def decision() -> Sequence[Append]:
        images = context.state.images
        image = images.get(image_id)
        if image is None or image.status != "ready":
            return ()
        lacking = [] if by_digest in image.references else [by_digest]
        return naming.give_names(images, image_id, lacking, asked=False, conclusion=(pushed,)).appends

    with anyio.CancelScope(shield=True):
        if decision():
            await naming.append_decided(context, decision)
