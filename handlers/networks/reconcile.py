"""At boot, squares the log with the host: what only the host knows goes, what only the log knows comes back."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from events.errors import EngineError
from events.messages.system import OrphanRemoved
from events.projections.networks import SandboxState
from handlers.context import Context
from handlers.networks.decide import HOST, shared_with
from handlers.networks.parts import Parts
from handlers.networks.predefined import PredefinedNetworks
from handlers.together import together

_OBJECT_LIMIT_S = 20.0
_ALL_LIMIT_S = 120.0
_log = logging.getLogger(__name__)


class Reconcile:
    """Runs once, before commands are served. An open connect is left to the container's own recovery."""

    def __init__(self, parts: Parts, networks: PredefinedNetworks) -> None:
        self._parts, self._networks = parts, networks

    async def __call__(self, context: Context) -> None:
        """One object that can't be settled doesn't hold up the others; it is logged."""
        await self._guarded("predefined networks", partial(self._networks.ensure, context), _ALL_LIMIT_S)
        await self._guarded("orphans", partial(self._remove_orphans, context), _ALL_LIMIT_S)
        await together(
            *(
                partial(self._guarded, f"sandbox {sandbox.container_id}", partial(self._restore, sandbox))
                for sandbox in context.state.sandboxes
                if sandbox.status == "connected"
            )
        )

    async def _guarded(
        self, what: str, settle: Callable[[], Awaitable[None]], limit_s: float = _OBJECT_LIMIT_S
    ) -> None:
        try:
            with anyio.fail_after(limit_s):
                await settle()
        except (EngineError, TimeoutError) as error:
            _log.warning("recovery of %s: %s", what, str(error) or "took too long")

    async def _remove_orphans(self, context: Context) -> None:
        await together(
            partial(self._remove_namespaces, context),
            partial(self._remove_links, context),
            partial(self._withdraw_ports, context),
        )

    async def _remove_namespaces(self, context: Context) -> None:
        for name in await self._parts.namespaces.list():
            sandbox = context.state.sandboxes.get(name)
            if sandbox is None or sandbox.mode == HOST or shared_with(sandbox.mode):
                await self._remove(context, "namespace", name, self._parts.namespaces.remove)

    async def _remove_links(self, context: Context) -> None:
        known = {
            self._parts.driver.link_name(endpoint)
            for sandbox in context.state.sandboxes
            for endpoint in sandbox.endpoints
            if endpoint.address
        }
        for name in await self._parts.driver.list_links() - known:
            await self._remove(context, "link", name, self._parts.driver.remove_link)

    async def _withdraw_ports(self, context: Context) -> None:
        for container_id in await self._parts.publisher.published():
            sandbox = context.state.sandboxes.get(container_id)
            if sandbox is None or not sandbox.ports:
                await self._remove(context, "published ports", container_id, self._parts.publisher.withdraw)

    async def _remove(self, context: Context, kind: str, name: str, remove: Callable[[str], Awaitable[None]]) -> None:
        async def settle() -> None:
            await remove(name)
            await context.append("system/engine", OrphanRemoved(kind=kind, name=name))

        await self._guarded(f"{kind} {name}", settle)

    async def _restore(self, sandbox: SandboxState) -> None:
        """Put back what a live container lost. Without its namespace it isn't live: its own recovery sees to it."""
        if not any(endpoint.address for endpoint in sandbox.endpoints):
            return
        if not await self._parts.namespaces.exists(sandbox.container_id):
            return
        path = self._parts.namespaces.path(sandbox.container_id)
        for endpoint in sandbox.endpoints:
            if endpoint.address:
                await self._parts.driver.connect(sandbox.container_id, path, endpoint)
        if sandbox.ports:
            address = sandbox.endpoints[0].address
            await self._parts.publisher.publish(sandbox.container_id, address, sandbox.ports)
