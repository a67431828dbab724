"""The network domain: sandboxes, endpoints and published ports of containers, and the networks they are on."""

from typing import Any

from events.base import Command
from events.messages.network import (
    ConnectSandbox,
    DisconnectSandbox,
    OpenSandbox,
    RemoveSandboxFiles,
    Sandbox,
    UpdateLinks,
)
from handlers.context import Context, Handle
from handlers.networks.choice import Choice
from handlers.networks.connect import Connect, Open
from handlers.networks.disconnect import Disconnect, RemoveFiles
from handlers.networks.links import update
from handlers.networks.parts import Parts
from handlers.networks.predefined import PredefinedNetworks
from handlers.networks.reconcile import Reconcile
from handlers.turns import Turns

TURN_LIMIT_S = 120.0


class NetworkHandler:
    """`Handler` of handlers/context.py. `keep` must run beside it for the engine's life."""

    def __init__(self, parts: Parts) -> None:
        networks = PredefinedNetworks(parts)
        self._parts, self._publisher = parts, parts.publisher
        self._turns = Turns(TURN_LIMIT_S)
        choice = Choice(parts)
        self._open = Open(parts, networks, choice)
        self._connect = Connect(parts, networks, choice)
        self._disconnect = Disconnect(parts)
        self._remove_files = RemoveFiles(parts)
        self._reconcile = Reconcile(parts, networks, self._turns)

    def commands(self) -> dict[type[Command[Any]], Handle]:
        """The table command -> coroutine."""
        return {
            OpenSandbox: self._open_sandbox,
            ConnectSandbox: self._connect_sandbox,
            UpdateLinks: self._update_links,
            DisconnectSandbox: self._disconnect_sandbox,
            RemoveSandboxFiles: self._remove_sandbox_files,
        }

    async def reconcile(self, context: Context) -> None:
        """Make the predefined networks, then square the log with the host."""
        await self._reconcile(context)

    async def keep(self) -> None:
        """Restore published ports whenever what serves them is lost; runs until it is cancelled."""
        await self._publisher.keep()

    async def _open_sandbox(self, context: Context, command: OpenSandbox) -> Sandbox:
        async with self._turns.of(command.container_id):
            return await self._open(context, command)

    async def _connect_sandbox(self, context: Context, command: ConnectSandbox) -> None:
        async with self._turns.of(command.container_id):
            await self._connect(context, command)

    async def _update_links(self, context: Context, command: UpdateLinks) -> None:
        async with self._turns.of(command.container_id):
            await update(self._parts, context, command)

    async def _disconnect_sandbox(self, context: Context, command: DisconnectSandbox) -> None:
        async with self._turns.of(command.container_id):
            await self._disconnect(context, command)

    async def _remove_sandbox_files(self, context: Context, command: RemoveSandboxFiles) -> None:
        async with self._turns.of(command.container_id):
            await self._remove_files(context, command)
