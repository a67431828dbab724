"""DisconnectSandbox and RemoveSandboxFiles: what a container had is free for others again."""

import anyio

from events.errors import DeadlineExceeded
from events.messages.network import DisconnectSandbox, RemoveSandboxFiles, SandboxDisconnected
from events.projections.networks import SandboxState
from handlers.context import Context
from handlers.networks.decide import claims_of, shared_with
from handlers.networks.parts import Parts
from handlers.networks.take_down import take_down

_ACT_LIMIT_S = 60.0


class Disconnect:
    """The verb; safe to repeat until it succeeds."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, context: Context, command: DisconnectSandbox) -> None:
        """Absent is fine. Raises SystemFailure; then the claims are still held and it can be tried again."""
        sandbox = context.state.sandboxes.get(command.container_id)
        if sandbox is None:
            return
        try:
            with anyio.fail_after(_ACT_LIMIT_S):
                await self._take_down(context, sandbox)
        except TimeoutError as error:
            raise DeadlineExceeded(f"network of container {command.container_id} can't be taken down") from error
        await context.append(
            f"sandbox/{command.container_id}",
            SandboxDisconnected(container_id=command.container_id),
            release=claims_of(sandbox.endpoints, sandbox.ports),
            answer=None,
        )

    async def _take_down(self, context: Context, sandbox: SandboxState) -> None:
        if shared_with(sandbox.mode):
            return
        shared = any(shared_with(other.mode) == sandbox.container_id for other in context.state.sandboxes)
        await take_down(self._parts, sandbox.container_id, sandbox.endpoints, sandbox.ports, wait_for_links=shared)


class RemoveFiles:
    """The verb."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, context: Context, command: RemoveSandboxFiles) -> None:
        """Absent is fine. Raises SystemFailure."""
        await self._parts.name_files.remove(command.container_id)
