"""A world in memory in which images come, go and are used at once, in an order that a seed decides.

Everything that waits in real life (the log, the driver, the disk, a command's way) gives way here for a number of turns
of the event loop that the seed chooses; nothing else does, so that a seed always gives the same run.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import msgspec
from typing_extensions import override

from events.base import Event
from events.envelope import Cause, Recorded
from events.errors import EngineError, SystemFailure
from events.log import Append
from events.memory_log import MemoryLog
from events.messages import image as m
from events.messages import layer as l
from handlers.context import Context
from handlers.images import configuration, naming
from handlers.images.archive import Region
from handlers.images.content import ContentStore
from handlers.images.create import Plan, ensure_image
from handlers.images.handler import ImageHandler
from handlers.layers import decide
from handlers.layers.drivers.container_files import HelperFiles
from handlers.layers.handler import LayerHandler
from handlers.layers.ports import NO_OPTIONS, Below, GraphDriver, Origin, Tree, Unpacked, complete
from tests.fakes.sender import Engine, SteppingClock
from tests.fakes.tars import TarBuilder, digest

LONGEST_PAUSE = 5  # turns of the event loop


class Hurt(AssertionError):
    """Something was taken away that somebody needed."""


class Pace:
    """Where a run may go another way."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def new(self) -> str:
        """An id, as `Ids` has it."""
        return f"{self.random.getrandbits(256):064x}"

    async def pause(self) -> None:
        """Let others go first, or not."""
        for _ in range(self.random.randrange(LONGEST_PAUSE)):
            await asyncio.sleep(0)


class PacedLog(MemoryLog):
    """A log in memory that takes its time."""

    def __init__(self, pace: Pace) -> None:
        super().__init__(SteppingClock())
        self._pace = pace

    @override
    async def append(
        self, appends: Sequence[Append], *, cause: Cause, reply: bytes | None = None
    ) -> Sequence[Recorded]:
        await self._pace.pause()
        recorded = await super().append(appends, cause=cause, reply=reply)
        await self._pace.pause()
        return recorded


class Shelf(ContentStore):
    """Configurations in memory."""

    def __init__(self, pace: Pace) -> None:
        super().__init__(Path("/nowhere"))
        self._pace = pace
        self.kept: dict[str, bytes] = {}

    @override
    async def write(self, digest: str, content: bytes) -> None:
        await self._pace.pause()
        self.kept[digest] = content

    @override
    async def delete(self, digest: str) -> None:
        await self._pace.pause()
        self.kept.pop(digest, None)


class Table:
    """A graph driver whose layers are rows: what each stands on, and how many read it."""

    name = "table"
    is_orderless = False

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.rows: dict[str, tuple[str, ...]] = {}
        self.readers: dict[str, int] = {}

    async def prepare(self) -> None:
        """Nothing has to be."""

    async def unpack(
        self, cache_id: str, lineage: Sequence[str], path: str, offset: int, length: int, below: Below = complete
    ) -> Unpacked:
        """`path` is the digest that comes out."""
        await below()
        self._add(cache_id, lineage)
        await self._pace.pause()
        self._check(cache_id)
        return Unpacked(diff_id=path, size_bytes=1, disk_bytes=1)

    async def flush(self) -> None:
        """There is no disk."""

    async def create(self, cache_id: str, lineage: Sequence[str], options: Mapping[str, str] = NO_OPTIONS) -> None:
        """A row."""
        await self._pace.pause()
        self._add(cache_id, lineage)

    async def mount(self, cache_id: str, lineage: Sequence[str]) -> str:
        """What it stands on must be there."""
        self._check(cache_id)
        return f"/{cache_id}"

    async def unmount(self, cache_id: str) -> None:
        """Nothing was mounted."""

    async def remove(self, *cache_ids: str) -> None:
        """Raises Hurt when something stands on one or somebody reads it."""
        for cache_id in cache_ids:
            await self._pace.pause()
            if any(cache_id in lineage for lineage in self.rows.values()):
                raise Hurt(f"{cache_id} was removed from under another layer")
            if self.readers.get(cache_id):
                raise Hurt(f"{cache_id} was removed while it was read")
            self.rows.pop(cache_id, None)

    async def tree(self, cache_id: str, lineage: Sequence[str]) -> Tree:
        """Nowhere."""
        return Tree(own=f"/{cache_id}")

    async def origin(self, cache_id: str) -> Origin:
        """Nowhere."""
        return Origin(directory=f"/{cache_id}", skeleton=f"/{cache_id}")

    async def list(self) -> frozenset[str]:
        """All rows."""
        return frozenset(self.rows)

    def describe(self) -> tuple[tuple[str, str], ...]:
        """Nothing to tell."""
        return ()

    async def read(self, cache_id: str) -> None:
        """Read a layer for a while."""
        if cache_id not in self.rows:
            raise Hurt(f"{cache_id} is gone, and was to be read")
        self.readers[cache_id] = self.readers.get(cache_id, 0) + 1
        for _ in range(3):
            await self._pace.pause()
        self.readers[cache_id] -= 1

    def _add(self, cache_id: str, lineage: Sequence[str]) -> None:
        if cache_id in self.rows:
            raise SystemFailure(f"layer {cache_id} exists")
        self.rows[cache_id] = tuple(lineage)
        self._check(cache_id)

    def _check(self, cache_id: str) -> None:
        absent = [lower for lower in self.rows[cache_id] if lower not in self.rows]
        if absent:
            raise Hurt(f"{cache_id} stands on {absent}, which are gone")


