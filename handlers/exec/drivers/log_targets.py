"""Who else is told of a container's output: syslog and journald, over blocking sockets of their own.

Sources: RFC 3164, RFC 5424, RFC 5425 (framing), RFC 6587 (newline framing), journald's native protocol
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL/). Formats and fields are dockerd's.
"""

import os
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from handlers.exec.log_options import LogPlan, Subject, SyslogTarget
from handlers.exec.ports import STDERR

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
LOCAL_SOCKETS = ("/dev/log", "/var/run/syslog", "/var/run/log")
TIMEOUT_S = 5.0
_ERROR, _INFORMATION = 3, 6
_NOT_IN_A_FIELD = re.compile(r"[^A-Z0-9_]")
_LENGTH = struct.Struct("<Q")


class Message(msgspec.Struct, frozen=True):
    """A line of output without its end. `time` as the durable output has it: RFC 3339 with 9 digits, UTC."""

    stream: int
    time: str
    text: bytes
    is_partial: bool = False  # more of the line follows

    @property
    def priority(self) -> int:
        """As syslog counts."""
        return _ERROR if self.stream == STDERR else _INFORMATION


class Target(Protocol):
    """Takes messages in order."""

    def send(self, message: Message) -> None:
        """Hand one over. Blocking, TIMEOUT_S at most. Raises OSError: it wasn't taken, and may be tried again."""

    def close(self) -> None:
        """Let go of the connection."""


def open_target(plan: LogPlan, subject: Subject) -> Target:
    """Connect. Raises OSError."""
    if plan.syslog is not None:
        return Syslog(plan.syslog, plan.tag)
    return Journal(JOURNAL_SOCKET, plan, subject)


class Syslog:
    """`Target` for any daemon that speaks syslog."""

    def __init__(self, target: SyslogTarget, tag: str) -> None:
        self._target, self._tag = target, tag
        self._hostname = socket.gethostname()
        self._connection: socket.socket | None = connect(target)

    def send(self, message: Message) -> None:
        """See Target. A connection that broke is made again for the next try."""
        if self._connection is None:
            self._connection = connect(self._target)
        try:
            self._connection.sendall(self._framed(message))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """See Target."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _framed(self, message: Message) -> bytes:
        head = _FORMATS[self._target.format](self._target.facility << 3 | message.priority, self, message)
        line = head.encode() + message.text + b"\n"
        counted = self._target.scheme == "tcp+tls" and self._target.format.startswith("rfc5424")
        return b"%d %s" % (len(line), line) if counted else line

    def unix(self, priority: int, message: Message) -> str:
        """As programs write to the host's own daemon."""
        return f"<{priority}>{_stamp(message)} {self._tag}[{os.getpid()}]: "

    def rfc3164(self, priority: int, message: Message) -> str:
        """With the host's name."""
        return f"<{priority}>{_stamp(message)} {self._hostname} {self._tag}[{os.getpid()}]: "

    def rfc5424(self, priority: int, message: Message) -> str:
        """Time in whole seconds."""
        return self._modern(priority, f"{message.time[:19]}Z")

    def rfc5424micro(self, priority: int, message: Message) -> str:
        """Time in microseconds."""
        return self._modern(priority, f"{message.time[:26]}Z")

    def _modern(self, priority: int, time_: str) -> str:
        return f"<{priority}>1 {time_} {self._hostname} {self._tag} {os.getpid()} {self._tag} - "


_FORMATS: dict[str, Callable[[int, Syslog, Message], str]] = {
    "": lambda priority, target, message: target.unix(priority, message),
    "rfc3164": lambda priority, target, message: target.rfc3164(priority, message),
    "rfc5424": lambda priority, target, message: target.rfc5424(priority, message),
    "rfc5424micro": lambda priority, target, message: target.rfc5424micro(priority, message),
}


def _stamp(message: Message) -> str:
    """`Nov  9 17:04:05`, in the host's time zone."""
    moment = datetime.strptime(message.time[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    local = time.localtime(moment.timestamp())
    return f"{time.strftime('%b', local)} {local.tm_mday:2d} {time.strftime('%H:%M:%S', local)}"


def connect(target: SyslogTarget) -> socket.socket:
    """A connected socket. Raises OSError."""
    if target.scheme == "":
        return _connect_locally()
    if target.scheme in ("unix", "unixgram"):
        kind = socket.SOCK_STREAM if target.scheme == "unix" else socket.SOCK_DGRAM
        return _connect_unix(target.path, kind)
    if target.scheme == "udp":
        return _connect_datagram(target.host, target.port)
    plain = socket.create_connection((target.host, target.port), TIMEOUT_S)
    return _encrypted(plain, target) if target.scheme == "tcp+tls" else plain


def _connect_locally() -> socket.socket:
    for path in LOCAL_SOCKETS:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            try:
                return _connect_unix(path, kind)
            except OSError:
                continue
    raise OSError("Unix syslog delivery error")


def _connect_unix(path: str, kind: socket.SocketKind) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, kind)
    try:
        connection.settimeout(TIMEOUT_S)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _connect_datagram(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    connection = socket.socket(family, kind, protocol)
    try:
        connection.settimeout(TIMEOUT_S)
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def _encrypted(plain: socket.socket, target: SyslogTarget) -> socket.socket:
    try:
        context = ssl.create_default_context(cafile=target.ca_certificate or None)
        if target.skips_verification:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if target.certificate:
            context.load_cert_chain(target.certificate, target.key or None)
        return context.wrap_socket(plain, server_hostname=target.host)
    except BaseException:
        plain.close()
        raise


class Journal:
    """`Target` for systemd's journal."""

    def __init__(self, path: Path, plan: LogPlan, subject: Subject) -> None:
        if not path.exists():
            raise OSError("journald is not enabled on this host")
        self._path = path
        self._connection: socket.socket | None = _connect_unix(str(path), socket.SOCK_DGRAM)
        self._fields = b"".join(_field(name, value.encode()) for name, value in journal_fields(plan, subject).items())

    def send(self, message: Message) -> None:
        """See Target."""
        if self._connection is None:
            self._connection = _connect_unix(str(self._path), socket.SOCK_DGRAM)
        own = _field("MESSAGE", message.text) + _field("PRIORITY", b"%d" % message.priority)
        own += _field("SYSLOG_TIMESTAMP", f"{message.time}Z".encode())
        if message.is_partial:
            own += _field("CONTAINER_PARTIAL_MESSAGE", b"true")
        try:
            self._connection.sendall(own + self._fields)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """See Target."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def journal_fields(plan: LogPlan, subject: Subject) -> dict[str, str]:
    """What every message of a container carries."""
    own = {
        "CONTAINER_ID": subject.container_id[:12],
        "CONTAINER_ID_FULL": subject.container_id,
        "CONTAINER_NAME": subject.name,
        "CONTAINER_TAG": plan.tag,
        "IMAGE_NAME": subject.image_name,
        "SYSLOG_IDENTIFIER": plan.tag,
    }
    extra = {_NOT_IN_A_FIELD.sub("_", key.upper()).lstrip("_"): value for key, value in plan.attributes.items()}
    return {name: value for name, value in extra.items() if name} | own


def _field(name: str, value: bytes) -> bytes:
    """`NAME=value`, or with its length where the value has several lines."""
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + _LENGTH.pack(len(value)) + value + b"\n"
