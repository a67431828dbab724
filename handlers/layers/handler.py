"""The layer handler: which command goes where, with the graph driver in use."""

from typing import Any

from events.base import Command
from events.messages import layer as m
from handlers.context import Context, Handle
from handlers.layers import apply, containers, recovery, removal
from handlers.layers.ports import ContainerFiles, GraphDriver
from handlers.turns import Turns

TURN_LIMIT_S = 3600.0  # a layer may be large


class LayerHandler:
    """Read-only layers by chain id, read-write layers by container."""

    def __init__(self, driver: GraphDriver, files: ContainerFiles) -> None:
        self._driver, self._files = driver, files
        self._turns = Turns(TURN_LIMIT_S)
        self._making = apply.Making(driver=driver, turns=self._turns, filling=apply.Filling())

    def commands(self) -> dict[type[Command[Any]], Handle]:
        """See `Handler.commands`."""
        return {
            m.ApplyLayer: self._apply,
            m.HoldLayers: self._hold,
            m.ReleaseLayers: self._release,
            m.CreateContainerLayer: self._create,
            m.MountContainerLayer: self._mount,
            m.UnmountContainerLayer: self._unmount,
            m.ExtractIntoContainer: self._extract,
            m.ArchiveChanges: self._archive_changes,
            m.CopyIntoLayer: self._copy_into,
            m.CollectFiles: self._collect,
            m.RemoveContainerLayer: self._remove,
        }

    async def reconcile(self, context: Context) -> None:
        """See `Handler.reconcile`."""
        await recovery.reconcile(context, self._driver, self._turns)

    async def _apply(self, context: Context, command: m.ApplyLayer) -> m.AppliedLayer:
        return await apply.apply_layer(context, command, self._making)

    async def _hold(self, context: Context, command: m.HoldLayers) -> m.HeldLayers:
        return await apply.hold_layers(context, command, self._driver, self._turns)

    async def _release(self, context: Context, command: m.ReleaseLayers) -> None:
        await removal.release_layers(context, command, self._driver, self._turns)

    async def _create(self, context: Context, command: m.CreateContainerLayer) -> None:
        await containers.create(context, command, self._driver, self._turns)

    async def _mount(self, context: Context, command: m.MountContainerLayer) -> m.MountedLayer:
        return await containers.mount(context, command, self._driver, self._turns)

    async def _unmount(self, _: Context, command: m.UnmountContainerLayer) -> None:
        await containers.unmount(command, self._driver, self._turns)

    async def _extract(self, context: Context, command: m.ExtractIntoContainer) -> None:
        await containers.extract(context, command, self._driver, self._files, self._turns)

    async def _archive_changes(self, context: Context, command: m.ArchiveChanges) -> m.ArchivedChanges:
        return await containers.archive_changes(context, command, self._driver, self._files, self._turns)

    async def _copy_into(self, context: Context, command: m.CopyIntoLayer) -> None:
        await containers.copy_into(context, command, self._driver, self._files, self._turns)

    async def _collect(self, context: Context, command: m.CollectFiles) -> m.CollectedFiles:
        return await containers.collect(context, command, self._driver, self._files, self._turns)

    async def _remove(self, _: Context, command: m.RemoveContainerLayer) -> None:
        await containers.remove(command, self._driver, self._turns)
