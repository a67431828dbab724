"""Waits for many sockets in one thread; asyncio would cost this small process three times the memory."""

import contextlib
import selectors
import socket
import traceback
from typing import Protocol

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
MAXIMUM_REPORTS = 100


class Ready(Protocol):
    """Something that waits for its sockets."""

    lasting: bool  # it goes on after a failure

    def ready(self, source: socket.socket, events: int) -> None:
        """A socket that it watches is ready."""

    def close(self) -> None:
        """Let go of all it has."""


class Loop:
    """Who waits for which socket. Sockets are non-blocking."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._owners: dict[socket.socket, tuple[int, Ready]] = {}
        self._reports = 0

    def watch(self, source: socket.socket, events: int, owner: Ready) -> None:
        """Wait for these events from now on; 0: none."""
        before, _ = self._owners.get(source, (0, owner))
        if events == before:
            return
        if not events:
            self._selector.unregister(source)
            del self._owners[source]
            return
        if before:
            self._selector.modify(source, events)
        else:
            self._selector.register(source, events)
        self._owners[source] = (events, owner)

    def forget(self, source: socket.socket) -> None:
        """Close a socket, watched or not; closed already is fine."""
        if self._owners.pop(source, None) is not None:
            self._selector.unregister(source)
        source.close()

    def once(self, timeout_s: float) -> None:
        """Serve what is ready within the time; one that fails holds nobody up."""
        for key, events in self._selector.select(timeout_s):
            source = key.fileobj
            if not isinstance(source, socket.socket) or source not in self._owners:
                continue  # closed by one that was served before it
            _, owner = self._owners[source]
            try:
                owner.ready(source, events)
            except Exception:  # noqa: BLE001  # whatever it is, the others go on
                self._report()
                if not owner.lasting:
                    owner.close()

    def close(self) -> None:
        """Let go of everything."""
        for source in tuple(self._owners):
            self.forget(source)
        self._selector.close()

    def _report(self) -> None:
        """Tell stderr (a file, or nobody), a bounded number of times."""
        self._reports += 1
        if self._reports <= MAXIMUM_REPORTS:
            with contextlib.suppress(OSError):
                traceback.print_exc()
