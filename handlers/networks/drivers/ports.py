"""Publishes ports by two means at once: the kernel's address translation, and a process that holds the ports.

IPv4 goes through the kernel, which keeps the client's address and works without us; the forwarder reserves every port
against other processes, carries IPv6, and serves IPv4 where there is no firewall.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.to_thread

from events.errors import EngineError
from events.messages.network import PublishedPort
from handlers.kernel.calls import attempt
from handlers.networks.drivers.conntrack import forget_udp
from handlers.networks.drivers.forwarder import Forwarder
from handlers.networks.drivers.nft import NftFirewall

_HELD = ("tcp", "udp")  # sctp is the kernel's alone
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 30.0
_LOOK_PAUSE_S = 30.0
_IPV6_ADDRESSES = Path("/proc/net/if_inet6")
_log = logging.getLogger(__name__)


class HostPorts:
    """`PortPublisher` of handlers/networks/ports.py. `firewall` None: the forwarder does it all."""

    def __init__(self, firewall: NftFirewall | None, forwarder: Forwarder, *, forwards: bool = True) -> None:
        self._firewall = firewall
        self._forwarder = forwarder
        self._forwards = forwards
        self._wanted: dict[str, tuple[str, tuple[PublishedPort, ...]]] = {}
        self._changed = anyio.Event()

    async def publish(self, container_id: str, address: str, ports: Sequence[PublishedPort]) -> None:
        """All or nothing. Raises PortInUse when something else has a port."""
        await self._hold(container_id, address, ports)
        if self._firewall is not None:
            try:
                await self._firewall.publish(container_id, address, ports)
            except EngineError:
                await self._forwarder.withdraw(container_id)
                raise
        self._wanted[container_id] = (address, tuple(ports))
        self._changed.set()

    async def withdraw(self, container_id: str) -> None:
        """Undo `publish`; also what an earlier engine published."""
        self._wanted.pop(container_id, None)
        if self._firewall is not None:
            removed = await self._firewall.withdraw(container_id)
            for address in {e.container_address for e in removed if e.port.protocol == "udp"}:
                with attempt("forget UDP conversations"):
                    await anyio.to_thread.run_sync(forget_udp, address)
        await self._forwarder.withdraw(container_id)

    async def published(self) -> dict[str, tuple[PublishedPort, ...]]:
        """What either of them has, by container id."""
        found = {container_id: set(ports) for container_id, ports in (await self._forwarder.published()).items()}
        if self._firewall is not None:
            for element in await self._firewall.published():
                found.setdefault(element.container_id, set()).add(element.port)
        return {container_id: tuple(sorted(ports, key=_order)) for container_id, ports in found.items()}

    async def carries_ipv6(self) -> bool:
        """Whether the host has IPv6 and the forwarder may carry it."""
        return self._forwards and await anyio.to_thread.run_sync(_has_ipv6)

    async def keep(self) -> None:
        """Put back rules that somebody flushed, and ports whose forwarder has died; until cancelled."""
        async with anyio.create_task_group() as tasks:
            if self._firewall is not None:
                tasks.start_soon(self._keep_rules, self._firewall)
            tasks.start_soon(self._keep_forwarder)

    async def _keep_rules(self, firewall: NftFirewall) -> None:
        """The kernel tells of changes only to who reads all of everybody's: so the table is looked at."""
        while True:
            await anyio.sleep(_LOOK_PAUSE_S)
            try:
                if await firewall.repair():
                    _log.warning("somebody had flushed this engine's nftables table: its rules and ports are back")
            except EngineError as error:
                _log.warning("nftables rules can't be looked after: %s", error)

    async def _keep_forwarder(self) -> None:
        """Start it again and publish everything anew, whenever it has died."""
        pause_s = _FIRST_PAUSE_S
        while True:
            while not self._held():
                self._changed = anyio.Event()
                await self._changed.wait()
            with anyio.move_on_after(_LONGEST_PAUSE_S) as quiet:
                await self._forwarder.gone()
            if quiet.cancelled_caught:
                pause_s = _FIRST_PAUSE_S
                continue
            if await self._hold_again():
                pause_s = _FIRST_PAUSE_S
                continue
            await anyio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _held(self) -> list[str]:
        return [container_id for container_id, (_, ports) in self._wanted.items() if _holdable(ports)]

    async def _hold(self, container_id: str, address: str, ports: Sequence[PublishedPort]) -> None:
        if held := _holdable(ports):
            await self._forwarder.publish(container_id, address, held)

    async def _hold_again(self) -> bool:
        complete = True
        for container_id in self._held():
            address, ports = self._wanted.get(container_id, ("", ()))
            try:
                await self._hold(container_id, address, ports)
                if container_id not in self._wanted:  # withdrawn meanwhile
                    await self._forwarder.withdraw(container_id)
            except EngineError as error:
                complete = False
                _log.warning("ports of container %s can't be held again: %s", container_id, error)
        return complete


def _holdable(ports: Sequence[PublishedPort]) -> tuple[PublishedPort, ...]:
    return tuple(port for port in ports if port.protocol in _HELD)


def _order(port: PublishedPort) -> tuple[str, int, str, int]:
    return port.host_address, port.host_port, port.protocol, port.container_port


def _has_ipv6() -> bool:
    try:
        return bool(_IPV6_ADDRESSES.read_text())
    except FileNotFoundError:
        return False
