"""PullImages: an image comes from a registry, layers unpacked while they are fetched, none of it seen unverified."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import takewhile

import anyio
import msgspec
from anyio.to_thread import run_sync

from events import references
from events.base import Event
from events.errors import EngineError
from events.log import Append
from events.messages import image as m
from events.messages.layer import AppliedLayer, ApplyLayer, HoldLayers
from events.projections.layers import chain_ids
from handlers.context import Context
from handlers.images import configuration, manifests, naming
from handlers.images.content import ContentStore
from handlers.images.create import Plan, ensure_image
from handlers.images.downloads import Download, Downloads
from handlers.images.manifests import Index, Manifest
from handlers.images.platforms import Platform, parse_platform
from handlers.images.ports import Fetched, Repository
from handlers.images.registry_errors import BadManifest, RegistryRefused, WrongContent, denied_pull
from handlers.images.stacking import apply_stack
from handlers.images.trust import Guard, check
from handlers.progress import Note
from handlers.turns import Turns

Tell = Callable[[Note], None]
_SHORT = slice(7, 19)  # of a digest, as clients show it
_NESTING_LIMIT = 4


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What a pull works with."""

    repository: Repository
    downloads: Downloads
    content: ContentStore
    turns: Turns
    tell: Tell
    guard: Guard | None = None


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """An image as a registry describes it, verified."""

    digest: str  # of what the name stands for
    image_id: str
    content: bytes  # the configuration
    config: m.ImageConfig
    blobs: tuple[m.Blob, ...]


