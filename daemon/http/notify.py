"""Tells the service manager how far the daemon is; without it `systemctl start` would return too early.

Source: sd_notify(3).
"""

import socket
import time
from collections.abc import MutableMapping


class Notifier:
    """Sends states to the socket that NOTIFY_SOCKET names, a path or an abstract address; silent without one.

    The variable is taken out of `environment`: a container runtime started by the daemon would act on it.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self) -> bool:
        """Requests are served now (also: a reload is done). False when nobody was told."""
        return self._send("READY=1")

    def stopping(self) -> bool:
        """The daemon is on its way out. False when nobody was told."""
        return self._send("STOPPING=1")

    def reloading(self) -> bool:
        """The configuration is being read again; `ready` follows. False when nobody was told."""
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def _send(self, state: str) -> bool:
        if not self._address:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as channel:
            try:
                channel.sendto(state.encode(), self._address)
            except OSError:  # the manager is gone or busy; the daemon's work doesn't depend on it
                return False
        return True
