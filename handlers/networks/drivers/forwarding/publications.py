"""What the forwarder holds, by container; a container's ports come and go together."""

import errno
import socket

from handlers.networks.drivers.forwarding.datagrams import DatagramPort, Sessions
from handlers.networks.drivers.forwarding.streams import Relays, StreamPort

Port = tuple[str, int, str, int]  # host address, host port, "tcp" or "udp", container port
Holder = StreamPort | DatagramPort


class Refused(Exception):
    """A port couldn't be had; `number` is the errno."""

    def __init__(self, number: int, port: Port) -> None:
        super().__init__(number, port)
        self.number, self.port = number, port


class Publications:
    """Ports by container."""

    def __init__(self, relays: Relays, sessions: Sessions) -> None:
        self._relays, self._sessions = relays, sessions
        self.ports: dict[str, list[Port]] = {}
        self._holders: dict[str, list[Holder]] = {}
        self._terms: dict[str, tuple[str, bool]] = {}

    def publish(self, container: str, address: str, ports: list[Port], *, forward: bool) -> None:
        """Hold all of them or none, in place of what the container had; the same again changes nothing.

        Raises Refused.
        """
        if self.ports.get(container) == ports and self._terms[container] == (address, forward):
            return
        self.withdraw(container)
        holders = self._holders.setdefault(container, [])
        try:
            for port in ports:
                holders.append(self._hold(port, (address, port[3]) if forward else None))  # kept if one fails
        except Refused:
            self.withdraw(container)
            raise
        self.ports[container], self._terms[container] = ports, (address, forward)

    def withdraw(self, container: str) -> None:
        """Give its ports back; absent is fine."""
        self.ports.pop(container, None)
        self._terms.pop(container, None)
        for holder in self._holders.pop(container, []):
            holder.close()

    def _hold(self, port: Port, target: tuple[str, int] | None) -> Holder:
        address, _, protocol, _ = port
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            holder = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
        except OSError as error:
            raise Refused(error.errno or errno.EAFNOSUPPORT, port) from error
        try:
            _bind(holder, port)
            if protocol == "tcp":
                return StreamPort(self._relays, holder, target)
            return DatagramPort(self._sessions, holder, target)
        except OSError as error:
            holder.close()
            raise Refused(error.errno or errno.EADDRINUSE, port) from error


def _bind(holder: socket.socket, port: Port) -> None:
    address, number, protocol, _ = port
    holder.settimeout(0)
    if holder.family == socket.AF_INET6:
        holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if protocol == "tcp":  # connections that still wait for their end don't keep the port
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((address, number))