class OnDisk(Table):
    """The same table, upon a real driver: each row is a layer with a file of its own, kept below `directory`."""

    def __init__(self, pace: Pace, driver: GraphDriver, directory: Path) -> None:
        super().__init__(pace)
        self._driver, self._directory = driver, directory

    @override
    async def unpack(
        self, cache_id: str, lineage: Sequence[str], path: str, offset: int, length: int, below: Below = complete
    ) -> Unpacked:
        await super().unpack(cache_id, lineage, path, offset, length, below)
        archive = TarBuilder().file(cache_id, path).write(self._directory / f"{cache_id}.tar")
        try:
            unpacked = await self._driver.unpack(cache_id, lineage, str(archive), 0, -1)
        except BaseException:
            del self.rows[cache_id]
            raise
        finally:
            archive.unlink()
        self._check(cache_id)
        return msgspec.structs.replace(unpacked, diff_id=path)

    @override
    async def create(self, cache_id: str, lineage: Sequence[str], options: Mapping[str, str] = NO_OPTIONS) -> None:
        await super().create(cache_id, lineage, options)
        await self._driver.create(cache_id, lineage, options)

    @override
    async def flush(self) -> None:
        await self._driver.flush()

    @override
    async def mount(self, cache_id: str, lineage: Sequence[str]) -> str:
        await super().mount(cache_id, lineage)
        return await self._driver.mount(cache_id, self.rows[cache_id])

    @override
    async def unmount(self, cache_id: str) -> None:
        await self._driver.unmount(cache_id)

    @override
    async def remove(self, *cache_ids: str) -> None:
        await super().remove(*cache_ids)
        await self._driver.remove(*cache_ids)


