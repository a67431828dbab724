"""How much a client may ask of the server; without it one slow or greedy client could hold everything."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds, sizes in bytes."""

    connections: int = 4096  # at once; further ones get 503
    handshakes: int = 64  # at once, on each listener with TLS: strangers must not take the places of those who may
    head_bytes: int = 64 * 1024
    head_timeout_s: float = 30.0  # from the first byte of a request (or the accept) to the end of its head
    idle_timeout_s: float = 300.0  # between two requests
    body_idle_timeout_s: float = 60.0  # between two pieces of a body
    send_timeout_s: float = 60.0  # for a complete answer; a stream may wait for its reader
    drain_bytes: int = 64 * 1024  # of a body that no endpoint read; a larger one costs the connection
    drain_timeout_s: float = 5.0
    linger_bytes: int = 16 * 1024 * 1024  # read and dropped while closing, so that the client isn't reset
    linger_timeout_s: float = 1.0
    iterator_close_timeout_s: float = 5.0
