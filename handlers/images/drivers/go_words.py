"""Failures of connections in the words that Go's libraries have for them; clients and scripts know those."""

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2

_PORTS = {"http": 80, "https": 443}
_TIMEOUT = "net/http: request canceled (Client.Timeout exceeded while awaiting headers)"


def reason_of(error: httpx2.TransportError, url: str) -> str:
    """Why a request got no answer."""
    parts = urlsplit(url)
    target = f"{parts.hostname}:{parts.port or _PORTS.get(parts.scheme, 0)}"
    for cause in _causes(error):
        match cause:
            case httpx2.UnsupportedProtocol():
                return f'unsupported protocol scheme "{parts.scheme}"'
            case ssl.SSLCertVerificationError():
                return _certificate(cause)
            case ssl.SSLError() if cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
                return "http: server gave HTTP response to HTTPS client"
            case ssl.SSLError():
                return f"remote error: tls: {(cause.reason or str(cause)).lower().replace('_', ' ')}"
            case socket.gaierror():
                return f"dial tcp: lookup {parts.hostname}: no such host"
            case OSError(errno=number, strerror=text) if number and text:
                kind = "read: " if isinstance(error, httpx2.ReadError) else f"dial tcp {target}: connect: "
                return kind + text[:1].lower() + text[1:]
            case _:
                pass
    return _by_kind(error, target)


def _by_kind(error: httpx2.TransportError, target: str) -> str:
    match error:
        case httpx2.ConnectTimeout():
            return f"dial tcp {target}: i/o timeout"
        case httpx2.ProxyError():
            return str(error).lstrip("0123456789 ")  # the status of what it answered
        case httpx2.TimeoutException():
            return _TIMEOUT
        case httpx2.RemoteProtocolError() | httpx2.ReadError():
            return "unexpected EOF"
        case _:
            return str(error) or type(error).__name__


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    text = error.verify_message
    if "self-signed" in text or "unable to get" in text or "self signed" in text:
        text = "certificate signed by unknown authority"
    return f"tls: failed to verify certificate: x509: {text[:1].lower()}{text[1:]}"


def is_of_tls(error: httpx2.TransportError) -> bool:
    """Whether TLS itself failed: trying again is in vain."""
    return any(isinstance(cause, ssl.SSLError) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    pending, seen = [error], set[int]()
    while pending:
        each = pending.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            pending.extend(each.exceptions)
        pending.extend(cause for cause in (each.__cause__, each.__context__) if cause is not None)