class World:
    """An engine with images and layers only, and what clients do to it."""

    def __init__(self, seed: int, driver: GraphDriver | None = None, directory: Path = Path("/nowhere")) -> None:
        """With a driver layers are on disk as well."""
        self.pace = Pace(seed)
        self.driver = OnDisk(self.pace, driver, directory) if driver else Table(self.pace)
        self.shelf = Shelf(self.pace)
        self.handler = ImageHandler(Path("/nowhere"), Path("/nowhere"))
        self.handler.content = self.shelf
        layers = LayerHandler(self.driver, HelperFiles(self.driver, Path("/nowhere")))
        self.engine = Engine(self.handler, layers, log=PacedLog(self.pace), ids=self.pace)
        self._containers = 0

    async def pull(self, layers: tuple[str, ...], names: tuple[str, ...], *, patient: bool = True) -> None:
        """An image of layers arrives. An impatient client leaves in the middle."""
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                if not patient:
                    tasks.start_soon(self._leave, scope)
                await self._pull(_plan(layers), names)
                tasks.cancel_scope.cancel()

    async def _leave(self, scope: anyio.CancelScope) -> None:
        for _ in range(self.pace.random.randrange(12)):
            await self.pace.pause()
        scope.cancel()

    async def _pull(self, plan: Plan, names: tuple[str, ...]) -> None:
        context = self.engine.context()

        async def conclude(made: tuple[Event, ...]) -> None:
            def decision() -> tuple[Append, ...]:
                images = context.state.images
                return naming.give_names(images, plan.image_id, names, asked=False, made=made).appends

            await naming.append_decided(context, decision)

        async with self.handler.turns.of(plan.image_id):
            await ensure_image(context, plan, self.shelf, conclude, apply=_apply)

    async def remove(self, name: str, *, force: bool) -> None:
        """`docker rmi`."""
        await self.engine.send(m.RemoveImage(name=name, force=force))

    async def prune(self, *, dangling: bool) -> None:
        """`docker image prune`, with `-a` unless `dangling`."""
        for image in list(self.engine.state.images):
            await self.pace.pause()
            removed = await self.engine.send(m.PruneImage(image_id=image.id, dangling=dangling))
            if dangling and removed.untagged:
                raise Hurt(f"{image.id} had names")

    async def tag(self, source: str, name: str) -> None:
        """`docker tag`."""
        await self.engine.send(m.TagImage(source=source, reference=name))

    async def run(self, name: str) -> None:
        """A container is made of an image, lives, is committed or not, and goes."""
        self._containers += 1
        container_id = f"{self._containers:064x}"
        image = self.engine.state.images.named(name)
        if image is None or image.status != "ready":
            return
        await self.engine.send(m.AcquireImage(image_id=image.id, container_id=container_id))
        try:
            await self.engine.send(l.CreateContainerLayer(container_id=container_id, parent=image.layers[-1]))
            for _ in range(3):
                await self.pace.pause()
                await self.driver.mount(decide.container_cache_id(container_id), ())
            if self.pace.random.random() < 0.5:
                committed = (*image.config.rootfs.diff_ids, digest(container_id.encode()))
                await self._pull(_plan(committed, parent=image.id), ())
        finally:
            await self.engine.send(l.RemoveContainerLayer(container_id=container_id))
            await self.engine.send(m.ReleaseImage(image_id=image.id, container_id=container_id))

    async def save(self, name: str) -> None:
        """`docker save`."""
        image = self.engine.state.images.named(name)
        if image is None or image.status != "ready":
            return
        holder = f"{l.READING}{self.pace.random.random()}"
        try:
            held: l.HeldLayers = await self.engine.send(l.HoldLayers(chain_ids=image.layers, holder=holder))
            if len(held.sizes_bytes) < len(image.layers):
                return
            for chain_id in image.layers:
                layer = self.engine.state.layers.get(chain_id)
                if layer is None:
                    raise Hurt(f"{chain_id} was held, and is gone")
                await self.driver.read(layer.cache_id)
        finally:
            await self.engine.send(l.ReleaseLayers(holder=holder))

    def check(self) -> None:
        """Nothing is left that nobody knows, and nothing is missing."""
        state = self.engine.state
        known = {layer.cache_id for layer in state.layers}
        assert set(self.driver.rows) == known, "directories without a layer, or layers without a directory"
        assert all(image.status == "ready" for image in state.images), "an image was left half made or half removed"
        assert set(self.shelf.kept) == {image.id for image in state.images}, "configurations without an image"
        held = {chain_id for image in state.images for chain_id in image.layers}
        assert {layer.chain_id for layer in state.layers} == held, "layers that no image has"
        assert all(layer.holders <= {image.id for image in state.images} for layer in state.layers), "stale holders"


async def quietly(step: object) -> None:
    """A client's request; a refusal is an answer."""
    try:
        await step  # type: ignore[misc]
    except SystemFailure:
        raise
    except EngineError:
        return


async def _apply(context: Context, plan: Plan) -> list[l.AppliedLayer]:
    applied: list[l.AppliedLayer] = []
    for diff_id in plan.config.rootfs.diff_ids:
        command = l.ApplyLayer(
            path=diff_id,
            parent=applied[-1].chain_id if applied else "",
            expected_diff_id=diff_id,
            holder=plan.image_id,
        )
        applied.append(await context.send(command))
    return applied


def _plan(diff_ids: tuple[str, ...], parent: str = "") -> Plan:
    config = m.ImageConfig(os="linux", rootfs=m.RootFilesystem(diff_ids=diff_ids), parent=parent)
    content = msgspec.json.encode(config)
    return Plan(
        image_id=configuration.image_id(content),
        content=content,
        config=config,
        source=None,
        layers=(Region(0, 0),) * len(diff_ids),
        origin="commit" if parent else "load",
    )
