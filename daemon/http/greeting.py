"""Makes an accepted socket a stream with somebody at its other end; without it TLS and names would be everywhere."""

import contextlib
import logging
import socket
import ssl
from typing import Any

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from daemon.http.peer import source_address, tcp_actor, tls_actor, unix_actor
from daemon.http.stream import ConnectedStream
from events.envelope import Actor

logger = logging.getLogger(__name__)

_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 9))  # s, s, probes
_CLOSE_TIMEOUT_S = 1.0


async def greet(
    accepted: socket.socket,
    address: Any,  # noqa: ANN401  # as socket.accept() has it
    context: ssl.SSLContext | None,
    *,
    timeout_s: float,
) -> tuple[ByteStream, Actor] | None:
    """Stream and actor; None when no TLS connection came about (the socket is closed). Raises OSError."""
    accepted.settimeout(0)
    if accepted.family == socket.AF_UNIX:
        return ConnectedStream(accepted), unix_actor(accepted)
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in _KEEP_ALIVE:  # a client whose machine is gone would otherwise be streamed to for ever
        accepted.setsockopt(socket.IPPROTO_TCP, option, value)
    stream = ConnectedStream(accepted)
    source = source_address(address)
    if context is None:
        return stream, tcp_actor(source)
    return await _shake_hands(stream, context, source, timeout_s)


async def close(stream: ByteStream) -> None:
    """Close whatever state the stream is in, also while the task is being cancelled."""
    with anyio.move_on_after(_CLOSE_TIMEOUT_S, shield=True), contextlib.suppress(OSError, anyio.BrokenResourceError):
        await stream.aclose()


async def _shake_hands(
    stream: ConnectedStream, context: ssl.SSLContext, source: str, timeout_s: float
) -> tuple[ByteStream, Actor] | None:
    try:
        with anyio.fail_after(timeout_s):
            # standard_compatible: clients close without saying so; every message of HTTP shows its own end
            tls = await TLSStream.wrap(stream, server_side=True, ssl_context=context, standard_compatible=False)
    except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:  # SSLError, TimeoutError are OSErrors
        logger.info("no TLS connection with %s: %r", source, error)
        await close(stream)
        return None
    except BaseException:
        await close(stream)
        raise
    return tls, tls_actor(source, tls.extra(TLSAttribute.peer_certificate_binary, None) or b"")