class Pulled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one name; `is_new` False: it stood for this image already."""

    image_id: str
    digest: str
    is_new: bool


async def pull_one(context: Context, reference: references.Reference, platform: str, means: Means) -> Pulled:
    """Bring the image that a tag or digest stands for, and name it.

    Raises Untrusted, NotFound and RegistryRefused for what the registry says, RegistryUnreachable, BadManifest,
    WrongContent, and what the layer handler raises.
    """
    wanted = parse_platform(platform)
    try:
        resolved = await resolve(means.repository, reference.digest or reference.tag, wanted)
    except RegistryRefused as error:
        raise denied_pull(reference.familiar_name, reference.familiar, error) from error
    if means.guard is not None:
        requirements = await run_sync(means.guard.requirements, reference)
        await check(requirements, reference, resolved.digest, means.repository)
    means.tell(Note(status=f"Pulling from {_path(reference)}", subject=reference.digest or reference.tag))
    names = _names(reference, resolved.digest)
    held = context.state.images.named(names[0])
    is_new = held is None or held.id != resolved.image_id
    async with means.turns.of(resolved.image_id):
        await _bring(context, resolved, names, means)
    return Pulled(image_id=resolved.image_id, digest=resolved.digest, is_new=is_new)


async def resolve(repository: Repository, reference: str, platform: Platform) -> Resolved:
    """Find the manifest for a platform and read its configuration. Raises as `pull_one`."""
    fetched = await repository.manifest(reference)
    manifest, digest = await manifest_for(repository, fetched, platform), fetched.digest
    content = await repository.small_blob(manifest.config.digest, configuration.LIMIT_BYTES)
    actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if actual != manifest.config.digest or len(content) != manifest.config.size:
        raise WrongContent(f"image config verification failed for digest {manifest.config.digest}")
    config = configuration.parse(content)
    return Resolved(
        digest=digest, image_id=actual, content=content, config=config, blobs=manifests.blobs(manifest, config)
    )


async def manifest_for(repository: Repository, fetched: Fetched, platform: Platform) -> Manifest:
    """The manifest itself, or the one that an index has for a platform. Raises BadManifest, NoMatchingManifest."""
    for _ in range(_NESTING_LIMIT):
        document = manifests.read(fetched.content, fetched.media_type)
        if not isinstance(document, Index):
            return document
        fetched = await repository.manifest(manifests.choose(document, platform).digest)
    raise BadManifest("invalid manifest: indexes are nested too deeply")


def _path(reference: references.Reference) -> str:
    return reference.name.partition("/")[2]


def _names(reference: references.Reference, digest: str) -> tuple[str, ...]:
    """The names that the image gets: its tag if it was pulled by one, and its digest."""
    by_digest = msgspec.structs.replace(reference, tag="", digest=digest).canonical
    return (by_digest,) if reference.digest else (reference.canonical, by_digest)


async def _bring(context: Context, resolved: Resolved, names: Sequence[str], means: Means) -> None:
    plan = Plan(
        image_id=resolved.image_id,
        content=resolved.content,
        config=resolved.config,
        source=None,
        layers=(),
        origin="pull",
    )
    pulled = m.ImagePulled(image_id=plan.image_id, name=names[0], digest=resolved.digest, blobs=resolved.blobs)

    async def conclude(made: tuple[Event, ...]) -> None:
        def decision() -> Sequence[Append]:
            images = context.state.images
            image = images.get(plan.image_id)
            lacking = [name for name in names if image is None or name not in image.references]
            named = naming.give_names(images, plan.image_id, lacking, asked=False, made=made, conclusion=(pulled,))
            return named.appends

        await naming.append_decided(context, decision)

    async def apply(context: Context, plan: Plan) -> list[AppliedLayer]:
        return await Fetch(context, plan.image_id, resolved.blobs, means).run()

    await ensure_image(context, plan, means.content, conclude, apply)


class Fetch:
    """The layers of one image on their way in."""

    def __init__(self, context: Context, holder: str, blobs: Sequence[m.Blob], means: Means) -> None:
        self._context, self._holder, self._blobs, self._means = context, holder, blobs, means
        self._failures: list[EngineError] = []

    async def run(self) -> list[AppliedLayer]:
        """Hold what is there, fetch and unpack the rest, bottom first. Raises what the first failure is."""
        applied = await self._hold_present()
        missing = self._blobs[len(applied) :]
        async with AsyncExitStack() as stack:
            for blob in missing:
                self._tell(blob, "Pulling fs layer")
            downloads = [
                await stack.enter_async_context(self._means.downloads.of(blob, self._means.repository))
                for blob in missing
            ]
            async with anyio.create_task_group() as tasks:
                for download in downloads:
                    tasks.start_soon(self._report, download, tasks.cancel_scope)
                await self._apply_all(downloads, applied)
                tasks.cancel_scope.cancel("all is applied")
            if self._failures:
                raise self._failures[0]
            for download in downloads:
                download.is_spent = True
        return applied

    async def _hold_present(self) -> list[AppliedLayer]:
        """Layers that are there, from the bottom up to the first that isn't.

        What is being made by somebody else is fetched along with them, so that there is progress to show.
        """
        ready = tuple(takewhile(self._is_ready, chain_ids(blob.diff_id for blob in self._blobs)))
        if not ready:
            return []
        held = await self._context.send(HoldLayers(chain_ids=ready, holder=self._holder))
        applied = [
            AppliedLayer(chain_id=chain, diff_id=blob.diff_id, size_bytes=size_bytes)
            for chain, blob, size_bytes in zip(ready, self._blobs, held.sizes_bytes, strict=False)
        ]
        for blob in self._blobs[: len(applied)]:
            self._tell(blob, "Already exists")
        return applied

    def _is_ready(self, chain: str) -> bool:
        layer = self._context.state.layers.get(chain)
        return layer is not None and layer.status == "ready"

    async def _apply_all(self, downloads: Sequence[Download], applied: list[AppliedLayer]) -> None:
        chains = chain_ids(blob.diff_id for blob in self._blobs)
        there = len(applied)

        async def apply(number: int) -> AppliedLayer:
            parent = chains[there + number - 1] if there + number else ""
            return await self._apply(downloads[number], parent)

        try:
            applied += await apply_stack(self._context, self._holder, chains[there:], apply)
        except EngineError as error:
            self._failures.append(error)

    async def _apply(self, download: Download, parent: str) -> AppliedLayer:
        """Unpack a layer as it arrives. A download that failed is to blame before what came of it."""
        await download.begun.wait()
        _check(download)
        command = ApplyLayer(
            path=str(download.path),
            length=download.blob.size_bytes,
            parent=parent,
            expected_diff_id=download.blob.diff_id,
            holder=self._holder,
        )
        try:
            applied = await self._context.send(command)
        except EngineError:
            _check(download)
            raise
        await download.ended.wait()
        _check(download)
        self._tell(download.blob, "Pull complete")
        return applied

    async def _report(self, download: Download, scope: anyio.CancelScope) -> None:
        """Tell how a download goes, until it ends; its failure ends the rest too."""
        if not download.begun.is_set():
            self._tell(download.blob, "Waiting")
        while not download.ended.is_set():
            if download.pause_s:
                plural = "s" if download.pause_s > 1 else ""
                self._tell(download.blob, f"Retrying in {download.pause_s} second{plural}")
            elif download.current_bytes:
                self._tell(download.blob, "Downloading", download.current_bytes)
            await download.changed()
        if download.error is not None:
            self._failures.append(download.error)
            scope.cancel("a download failed")
            return
        self._tell(download.blob, "Verifying Checksum")
        self._tell(download.blob, "Download complete")
        self._tell(download.blob, "Extracting", download.blob.size_bytes)

    def _tell(self, blob: m.Blob, status: str, current_bytes: int = 0) -> None:
        total_bytes = blob.size_bytes if current_bytes else 0
        note = Note(
            status=status,
            subject=blob.digest[_SHORT],
            has_detail=True,
            current_bytes=current_bytes,
            total_bytes=total_bytes,
        )
        self._means.tell(note)


def _check(download: Download) -> None:
    """Raises what made a download fail."""
    if download.error is not None:
        raise download.error
