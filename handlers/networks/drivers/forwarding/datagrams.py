"""Carries UDP datagrams from a held port to a container and back; who is quiet for long is forgotten."""

import contextlib
import socket
import struct
import time
from collections import OrderedDict

from handlers.networks.drivers.forwarding.loop import READ, Loop

SESSION_IDLE_S = 90.0
MAXIMUM_SESSIONS = 4096
DATAGRAM_BYTES = 1 << 16
DATAGRAMS_AT_ONCE = 64
# linux/in.h, linux/in6.h. Answers leave from the address that was asked, whatever the routing table would choose.
_IP_PKTINFO, _IPV6_RECVPKTINFO, _IPV6_PKTINFO = 8, 49, 50
_ANCILLARY_BYTES = socket.CMSG_SPACE(32)
_LINK_LOCAL = b"\xfe\x80"

Peer = tuple[str | int, ...]  # what recvmsg gives as address, of either family
Ancillary = tuple[int, int, bytes]
Key = tuple[int, Peer, Ancillary | None]


class Sessions:
    """All sessions of the process, the one that was quiet longest first."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.open: OrderedDict[Key, Session] = OrderedDict()

    def make_room(self) -> None:
        """Forget the quietest when there are too many."""
        if len(self.open) >= MAXIMUM_SESSIONS:
            next(iter(self.open.values())).close()

    def tick(self, now: float) -> None:
        """Forget who was quiet for long."""
        while self.open:
            session = next(iter(self.open.values()))
            if session.used + SESSION_IDLE_S > now:
                return
            session.close()


class DatagramPort:
    """A held UDP port; without a target what comes is dropped."""

    lasting = True

    def __init__(self, sessions: Sessions, holder: socket.socket, target: tuple[str, int] | None) -> None:
        self._sessions, self.holder, self._target = sessions, holder, target
        if holder.family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            holder.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sessions.loop.watch(holder, READ, self)

    def ready(self, source: socket.socket, events: int) -> None:
        """Datagrams have come from outside."""
        for _ in range(DATAGRAMS_AT_ONCE):
            try:
                data, ancillary, _, client = source.recvmsg(DATAGRAM_BYTES, _ANCILLARY_BYTES)
                if self._target is not None:
                    self._session(client, _local_address(ancillary), self._target).send(data)
            except OSError:  # nothing more; or no descriptor, no route: then the datagram is lost, as datagrams are
                return

    def _session(self, client: Peer, local: Ancillary | None, target: tuple[str, int]) -> "Session":
        key = (self.holder.fileno(), client, local)
        session = self._sessions.open.get(key)
        if session is None:
            self._sessions.make_room()
            session = Session(self._sessions, self, key, target)
        return session

    def close(self) -> None:
        """Give the port back and end its sessions."""
        for session in [s for s in self._sessions.open.values() if s.port is self]:
            session.close()
        self._sessions.loop.forget(self.holder)


class Session:
    """One client's datagrams to the container and back."""

    lasting = False

    def __init__(self, sessions: Sessions, port: DatagramPort, key: Key, target: tuple[str, int]) -> None:
        self._sessions, self.port, self._key = sessions, port, key
        self.used = time.monotonic()
        self._upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._upstream.settimeout(0)
            self._upstream.connect(target)
        except OSError:
            self._upstream.close()
            raise
        sessions.open[key] = self
        sessions.loop.watch(self._upstream, READ, self)

    def send(self, data: bytes) -> None:
        """Towards the container."""
        self._touch()
        with contextlib.suppress(OSError):
            self._upstream.send(data)

    def ready(self, source: socket.socket, events: int) -> None:
        """The container answers."""
        self._touch()
        _, client, local = self._key
        ancillary = [] if local is None else [local]
        for _ in range(DATAGRAMS_AT_ONCE):
            try:
                data = source.recv(DATAGRAM_BYTES)
            except OSError:  # nothing more, or nobody there (ICMP)
                return
            with contextlib.suppress(OSError):
                self.port.holder.sendmsg([data], ancillary, 0, client)

    def _touch(self) -> None:
        self.used = time.monotonic()
        self._sessions.open.move_to_end(self._key)

    def close(self) -> None:
        """Forget the client."""
        self._sessions.open.pop(self._key, None)
        self._sessions.loop.forget(self._upstream)


def _local_address(ancillary: list[Ancillary]) -> Ancillary | None:
    """The control message that makes an answer leave from the address that was asked."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):  # struct in_pktinfo: interface, own address, destination
            return level, kind, struct.pack("=I4s4s", 0, data[4:8], bytes(4))
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO):  # struct in6_pktinfo: destination, interface
            return level, kind, data[:16] + (data[16:20] if data[:2] == _LINK_LOCAL else bytes(4))
    return None
