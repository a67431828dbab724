"""Carries pyroute2's messages to the kernel and back; without it every link would cost a process or a thread.

The messages are pyroute2's, the socket isn't: its sockets are opened when first used, in whichever thread that is, each
with an event loop of its own (7 ms). Only a socket made here and now is sure to be in the namespace of this thread.

Blocking, for use in a worker thread. A socket belongs to the network namespace of the thread that opened it, for its
whole life: make it inside the namespace that it is to act on (`handlers/kernel/namespaces.py`).

Sources: man 7 netlink, man 7 rtnetlink, linux/netlink.h, the docstring of pyroute2.netlink.
"""

import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from handlers.kernel.messages import (
    NETLINK_EXT_ACK,
    NETLINK_ROUTE,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    SOL_NETLINK,
    nlmsg,
    nlmsgerr,
)

ANSWER_TIMEOUT_S = 10.0

_RECEIVE_BYTES = 1 << 18
_DUMP_ATTEMPTS = 5

# Packets are cut up here since pyroute2's Marshal decodes whatever it finds, 20 times the time of cutting.
_HEADER = struct.Struct("=IHHII")


class NetlinkError(OSError):
    """The kernel refused a message; `errno` says how, `index` which of the batch."""

    def __init__(self, number: int, detail: str, index: int) -> None:
        self.index = index
        super().__init__(number, f"{os.strerror(number)}: {detail}" if detail else os.strerror(number))


def message(shape: type[nlmsg], kind: int, flags: int = 0, /, attrs: Sequence[Any] = (), **fields: int) -> nlmsg:
    """A request of one of pyroute2's message classes: its RTM_ number, flags beside REQUEST and ACK, what is in it."""
    made = shape()
    made["header"].update(type=kind, flags=flags)
    made.update(fields, attrs=list(attrs))
    return made


class Netlink:
    """A netlink socket; a context manager."""

    def __init__(self, family: int = NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
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

    def request(self, *messages: nlmsg, ignore: Iterable[int] = ()) -> None:
        """Send a batch in one packet; the kernel handles all of it, also what follows a refused message.

        Raises NetlinkError for the first refusal whose errno isn't in `ignore`, TimeoutError without an answer.
        """
        first = self._sequence + 1
        self._socket.send(b"".join(self._encode(message, NLM_F_ACK) for message in messages))
        pending = set(range(first, self._sequence + 1))
        errors: list[NetlinkError] = []
        while pending:
            for kind, _, sequence, data in self._receive():
                if kind == NLMSG_ERROR and sequence in pending:
                    pending.remove(sequence)
                    errors.extend(_refusal(data, sequence - first))
        tolerated = frozenset(ignore)
        for error in errors:
            if error.errno not in tolerated:
                raise error

    def query(self, message: nlmsg) -> nlmsg:
        """Send one message and return the one that answers it. Raises NetlinkError."""
        self._socket.send(self._encode(message))
        while True:
            for kind, _, sequence, data in self._receive():
                if sequence != self._sequence:
                    continue
                if kind != NLMSG_ERROR:
                    return _decode(type(message), data)
                for error in _refusal(data, 0):
                    raise error

    def dump(self, message: nlmsg, containing: bytes = b"") -> list[nlmsg]:
        """Everything that matches and has these bytes anywhere; asked again when it changed meanwhile.

        Looking for bytes spares decoding what isn't wanted, in tables that may be long. Raises NetlinkError.
        """
        request = self._encode(message, NLM_F_DUMP)
        for _ in range(_DUMP_ATTEMPTS):
            found = self._dump_once(request)
            if found is not None:
                return [_decode(type(message), data) for data in found if containing in data]
        raise TimeoutError("the kernel's table changed during every dump")

    def _dump_once(self, request: bytes) -> list[bytes] | None:
        self._socket.send(request)
        found: list[bytes] = []
        consistent = True
        while True:
            for kind, flags, sequence, data in self._receive():
                if sequence != self._sequence:
                    continue
                consistent = consistent and not flags & NLM_F_DUMP_INTR
                if kind == NLMSG_DONE:
                    return found if consistent else None
                if kind == NLMSG_ERROR:
                    raise next(_refusal(data, 0))
                found.append(data)

    def _encode(self, message: nlmsg, flags: int = 0) -> bytes:
        self._sequence += 1
        message.reset()  # a message that was sent before would be appended to itself
        message["header"]["flags"] |= NLM_F_REQUEST | flags
        message["header"]["sequence_number"] = self._sequence
        message.encode()
        return bytes(message.data)

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        data = self._socket.recv(_RECEIVE_BYTES)
        while len(data) >= _HEADER.size:
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
            yield kind, flags, sequence, data[:length]
            data = data[(length + 3) & ~3 :]


def _decode(shape: type[nlmsg], data: bytes) -> nlmsg:
    made = shape(data)
    made.decode()
    return made


def _refusal(data: bytes, index: int) -> Iterator[NetlinkError]:
    answer = _decode(nlmsgerr, data)
    if answer["error"]:
        yield NetlinkError(-answer["error"], answer.get_attr("NLMSGERR_ATTR_MSG", ""), index)
