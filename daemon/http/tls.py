"""Mutual TLS; without it whoever reaches the TCP port would be root on the host."""

import ssl
from pathlib import Path

from cryptography import x509


def server_context(*, ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or later, the client's certificate required and verified against `ca`. Raises OSError, ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=ca)
    context.load_cert_chain(certificate, key)
    return context


def subject(certificate_der: bytes) -> str:
    """Distinguished name of a certificate's owner, in the form of RFC 4514."""
    return x509.load_der_x509_certificate(certificate_der).subject.rfc4514_string()
