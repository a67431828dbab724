"""Talks to the kernel's netlink families over a plain socket; without it every link would cost a process or a thread.

Blocking, for use in a worker thread. A socket belongs to the network namespace of the thread that opened it, for its
whole life: make it inside the namespace that it is to act on (`handlers/kernel/namespaces.py`).

Sources: man 7 netlink, man 7 rtnetlink, linux/netlink.h.
"""

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import msgspec

ROUTE = 0
NETFILTER = 12

FLAG_REQUEST = 0x1
FLAG_ACK = 0x4
FLAG_DUMP = 0x300
FLAG_REPLACE = 0x100
FLAG_EXCLUSIVE = 0x200
FLAG_CREATE = 0x400

ANSWER_TIMEOUT_S = 10.0

_SOL_NETLINK = 270
_CAP_ACK = 10
_EXTENDED_ACK = 11
_ERROR = 2
_DONE = 3
_INTERRUPTED = 0x10
_CAPPED = 0x100
_HAS_ATTRIBUTES = 0x200
_ERROR_TEXT = 1
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_RECEIVE_BYTES = 1 << 18
_DUMP_ATTEMPTS = 5

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=i")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One request: its type, flags beside REQUEST and ACK, and family header with attributes."""

    type: int
    flags: int = 0
    body: bytes


class NetlinkError(OSError):
    """The kernel refused a message; `errno` says how, `index` which of the batch."""

    def __init__(self, number: int, detail: str, index: int) -> None:
        self.index = index
        super().__init__(number, f"{os.strerror(number)}: {detail}" if detail else os.strerror(number))


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds others."""
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """An attribute with a zero-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """An attribute with an unsigned 32-bit number in the host's byte order."""
    return attribute(kind, struct.pack("=I", value))


def small(kind: int, value: int) -> bytes:
    """An attribute with one byte."""
    return attribute(kind, struct.pack("=B", value))


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by kind; the last of a kind wins."""
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
    return found


class Netlink:
    """A netlink socket; a context manager."""

    def __init__(self, family: int = ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        for option in (_CAP_ACK, _EXTENDED_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def request(self, *messages: Message, ignore: Iterable[int] = ()) -> None:
        """Send a batch in one packet; the kernel handles all of it, also what follows a refused message.

        Raises NetlinkError for the first refusal whose errno isn't in `ignore`, TimeoutError without an answer.
        """
        first = self._sequence + 1
        self._socket.send(b"".join(self._encode(message, message.flags | FLAG_ACK) for message in messages))
        pending = set(range(first, self._sequence + 1))
        errors: list[NetlinkError] = []
        while pending:
            for kind, flags, sequence, payload in self._receive():
                if kind == _ERROR and sequence in pending:
                    pending.remove(sequence)
                    errors.extend(_refusal(payload, flags, sequence - first))
        tolerated = frozenset(ignore)
        for error in errors:
            if error.errno not in tolerated:
                raise error

    def query(self, message: Message) -> bytes:
        """Send one message and return the body of the one that answers it. Raises NetlinkError."""
        self._socket.send(self._encode(message, message.flags))
        while True:
            for kind, flags, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                if kind != _ERROR:
                    return payload
                for error in _refusal(payload, flags, 0):
                    raise error

    def dump(self, message: Message) -> list[bytes]:
        """The bodies of everything that matches; asked again when it changed meanwhile. Raises NetlinkError."""
        for _ in range(_DUMP_ATTEMPTS):
            bodies = self._dump_once(message)
            if bodies is not None:
                return bodies
        raise TimeoutError("the kernel's table changed during every dump")

    def _dump_once(self, message: Message) -> list[bytes] | None:
        self._socket.send(self._encode(message, message.flags | FLAG_DUMP))
        bodies: list[bytes] = []
        consistent = True
        while True:
            for kind, flags, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                consistent = consistent and not flags & _INTERRUPTED
                if kind == _DONE:
                    return bodies if consistent else None
                if kind == _ERROR:
                    raise next(_refusal(payload, flags, 0))
                bodies.append(payload)

    def _encode(self, message: Message, flags: int) -> bytes:
        self._sequence += 1
        length = _HEADER.size + len(message.body)
        return _HEADER.pack(length, message.type, flags | FLAG_REQUEST, self._sequence, 0) + message.body

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        data = self._socket.recv(_RECEIVE_BYTES)
        while len(data) >= _HEADER.size:
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
            yield kind, flags, sequence, data[_HEADER.size : length]
            data = data[(length + 3) & ~3 :]


def _refusal(payload: bytes, flags: int, index: int) -> Iterator[NetlinkError]:
    (code,) = _NUMBER.unpack_from(payload)
    if code == 0:
        return
    detail = b""
    if flags & _HAS_ATTRIBUTES:
        echoed = _HEADER.size if flags & _CAPPED else _HEADER.unpack_from(payload, _NUMBER.size)[0]
        detail = attributes(payload[_NUMBER.size + echoed :]).get(_ERROR_TEXT, b"")
    yield NetlinkError(-code, detail.rstrip(b"\0").decode(errors="replace"), index)
