"""ApplyLayer: a tar becomes a layer that is complete, verified and held, or nothing at all."""

import logging
from pathlib import Path

import anyio
import anyio.from_thread

from events.errors import DeadlineExceeded, EngineError
from events.log import VersionConflict
from events.messages import layer as m
from events.projections.layers import Layer
from handlers import compression
from handlers.context import DECISION_RETRIES, Context
from handlers.kernel.calls import attempt
from handlers.kernel.threads import run_long
from handlers.layers import decide, removal
from handlers.layers.errors import WrongDigest
from handlers.layers.ports import GraphDriver, Unpacked
from handlers.turns import Turns

LOGGER = logging.getLogger(__name__)
UNDO_LIMIT_S = 300.0


async def apply_layer(context: Context, command: m.ApplyLayer, driver: GraphDriver, turns: Turns) -> m.AppliedLayer:
    """Hold the layer if it is there, else make it. Two that want the same one: the second waits for the first.

    Raises InvalidParameter for a bad archive or a digest that isn't as announced, NoSuchLayer, LayerNotHeld.
    """
    async with turns.of(decide.holder_turn(command.holder)):  # so that the parent stays held until this is done
        return await _apply(context, command, driver, turns)


async def hold_layer(context: Context, command: m.HoldLayer, driver: GraphDriver, turns: Turns) -> m.HeldLayer:
    """Keep a layer that is there for one more holder. Raises OtherDriver."""
    async with turns.of(decide.holder_turn(command.holder)), turns.of(command.chain_id):
        await removal.settle(context, command.chain_id, driver)
        layer = context.state.layers.get(command.chain_id)
        if layer is None:
            return m.HeldLayer(held=False)
        decide.check_driver(layer, driver.name)
        await _hold(context, layer, command.holder)
        return m.HeldLayer(held=True, size_bytes=layer.size_bytes)


async def _apply(context: Context, command: m.ApplyLayer, driver: GraphDriver, turns: Turns) -> m.AppliedLayer:
    diff_id = command.expected_diff_id or await _digest(command)
    decide.check_digest(diff_id)
    chain = decide.chain_id(command.parent, diff_id)
    async with turns.of(chain):
        await removal.settle(context, chain, driver)
        layer = context.state.layers.get(chain)
        if layer is None:
            return await _make(context, command, diff_id, driver)
        decide.check_driver(layer, driver.name)
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


async def _make(context: Context, command: m.ApplyLayer, diff_id: str, driver: GraphDriver) -> m.AppliedLayer:
    decide.check_parent(context.state.layers, command)
    lineage = decide.lineage(context.state.layers, command.parent, driver.name)
    requested = m.LayerApplyRequested(
        chain_id=decide.chain_id(command.parent, diff_id),
        diff_id=diff_id,
        parent=command.parent,
        cache_id=context.ids.new(),
        driver=driver.name,
        holder=command.holder,
    )
    stream = decide.stream(requested.chain_id)
    with anyio.CancelScope(shield=True):  # or nobody would know whether to undo; the log bounds its own waits
        await context.append(stream, requested)
    try:
        unpacked = await _unpack(command, requested, lineage, driver)
    except BaseException as error:
        await _undo(context, requested, driver, str(error) or type(error).__name__)
        raise
    answer = m.AppliedLayer(chain_id=requested.chain_id, diff_id=diff_id, size_bytes=unpacked.size_bytes)
    with anyio.CancelScope(shield=True):
        applied = m.LayerApplied(
            chain_id=requested.chain_id, size_bytes=unpacked.size_bytes, disk_bytes=unpacked.disk_bytes
        )
        await context.append(stream, applied, answer=answer)
    return answer


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
    command: m.ApplyLayer, requested: m.LayerApplyRequested, lineage: tuple[str, ...], driver: GraphDriver
) -> Unpacked:
    unpacked = await driver.unpack(requested.cache_id, lineage, command.path, command.offset, command.length)
    if unpacked.diff_id != requested.diff_id:
        raise WrongDigest(requested.diff_id, unpacked.diff_id)
    return unpacked


def _answer(layer: Layer) -> m.AppliedLayer:
    return m.AppliedLayer(chain_id=layer.chain_id, diff_id=layer.diff_id, size_bytes=layer.size_bytes)
