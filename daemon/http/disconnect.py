"""Notices that a client has left while nothing is read from it; without it streams would be produced for nobody.

Source: unix(7), tcp(7), epoll_ctl(2). A unix socket tells a half-close from a close: only the latter hangs up. TCP
doesn't, so the end of the client's side counts there as its leaving, unless half-closing is part of the protocol.
"""

import select
import socket

import anyio


async def wait_gone(connection: socket.socket, *, half_close_is_leaving: bool) -> None:
    """Return when the client has left. Bytes that wait to be read neither disturb nor are touched."""
    events = select.EPOLLRDHUP if half_close_is_leaving and connection.family != socket.AF_UNIX else 0
    # An epoll of our own: EPOLLHUP and EPOLLERR are always reported, and waiting bytes don't wake it.
    with select.epoll(1) as watch:
        watch.register(connection, events)
        await anyio.wait_readable(watch.fileno())
