"""Chooses addresses and ports and makes the choice durable; one sandbox at a time, so that none is promised twice."""

import anyio
import msgspec

from events.log import ClaimTaken
from events.messages.network import ConnectSandbox, OpenSandbox, PortRequest, PublishedPort, SandboxRequested
from events.projections.networks import SandboxState
from handlers.context import Context
from handlers.networks.decide import Circumstances, Plan, plan_ports, plan_sandbox, port_claim, sandbox_stream
from handlers.networks.parts import Parts


class Choice:
    """Remembers where the last choice stopped, so that an address isn't given again at once."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._turn = anyio.Lock()  # a wildcard and an address of the same port are two claims: choose one by one
        self._last = Circumstances()

    async def sandbox(self, context: Context, command: OpenSandbox) -> Plan:
        """What a new sandbox gets; the intent is durable. What another stream turns out to hold is avoided."""
        now = await self._circumstances(command.ports)
        async with self._turn:
            while True:
                here = self._from_where_it_stopped(now)
                plan = plan_sandbox(command, context.state, here, context.ids.new)
                event = SandboxRequested(
                    container_id=command.container_id, mode=command.mode, endpoints=plan.endpoints, ports=plan.ports
                )
                try:
                    await context.append(sandbox_stream(command.container_id), event, take=plan.claims)
                except ClaimTaken as error:
                    now = _avoiding(now, error, plan.ports)
                    continue
                self._remember(plan, command.ports)
                return plan

    async def other_ports(
        self, context: Context, command: ConnectSandbox, sandbox: SandboxState, refused: tuple[PublishedPort, ...]
    ) -> SandboxState:
        """The sandbox with other ports, since something else on the host has some of its own."""
        now = msgspec.structs.replace(await self._circumstances(command.ports), taken_ports=refused)
        async with self._turn:
            while True:
                others = (other for other in context.state.sandboxes if other.container_id != sandbox.container_id)
                here = self._from_where_it_stopped(now)
                ports = plan_ports(command.container_name, sandbox.endpoints, command.ports, others, here)
                plan = Plan(endpoints=sandbox.endpoints, ports=ports)
                had = Plan(endpoints=sandbox.endpoints, ports=sandbox.ports)
                event = SandboxRequested(
                    container_id=sandbox.container_id, mode=sandbox.mode, endpoints=plan.endpoints, ports=plan.ports
                )
                try:
                    await context.append(
                        sandbox_stream(sandbox.container_id),
                        event,
                        take=tuple(claim for claim in plan.claims if claim not in had.claims),
                        release=tuple(claim for claim in had.claims if claim not in plan.claims),
                    )
                except ClaimTaken as error:
                    now = _avoiding(now, error, plan.ports)
                    continue
                self._remember(plan, command.ports)
                return msgspec.structs.replace(sandbox, ports=plan.ports)

    async def _circumstances(self, ports: tuple[PortRequest, ...]) -> Circumstances:
        return Circumstances(ipv6=await self._parts.publisher.carries_ipv6() if ports else False)

    def _from_where_it_stopped(self, now: Circumstances) -> Circumstances:
        return msgspec.structs.replace(now, address_after=self._last.address_after, port_after=self._last.port_after)

    def _remember(self, plan: Plan, requests: tuple[PortRequest, ...]) -> None:
        addresses = {e.network_id: e.address for e in plan.endpoints if e.address}
        ephemeral = {request.container_port for request in requests if request.host_port == 0}
        ports = [port.host_port for port in plan.ports if port.container_port in ephemeral]
        self._last = Circumstances(
            address_after=self._last.address_after | addresses, port_after=max(ports, default=self._last.port_after)
        )


def _avoiding(now: Circumstances, error: ClaimTaken, ports: tuple[PublishedPort, ...]) -> Circumstances:
    """Raises the error when it was avoided in vain."""
    if error.key in now.taken_claims:
        raise error
    refused = tuple(port for port in ports if port_claim(port) == error.key)
    return msgspec.structs.replace(
        now, taken_claims=now.taken_claims | {error.key}, taken_ports=(*now.taken_ports, *refused)
    )
