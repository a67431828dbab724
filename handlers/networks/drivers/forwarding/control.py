"""The socket by which an engine says what is to be held: one JSON object a line, one line back.

    {"op": "publish", "container": ID, "address": IPV4, "forward": true, "ports": [[ADDRESS, PORT, PROTOCOL, TO], ...]}
        -> {"ok": true}, or {"ok": false, "errno": N, "port": [...]} and nothing is held
    {"op": "withdraw", "container": ID} -> {"ok": true}
    {"op": "list"} -> {"ok": true, "published": {ID: [[...], ...]}}

With `forward` false ports are only held: who connects is turned away.
"""

import contextlib
import errno
import json
import socket
from typing import Any

from handlers.networks.drivers.forwarding.loop import READ, WRITE, Loop
from handlers.networks.drivers.forwarding.publications import Port, Publications, Refused

CHUNK_BYTES = 1 << 16
MAXIMUM_LINE_BYTES = 1 << 20


class Control:
    """The listening socket and who is connected to it."""

    lasting = True

    def __init__(self, loop: Loop, listener: socket.socket, publications: Publications) -> None:
        self.loop, self._listener, self._publications = loop, listener, publications
        self.controllers: set[Controller] = set()
        listener.settimeout(0)
        loop.watch(listener, READ, self)

    @property
    def is_needed(self) -> bool:
        """Whether something is held or somebody is connected."""
        return bool(self._publications.ports or self.controllers)

    def ready(self, source: socket.socket, events: int) -> None:
        """An engine connects."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            stream, _ = source.accept()
            self.controllers.add(Controller(self, stream))

    def close(self) -> None:
        """Hear nobody any more."""
        self.loop.forget(self._listener)

    def answer(self, line: bytes) -> dict[str, object]:
        """Do what a line says."""
        try:
            return self._obey(json.loads(line))
        except Refused as refused:
            return {"ok": False, "errno": refused.number, "port": refused.port}
        except (ValueError, KeyError, TypeError, OSError) as error:
            return {"ok": False, "errno": errno.EINVAL, "reason": repr(error)}

    def _obey(self, command: dict[str, Any]) -> dict[str, object]:
        match command["op"]:
            case "publish":
                forward = bool(command["forward"])
                ports = [_port(entry) for entry in command["ports"]]
                self._publications.publish(command["container"], command["address"], ports, forward=forward)
            case "withdraw":
                self._publications.withdraw(command["container"])
            case "list":
                return {"ok": True, "published": self._publications.ports}
            case other:
                raise ValueError(other)
        return {"ok": True}


class Controller:
    """One connection of an engine."""

    lasting = False

    def __init__(self, control: Control, stream: socket.socket) -> None:
        self._control, self._stream = control, stream
        self._received, self._answers = b"", b""
        stream.settimeout(0)
        control.loop.watch(stream, READ, self)

    def ready(self, source: socket.socket, events: int) -> None:
        """A command has come, or the answer can go on."""
        try:
            if events & READ:
                self._receive()
            if self._answers:
                with contextlib.suppress(BlockingIOError):
                    self._answers = self._answers[self._stream.send(self._answers) :]
        except OSError:
            self.close()
            return
        # Who doesn't read the answers isn't listened to either.
        self._control.loop.watch(self._stream, WRITE if self._answers else READ, self)

    def _receive(self) -> None:
        data = self._stream.recv(CHUNK_BYTES)
        if not data or len(self._received) > MAXIMUM_LINE_BYTES:
            raise ConnectionResetError
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._answers += json.dumps(self._control.answer(line)).encode() + b"\n"

    def close(self) -> None:
        """It has gone."""
        self._control.controllers.discard(self)
        self._control.loop.forget(self._stream)


def _port(entry: list[Any]) -> Port:
    address, number, protocol, target = entry
    return str(address), int(number), str(protocol), int(target)
