"""At boot, squares the log with the host: what only the host knows goes, what only the log knows comes back."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from events.messages.system import OrphanRemoved
from events.projections.networks import SandboxState
from handlers.context import Context
from handlers.networks.decide import HOST, shared_with
from handlers.networks.parts import Parts
from handlers.networks.predefined import PredefinedNetworks
from handlers.together import together
from handlers.turns import Turns

Remove = Callable[[str], Awaitable[None]]
_OBJECT_LIMIT_S = 20.0
_ALL_LIMIT_S = 120.0
LOGGER = logging.getLogger(__name__)


class Reconcile:
    """Runs once; commands may be served already. An open connect is left to the container's own recovery.

    What is on the host was in the log before it was made: so the host is listed first, and then compared.
    """

    def __init__(self, parts: Parts, networks: PredefinedNetworks, turns: Turns) -> None:
        self._parts, self._networks, self._turns = parts, networks, turns

    async def __call__(self, context: Context) -> None:
        """One object that can't be settled doesn't hold up the others; it is logged."""
        await self._guarded("predefined networks", partial(self._networks.ensure, context), _ALL_LIMIT_S)
        await self._guarded("orphans", partial(self._remove_orphans, context), _ALL_LIMIT_S)
        await together(
            *(
                partial(
                    self._guarded,
                    f"sandbox {sandbox.container_id}",
                    partial(self._restore, context, sandbox.container_id),
                )
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
        except Exception:  # whatever is wrong with one object, the others are settled
            LOGGER.exception("%s can't be settled; it is tried again at the next start", what)

    async def _remove_orphans(self, context: Context) -> None:
        await together(
            partial(self._remove_namespaces, context),
            partial(self._remove_links, context),
            partial(self._withdraw_ports, context),
        )

    async def _remove_namespaces(self, context: Context) -> None:
        for container_id in await self._parts.namespaces.list():
            await self._remove_of(context, "namespace", container_id, _has_namespace, self._parts.namespaces.remove)

    async def _remove_links(self, context: Context) -> None:
        """Their names come from random ids: none is made a second time."""
        present = await self._parts.driver.list_links()
        known = {
            self._parts.driver.link_name(endpoint)
            for sandbox in context.state.sandboxes
            for endpoint in sandbox.endpoints
            if endpoint.address
        }
        for name in present - known:
            remove = partial(self._remove, context, "link", name, self._parts.driver.remove_link)
            await self._guarded(f"link {name}", remove)

    async def _withdraw_ports(self, context: Context) -> None:
        for container_id in await self._parts.publisher.published():
            await self._remove_of(context, "published ports", container_id, _has_ports, self._parts.publisher.withdraw)

    async def _remove_of(
        self, context: Context, kind: str, container_id: str, has: Callable[[SandboxState], bool], remove: Remove
    ) -> None:
        """Remove what goes by a container's id, unless the container has one (again)."""

        async def settle() -> None:
            async with self._turns.of(container_id):
                sandbox = context.state.sandboxes.get(container_id)
                if sandbox is None or not has(sandbox):
                    await self._remove(context, kind, container_id, remove)

        await self._guarded(f"{kind} {container_id}", settle)

    async def _remove(self, context: Context, kind: str, name: str, remove: Remove) -> None:
        await remove(name)
        await context.append("system/engine", OrphanRemoved(kind=kind, name=name))

    async def _restore(self, context: Context, container_id: str) -> None:
        """Put back what a live container lost. Without its namespace it isn't live: its own recovery sees to it."""
        async with self._turns.of(container_id):
            sandbox = context.state.sandboxes.get(container_id)
            if sandbox is None or sandbox.status != "connected" or not _has_address(sandbox):
                return
            container = context.state.containers.get(container_id)
            if container is not None and container.observed_run == container.run:
                return  # its end is being settled: a port that was cut off for that wouldn't come up again
            if await self._parts.namespaces.exists(container_id):
                await self._restore_live(sandbox)

    async def _restore_live(self, sandbox: SandboxState) -> None:
        path = self._parts.namespaces.path(sandbox.container_id)
        for endpoint in sandbox.endpoints:
            if endpoint.address:
                await self._parts.driver.connect(sandbox.container_id, path, endpoint)
        if sandbox.ports:
            address = sandbox.endpoints[0].address
            await self._parts.publisher.publish(sandbox.container_id, address, sandbox.ports)


def _has_namespace(sandbox: SandboxState) -> bool:
    return sandbox.mode != HOST and not shared_with(sandbox.mode)


def _has_ports(sandbox: SandboxState) -> bool:
    return bool(sandbox.ports)


def _has_address(sandbox: SandboxState) -> bool:
    return any(endpoint.address for endpoint in sandbox.endpoints)
