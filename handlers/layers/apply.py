"""ApplyLayer: a tar becomes a layer that is complete, verified and held, or nothing at all.

Layers that stand on each other may be made at the same time: each is told of only when the one below it was.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import anyio
import anyio.from_thread
import msgspec

from events.errors import DeadlineExceeded, EngineError
from events.log import VersionConflict
from events.messages import layer as m
from events.projections.layers import Layer
from handlers import compression
from handlers.context import DECISION_RETRIES, Context
from handlers.kernel.calls import attempt
from handlers.kernel.threads import run_long
from handlers.layers import decide, removal
from handlers.layers.errors import NoSuchLayer, WrongDigest
from handlers.layers.ports import Below, GraphDriver, Unpacked, complete
from handlers.turns import Turns

LOGGER = logging.getLogger(__name__)
UNDO_LIMIT_S = 300.0


class Fill:
    """A layer that is being made; `end`: nothing comes into it any more, and `is_whole` tells whether all did."""

    def __init__(self) -> None:
        self.end, self.is_whole = anyio.Event(), False


class Filling:
    """Layers that are being made, by chain id."""

    def __init__(self) -> None:
        self._fills: dict[str, Fill] = {}

    @contextmanager
    def of(self, chain: str) -> Iterator[Fill]:
        """While the layer is made."""
        fill = self._fills[chain] = Fill()
        try:
            yield fill
        finally:
            fill.end.set()
            del self._fills[chain]

    async def whole(self, chain: str) -> None:
        """Wait for a layer that is being made. Raises NoSuchLayer when nothing comes of it."""
        fill = self._fills.get(chain)
        if fill is not None:
            await fill.end.wait()
            if not fill.is_whole:
                raise NoSuchLayer(chain)


class Making(msgspec.Struct, frozen=True, kw_only=True):
    """What layers are made with."""

    driver: GraphDriver
    turns: Turns
    filling: Filling


async def apply_layer(context: Context, command: m.ApplyLayer, making: Making) -> m.AppliedLayer:
    """Hold the layer if it is there, else make it. Two that want the same one: the second waits for the first.

    Raises InvalidParameter for a bad archive or a digest that isn't as announced, NoSuchLayer, LayerNotHeld.
    """
    diff_id = command.expected_diff_id or await _digest(command)
    decide.check_digest(diff_id)
    async with AsyncExitStack() as stack:
        begun = await _begin(context, command, diff_id, making, stack)
        if isinstance(begun, m.AppliedLayer):
            return begun
        return await _make(context, command, begun, making)


async def hold_layers(context: Context, command: m.HoldLayers, driver: GraphDriver, turns: Turns) -> m.HeldLayers:
    """Keep layers for one more holder, up to the first that isn't there. Raises OtherDriver.

    A layer that is there needs no turn: who removes it meanwhile is refused by the log, or this is.
    """
    async with turns.of(decide.holder_turn(command.holder)):
        for _ in range(DECISION_RETRIES):
            await _settle_all(context, command.chain_ids, driver, turns)
            layers = decide.present(context.state.layers, command.chain_ids)
            for layer in layers:
                decide.check_driver(layer, driver.name)
            answer = m.HeldLayers(sizes_bytes=tuple(layer.size_bytes for layer in layers))
            batch = tuple(decide.hold(layer, command.holder) for layer in layers if command.holder not in layer.holders)
            try:
                if batch:
                    await context.append_all(batch, answer=answer)
            except VersionConflict:
                continue
            return answer
    raise DeadlineExceeded("too many others are changing the same layers; try again")


async def _settle_all(context: Context, chains: Sequence[str], driver: GraphDriver, turns: Turns) -> None:
    """Wait for what is being made or removed of these, and finish what was interrupted."""
    for chain in chains:
        layer = context.state.layers.get(chain)
        if layer is not None and layer.status != "ready":
            async with turns.of(chain):
                await removal.settle(context, chain, driver)


async def _begin(
    context: Context, command: m.ApplyLayer, diff_id: str, making: Making, stack: AsyncExitStack
) -> m.LayerApplyRequested | m.AppliedLayer:
    """Announce the layer, whose turn `stack` keeps from then on; the answer when it is there already.

    The holder's turn is kept meanwhile, so that the parent stays held; afterwards the layer itself keeps it.
    """
    chain = decide.chain_id(command.parent, diff_id)
    async with making.turns.of(decide.holder_turn(command.holder)):
        await stack.enter_async_context(making.turns.of(chain))
        await removal.settle(context, chain, making.driver)
        layer = context.state.layers.get(chain)
        if layer is None:
            return await _announce(context, command, diff_id, making.driver)
        decide.check_driver(layer, making.driver.name)
        return await _hold(context, layer, command.holder)


async def _digest(command: m.ApplyLayer) -> str:
    """The identity must be known before the intent: read the tar once more."""

    def read() -> str:
        with attempt(f"read {command.path}"):
            return compression.digest(
                Path(command.path), command.offset, command.length, check=anyio.from_thread.check_cancelled
            )

    return await run_long(read)


async def _hold(context: Context, layer: Layer, holder: str) -> m.AppliedLayer:
    """The caller has the layer's turn, so that it stays; only its other holders may come and go meanwhile."""
    answer = _answer(layer)
    for _ in range(DECISION_RETRIES):
        now = context.state.layers.get(layer.chain_id)
        if now is None or holder in now.holders:
            return answer
        try:
            await context.append_all((decide.hold(now, holder),), answer=answer)
        except VersionConflict:
            continue
        return answer
    raise DeadlineExceeded("too many others are changing the same layer; try again")


