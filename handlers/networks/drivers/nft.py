"""The instance's own nftables table: address translation for published ports and for the way out, and two shields.

Nobody else's table is read or changed. Published ports are map elements with the container's id as their comment, so
that the kernel serves them without us and they can be told apart after a restart.
Sources: man 8 nft; https://wiki.nftables.org/wiki-nftables/index.php/Netfilter_hooks.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import anyio
import anyio.to_thread

from events.messages.network import PublishedPort
from handlers.kernel.nftables import Nftables, NftablesError
from handlers.networks.drivers.nft_elements import MAPS, Element, elements_of, parse
from handlers.networks.ports import BridgeSettings

Result = TypeVar("Result")

_FRAME = """\
add table ip {table}
add map ip {table} pub {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
add map ip {table} pubip {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
add chain ip {table} redir
add chain ip {table} pre {{ type nat hook prerouting priority dstnat; }}
add chain ip {table} out {{ type nat hook output priority -100; }}
add chain ip {table} post {{ type nat hook postrouting priority srcnat; }}
add chain ip {table} shield {{ type filter hook prerouting priority raw; }}
flush chain ip {table} redir
flush chain ip {table} pre
flush chain ip {table} out
flush chain ip {table} post
flush chain ip {table} shield
add rule ip {table} redir dnat ip to ip daddr . meta l4proto . th dport map @pubip
add rule ip {table} redir dnat ip to meta l4proto . th dport map @pub
add rule ip {table} out fib daddr type local jump redir
add rule ip {table} shield iifname != "lo" ip daddr 127.0.0.0/8 drop
"""


class NftFirewall:
    """Rules of one instance, in the network namespace of whoever uses it first. Raises SystemFailure."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._networks: dict[str, BridgeSettings] = {}
        self._elements: dict[str, tuple[Element, ...]] = {}
        self._nftables: Nftables | None = None
        self._turn = anyio.Lock()  # a change has several steps, and what it notes afterwards belongs to it

    async def ensure_network(self, settings: BridgeSettings) -> None:
        """Make or repair the table and the network's rules; published ports stay."""
        async with self._turn:
            self._networks[settings.network_id] = settings
            await self._in_thread(self._ensure)

    async def repair(self) -> bool:
        """Put back rules and ports where somebody has flushed them; whether that was needed."""
        async with self._turn:
            return await self._in_thread(self._repair)

    async def publish(self, container_id: str, address: str, ports: Sequence[PublishedPort]) -> None:
        """Let the kernel pass ports to a container, all or nothing, in place of what it had."""
        elements = elements_of(container_id, address, ports)
        async with self._turn:
            await self._in_thread(lambda: self._publish(container_id, elements))
            self._elements[container_id] = elements

    async def withdraw(self, container_id: str) -> tuple[Element, ...]:
        """Undo `publish`; returns what was there."""
        async with self._turn:
            removed = await self._in_thread(lambda: self._withdraw(container_id))
            self._elements.pop(container_id, None)
            return removed

    async def published(self) -> tuple[Element, ...]:
        """What the kernel passes on now."""
        return await self._in_thread(self._list)

    async def _in_thread(self, action: Callable[[], Result]) -> Result:
        return await anyio.to_thread.run_sync(action)

    def _run(self, commands: str) -> str:
        if not commands:
            return ""
        if self._nftables is None:
            self._nftables = Nftables()
        return self._nftables.run(commands)

    def _ensure(self) -> None:
        rules = self._rules()
        try:
            self._run(rules)
        except NftablesError:  # a table of another shape, made by another version
            self._remove_table()
            self._run(rules)
            self._run(self._lines("add", [e for elements in self._elements.values() for e in elements]))

    def _repair(self) -> bool:
        if not self._networks or self._is_whole():
            return False
        self._ensure()
        self._replace(())
        return True

    def _is_whole(self) -> bool:
        """A flush of all, or of this table, leaves nothing or empty chains."""
        try:
            return '"rule"' in self._run(f"list chain ip {self._table} pre")
        except NftablesError:
            return False

    def _remove_table(self) -> None:
        self._run(f"add table ip {self._table}\ndelete table ip {self._table}")

    def _rules(self) -> str:
        frame = _FRAME.format(table=self._table)
        return frame + "".join(
            f"add rule ip {self._table} {rule}\n" for rule in (*self._shortcuts(), *self._network_rules())
        )

    def _shortcuts(self) -> list[str]:
        """How a packet gets to the published ports; containers kept apart must take the way over the forwarder."""
        apart = [f"ip saddr {s.subnet} return" for s in self._networks.values() if not s.inter_container]
        return [*(f"pre {rule}" for rule in apart), "pre fib daddr type local jump redir"]

    def _network_rules(self) -> list[str]:
        rules = []
        for s in self._networks.values():
            if s.masquerade:
                rules.append(f'post ip saddr {s.subnet} oifname != "{s.bridge}" masquerade')
                # Nobody gets at a container by its own address from outside, only at what it publishes.
                rules.append(f'shield iifname != {{ "lo", "{s.bridge}" }} ip daddr {s.subnet} drop')
            rules.append(f'post oifname "{s.bridge}" ip saddr {s.subnet} ct status dnat masquerade')
            rules.append(f'post oifname "{s.bridge}" ip saddr 127.0.0.0/8 masquerade')
        return rules

    def _publish(self, container_id: str, elements: Sequence[Element]) -> None:
        if self._elements.get(container_id, elements) != elements:
            self._withdraw(container_id)
        try:
            self._run(self._lines("create", elements))
        except NftablesError:  # the table is gone, it is all there already, or a key is left of somebody who is gone
            self._ensure()
            self._replace(elements)

    def _replace(self, elements: Sequence[Element]) -> None:
        present = set(self._list())
        known = [element for others in self._elements.values() for element in others]
        missing = [element for element in dict.fromkeys((*known, *elements)) if element not in present]
        keys = {(element.map, element.key) for element in missing}
        stale = [element for element in present if (element.map, element.key) in keys]
        self._run(self._lines("delete", stale) + self._lines("create", missing))

    def _withdraw(self, container_id: str) -> tuple[Element, ...]:
        known = self._elements.get(container_id)
        if known is not None:
            with contextlib.suppress(NftablesError):  # somebody else has changed the table: look what is there
                self._run(self._lines("delete", known))
                return known
        found = tuple(element for element in self._list() if element.container_id == container_id)
        self._run(self._lines("delete", found))
        return found

    def _lines(self, verb: str, elements: Sequence[Element]) -> str:
        return "".join(f"{verb} element ip {self._table} {e.map} {{ {e.text} }}\n" for e in elements)

    def _list(self) -> tuple[Element, ...]:
        found: list[Element] = []
        for name in MAPS:
            try:
                listing = self._run(f"list map ip {self._table} {name}")
            except NftablesError:  # no table: nothing is published
                continue
            found.extend(parse(listing))
        return tuple(found)
