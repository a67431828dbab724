"""Opens the sockets that `-H` names; without it nobody could reach the API.

Sources: dockerd(8) for the addresses, sd_listen_fds(3) for those that systemd passes.
"""

import contextlib
import errno
import grp
import os
import socket
import ssl
import stat
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from daemon.http.activation import PassedSocket, choose, take_passed

_BACKLOG = 1024
_PROBE_TIMEOUT_S = 1.0
_SOCKET_MODE = 0o660


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """A listening socket; `inode` is what `path` was when it was made."""

    socket: socket.socket
    address: str  # as given with -H
    tls: ssl.SSLContext | None = None
    path: Path | None = None
    inode: int = 0

    def close(self) -> None:
        """Stop listening; the file goes unless somebody has put another in its place."""
        self.socket.close()
        with contextlib.suppress(FileNotFoundError):
            if self.path is not None and self.path.lstat().st_ino == self.inode:
                self.path.unlink()


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """How listeners are opened. `group`: name of the group that may use the unix socket, "" for the daemon's own."""

    group: str = ""
    tls: ssl.SSLContext | None = None
    allow_plain_tcp: bool = False


def open_listeners(
    addresses: Sequence[str], opening: Opening, *, environment: MutableMapping[str, str]
) -> list[Listener]:
    """Listen on every address, or on none. Blocks for name resolution.

    Raises ValueError for an address that can't be or mustn't be served, OSError for one that can't be had. Takes
    systemd's variables out of `environment`, so that no child mistakes the sockets for its own.
    """
    passed = take_passed(environment)
    listeners: list[Listener] = []
    try:
        for address in addresses:
            listeners.extend(_open(address, opening, passed))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _open(address: str, opening: Opening, passed: Sequence[PassedSocket]) -> list[Listener]:
    scheme, separator, rest = address.partition("://")
    if not separator or scheme not in ("unix", "tcp", "fd"):
        raise ValueError(f"invalid address {address}: use unix://PATH, tcp://HOST:PORT or fd://")
    if scheme == "unix":
        return [_open_unix(address, Path(rest), opening)]
    if scheme == "fd":
        return [_adopt(address, each.socket, opening) for each in choose(rest, passed)]
    _refuse_open_door(address, opening)
    host, port = _host_and_port(address, opening)
    return [Listener(socket=each, address=address, tls=opening.tls) for each in _bind_tcp(address, host, port)]


# ---- unix


def _open_unix(address: str, path: Path, opening: Opening) -> Listener:
    if not path.is_absolute():
        raise ValueError(f"invalid address {address}: the path must be absolute")
    gid = _gid(opening.group)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # the file takes the descriptor's mode at bind, so at no instant is it wider
        os.fchmod(listening.fileno(), _SOCKET_MODE)
        listening.bind(str(path))
    except BaseException:
        listening.close()
        raise
    listener = Listener(socket=listening, address=address, path=path, inode=path.lstat().st_ino)
    try:
        path.chmod(_SOCKET_MODE)  # whatever the umask took away
        os.chown(path, -1, gid)
        listening.listen(_BACKLOG)  # from here on somebody can connect
    except BaseException:
        listener.close()
        raise
    return listener


def _gid(group: str) -> int:
    """The group's number; -1 leaves the file to the daemon's own group."""
    if not group:
        return -1
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ValueError(f"group {group} not found") from None


def _remove_stale(path: Path) -> None:
    """Make way for a new socket, unless something other than a dead socket is there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "exists and is not a socket", str(path))
    if _is_answered(path):
        raise OSError(errno.EADDRINUSE, "another process listens on this socket", str(path))
    path.unlink(missing_ok=True)


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (TimeoutError, BlockingIOError):  # its queue is full: it lives
            return True
    return True


# ---- tcp


def _refuse_open_door(address: str, opening: Opening) -> None:
    authenticated = opening.tls is not None and opening.tls.verify_mode is ssl.CERT_REQUIRED
    if not authenticated and not opening.allow_plain_tcp:
        raise ValueError(
            f"refusing to listen on {address} without verifying clients: whoever connects would be root on this host; "
            "use --tlsverify with --tlscacert, --tlscert and --tlskey, or allow it explicitly"
        )


def _host_and_port(address: str, opening: Opening) -> tuple[str, int]:
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"invalid address {address}: {error}") from None
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"invalid address {address}: nothing may follow the port")
    default = 2375 if opening.tls is None else 2376
    return parts.hostname or "", default if port is None else port


def _bind_tcp(address: str, host: str, port: int) -> list[socket.socket]:
    """A socket for every address that the host has; none when one can't be had."""
    bound: list[socket.socket] = []
    try:
        for family, where in _resolve(address, host, port):
            dual = not host and family == socket.AF_INET6
            bound.append(socket.create_server(where, family=family, backlog=_BACKLOG, dualstack_ipv6=dual))
            bound[-1].settimeout(0)
    except BaseException:
        for each in bound:
            each.close()
        raise
    return bound


def _resolve(address: str, host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    if not host:
        dual = socket.has_dualstack_ipv6()
        return [(socket.AF_INET6, ("::", port)) if dual else (socket.AF_INET, ("", port))]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ValueError(f"invalid address {address}: {error.strerror}") from None
    return list(dict.fromkeys((family, (str(where[0]), int(where[1]))) for family, _, _, _, where in found))


def _adopt(address: str, passed: socket.socket, opening: Opening) -> Listener:
    """A socket of the service manager's: it owns the file, the mode and the address."""
    if passed.family == socket.AF_UNIX:
        return Listener(socket=passed, address=address)
    _refuse_open_door(address, opening)
    return Listener(socket=passed, address=address, tls=opening.tls)