async def _announce(
    context: Context, command: m.ApplyLayer, diff_id: str, driver: GraphDriver
) -> m.LayerApplyRequested:
    decide.check_parent(context.state.layers, command)
    decide.lineage(context.state.layers, command.parent, driver.name)
    requested = m.LayerApplyRequested(
        chain_id=decide.chain_id(command.parent, diff_id),
        diff_id=diff_id,
        parent=command.parent,
        cache_id=context.ids.new(),
        driver=driver.name,
        holder=command.holder,
    )
    with anyio.CancelScope(shield=True):  # or nobody would know whether to undo; the log bounds its own waits
        await context.append(decide.stream(requested.chain_id), requested)
    return requested


async def _make(
    context: Context, command: m.ApplyLayer, requested: m.LayerApplyRequested, making: Making
) -> m.AppliedLayer:
    chain = requested.chain_id
    try:
        unpacked = await _fill(context, command, requested, making)
    except BaseException as error:
        await _undo(context, requested, making.driver, str(error) or type(error).__name__)
        raise
    answer = m.AppliedLayer(chain_id=chain, diff_id=requested.diff_id, size_bytes=unpacked.size_bytes)
    with anyio.CancelScope(shield=True):
        applied = m.LayerApplied(chain_id=chain, size_bytes=unpacked.size_bytes, disk_bytes=unpacked.disk_bytes)
        await context.append(decide.stream(chain), applied, answer=answer)
    return answer


async def _fill(context: Context, command: m.ApplyLayer, requested: m.LayerApplyRequested, making: Making) -> Unpacked:
    """Unpack it and have it on disk, once all below it is."""
    parent = requested.parent

    async def below() -> None:
        await making.filling.whole(parent)
        decide.check_parent(context.state.layers, command)

    with making.filling.of(requested.chain_id) as fill:
        unpacked = await _unpack(context, command, requested, making.driver, below if parent else complete)
        fill.is_whole = True
        fill.end.set()
        await making.driver.flush()
        await _parent_ready(context, command)
    return unpacked


async def _parent_ready(context: Context, command: m.ApplyLayer) -> None:
    """Wait while the layer below is being made. Raises NoSuchLayer when nothing came of it."""
    if command.parent:
        layers = context.state.layers
        await context.until(decide.stream(command.parent), lambda: not decide.is_applying(layers, command.parent), None)
        decide.check_parent(layers, command)


async def _undo(context: Context, requested: m.LayerApplyRequested, driver: GraphDriver, reason: str) -> None:
    """If even this fails the intent stays open, and the next command or start tries again."""
    with anyio.move_on_after(UNDO_LIMIT_S, shield=True):
        try:
            await driver.remove(requested.cache_id)
            failed = m.LayerApplyFailed(chain_id=requested.chain_id, error=reason)
            await context.append(decide.stream(requested.chain_id), failed)
        except EngineError:
            LOGGER.exception("layer %s can't be taken down", requested.chain_id)


async def _unpack(
    context: Context, command: m.ApplyLayer, requested: m.LayerApplyRequested, driver: GraphDriver, below: Below
) -> Unpacked:
    lineage = decide.lineage(context.state.layers, requested.parent, driver.name)
    unpacked = await driver.unpack(requested.cache_id, lineage, command.path, command.offset, command.length, below)
    if unpacked.diff_id != requested.diff_id:
        raise WrongDigest(requested.diff_id, unpacked.diff_id)
    return unpacked


def _answer(layer: Layer) -> m.AppliedLayer:
    return m.AppliedLayer(chain_id=layer.chain_id, diff_id=layer.diff_id, size_bytes=layer.size_bytes)
