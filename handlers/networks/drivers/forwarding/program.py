"""A process of its own that holds every published port. Without it others could take a port that was promised, IPv6
and hosts without nftables would have no way in, and whatever there is would end with the engine.

It needs the standard library only, is given its listening control socket as descriptor 3, bound to the path that is
its argument, and outlives the engine. It ends when that path is no longer its socket, or when for a minute nothing
was held and nobody connected.
"""

import contextlib
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

from handlers.networks.drivers.forwarding.control import Control
from handlers.networks.drivers.forwarding.datagrams import MAXIMUM_SESSIONS, Sessions
from handlers.networks.drivers.forwarding.loop import Loop
from handlers.networks.drivers.forwarding.publications import Publications
from handlers.networks.drivers.forwarding.streams import Relays

CONTROL_DESCRIPTOR = 3
IDLE_LIFE_S = 60.0
TICK_S = 1.0
_SPARE_DESCRIPTORS = 128
_DESIRED_DESCRIPTORS = 65536
_FEWEST_RELAYS = 64


def main() -> None:
    """Serve until nobody needs it."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    serve(socket.socket(fileno=CONTROL_DESCRIPTOR), Path(sys.argv[1]), IDLE_LIFE_S)


def serve(listener: socket.socket, path: Path, idle_life_s: float, tick_s: float = TICK_S) -> None:
    """Serve the control socket bound to `path`, and what is published by it."""
    loop = Loop()
    relays, sessions = Relays(loop, _maximum_relays()), Sessions(loop)
    control = Control(loop, listener, Publications(relays, sessions))
    own = _identity(path)
    ticked = needed = time.monotonic()
    while needed + idle_life_s > ticked:
        loop.once(tick_s)
        now = time.monotonic()
        if control.is_needed:
            needed = now
        if now - ticked < tick_s:
            continue
        ticked = now
        relays.tick(now)
        sessions.tick(now)
        if own is None or _identity(path) != own:
            break
    if _identity(path) == own:
        path.unlink(missing_ok=True)
    loop.close()


def _maximum_relays() -> int:
    """How many connections there is room for, once the limit of open files is as high as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _DESIRED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESIRED_DESCRIPTORS)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        soft = limit
    return max((soft - MAXIMUM_SESSIONS - _SPARE_DESCRIPTORS) // 2, _FEWEST_RELAYS)


def _identity(path: Path) -> tuple[int, int] | None:
    """Inode and time of creation: an inode's number alone may come again."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns
