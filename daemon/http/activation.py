"""Sockets that the service manager opened before the daemon; without it a client at boot would find nobody.

Source: sd_listen_fds(3).
"""

import os
import socket
from collections.abc import MutableMapping, Sequence

import msgspec

_FIRST_FD = 3


class PassedSocket(msgspec.Struct, frozen=True, kw_only=True):
    """A socket as it was passed; several may bear one name."""

    number: int
    name: str
    socket: socket.socket


def take_passed(environment: MutableMapping[str, str]) -> list[PassedSocket]:
    """What was passed to this very process. The variables leave `environment`: a child must not heed them."""
    pid, count, names = (environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if not pid.isdecimal() or int(pid) != os.getpid() or not count.isdecimal():
        return []
    numbers = range(_FIRST_FD, _FIRST_FD + int(count))
    padded = [*names.split(":"), *([""] * int(count))]
    return [_take(number, name) for number, name in zip(numbers, padded, strict=False)]


def choose(wanted: str, passed: Sequence[PassedSocket]) -> list[PassedSocket]:
    """Those that `fd://wanted` means: all for "" and "*", else by descriptor number or name. Raises ValueError."""
    if not passed:
        raise ValueError(f"no sockets found for fd://{wanted}: the service manager passed none")
    if wanted in ("", "*"):
        return list(passed)
    chosen = [each for each in passed if wanted in (str(each.number), each.name)]
    if not chosen:
        known = ", ".join(f"{each.number} ({each.name})" if each.name else str(each.number) for each in passed)
        raise ValueError(f"no socket found for fd://{wanted}: passed are {known}")
    return chosen


def _take(number: int, name: str) -> PassedSocket:
    taken = socket.socket(fileno=number)
    taken.set_inheritable(False)
    if not taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError(f"descriptor {number} passed by the service manager is not a listening socket")
    taken.settimeout(0)
    return PassedSocket(number=number, name=name, socket=taken)
