"""Finds out who is at the other end of a connection; without it the log couldn't put a name on a change."""

import errno
import os
import select
import socket
import struct
from pathlib import Path

from daemon.http.tls import subject
from events.envelope import Actor

_SO_PEERPIDFD = 77  # include/uapi/asm-generic/socket.h, since Linux 6.5
_CREDENTIALS = struct.Struct("3i")
_NO_LOGIN_UID = 4294967295  # proc(5): the audit login uid was never set


def unix_actor(connection: socket.socket) -> Actor:
    """The process that connected. What /proc says is left out when the process is gone.

    /proc is read here and now, without a thread: it is memory, and the process may be gone a moment later.
    """
    pid, uid, gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    executable, login_uid = _described(connection, pid) if pid > 0 else ("", None)
    return Actor(kind="unix", uid=uid, gid=gid, pid=pid or None, executable=executable, login_uid=login_uid)


def tcp_actor(address: str) -> Actor:
    """Somebody on a TCP connection that shows nothing but where it comes from."""
    return Actor(kind="tcp", address=address)


def tls_actor(address: str, certificate_der: bytes) -> Actor:
    """The owner of the verified client certificate; b"" where the operator has allowed to come without."""
    return Actor(kind="tls", address=address, subject=subject(certificate_der) if certificate_der else "")


def source_address(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """`host:port`, an IPv6 host in brackets, an IPv4 host that came through an IPv6 socket as IPv4."""
    host, port = address[0].removeprefix("::ffff:"), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _described(connection: socket.socket, pid: int) -> tuple[str, int | None]:
    """Executable and audit login uid of the process that connected, as far as they can be trusted."""
    try:
        pidfd = _peer_pidfd(connection)
    except OSError:
        return "", None  # it has ended: the pid may be another's by now
    if pidfd is None:
        return _executable(pid), _login_uid(pid)
    try:
        description = _executable(pid), _login_uid(pid)
        return ("", None) if _has_ended(pidfd) else description
    finally:
        os.close(pidfd)


def _peer_pidfd(connection: socket.socket) -> int | None:
    """A descriptor for the very process that connected; None where the kernel has no such thing."""
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return None
        raise


def _has_ended(pidfd: int) -> bool:
    """Whether the process has ended: if not, its pid was its own all the time."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _executable(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return ""


def _login_uid(pid: int) -> int | None:
    try:
        value = int(Path(f"/proc/{pid}/loginuid").read_text())
    except (OSError, ValueError):
        return None
    return None if value == _NO_LOGIN_UID else value
