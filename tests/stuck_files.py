"""A file system whose one file is never read to an end: who reads it can't be killed, as with a server that went away.

The kernel waits for an answer to what the server has taken, whatever signals come (fs/fuse/dev.c, request_wait_answer).
Closing /dev/fuse ends the connection, and all waiting with it. https://docs.kernel.org/filesystems/fuse.html
"""

import errno
import os
import select
import stat
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from handlers.kernel.mounts import mount, unmount

NAME = "file"
_HEADER, _ANSWER = struct.Struct("=IIQQIIII"), struct.Struct("=IiQ")  # linux/fuse.h: fuse_in_header, fuse_out_header
_ATTRIBUTES = struct.Struct("=6Q10I")
_INIT, _LOOKUP, _GETATTR, _OPEN, _READ, _STATFS = 26, 1, 3, 14, 15, 17
_RELEASE, _FLUSH, _OPENDIR, _READDIR, _RELEASEDIR = 18, 25, 27, 28, 29
_UNANSWERED = (2, 36, 42)  # forget, interrupt, forget several
_ROOT, _FILE = 1, 2
_REQUEST_BYTES = 1 << 20
_PAUSE_MS = 50


def _attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == _ROOT else stat.S_IFREG | 0o644
    return _ATTRIBUTES.pack(node, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def _init(_: int, __: bytes) -> bytes:
    return struct.pack("=4I2H2I2HI7I", 7, 31, 0, 0, 1, 1, 4096, 1, 1, 0, 0, *(0,) * 7)


def _lookup(_: int, name: bytes) -> bytes | None:
    if name.rstrip(b"\0") != NAME.encode():
        return None
    return struct.pack("=4Q2I", _FILE, 0, 0, 0, 0, 0) + _attributes(_FILE)


def _nothing(_: int, __: bytes) -> bytes:
    return b""


def _opened(_: int, __: bytes) -> bytes:
    return struct.pack("=QII", 1, 1, 0)  # FOPEN_DIRECT_IO: each read is asked for


_ANSWERS: dict[int, Callable[[int, bytes], bytes | None]] = {
    _INIT: _init,
    _LOOKUP: _lookup,
    _GETATTR: lambda node, _: struct.pack("=QII", 0, 0, 0) + _attributes(node),
    _OPEN: _opened,
    _OPENDIR: _opened,
    _READDIR: _nothing,
    _RELEASE: _nothing,
    _RELEASEDIR: _nothing,
    _FLUSH: _nothing,
    _STATFS: lambda _, __: struct.pack("=5Q4I6I", 0, 0, 0, 0, 0, 4096, 255, 4096, 0, *(0,) * 6),
}


class StuckFiles:
    """Mounted at a directory for the time of a block."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self.asked = threading.Event()  # somebody reads, and will not stop
        self._over = threading.Event()
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._place.mkdir()
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other"
        mount("stuck", str(self._place), filesystem="fuse", options=options)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        unmount(str(self._place))

    def _serve(self) -> None:
        """Until it is over: then the connection ends, and who waits is let go."""
        poll = select.poll()
        poll.register(self._device, select.POLLIN)
        try:
            while not self._over.is_set():
                if poll.poll(_PAUSE_MS):
                    self._take(os.read(self._device, _REQUEST_BYTES))
        finally:
            os.close(self._device)

    def _take(self, request: bytes) -> None:
        _, opcode, unique, node, *_ = _HEADER.unpack_from(request)
        if opcode == _READ:
            self.asked.set()
        elif opcode not in _UNANSWERED:
            self._say(unique, *_answer(opcode, node, request[_HEADER.size :]))

    def _say(self, unique: int, refusal: int, content: bytes) -> None:
        os.write(self._device, _ANSWER.pack(_ANSWER.size + len(content), -refusal, unique) + content)


def _answer(opcode: int, node: int, arguments: bytes) -> tuple[int, bytes]:
    """The number of an error or 0, and what is answered."""
    known = _ANSWERS.get(opcode)
    if known is None:
        return errno.ENOSYS, b""
    content = known(node, arguments)
    return (errno.ENOENT, b"") if content is None else (0, content)
