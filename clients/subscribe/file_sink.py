"""Events in a file, a line each; the file's last whole line is the position. A worked example of a sink."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from anyio import to_thread

from clients.errors import SinkFailed, Unusable
from clients.subscribe.position import Position
from events.errors import EngineError
from events.lines import Line, read_line

_MODE: Final = 0o600
_BLOCK_BYTES: Final = 64 * 1024
_TEXT_EVENTS: Final = 1000

Encode = Callable[[Line], bytes]
Decode = Callable[[bytes], Position]


def as_line(line: Line) -> bytes:
    """A line as the engine sent it, without its end."""
    head = b'{"log":"%b","sequence":%d,"hash":"%b","record":' % (line.log.encode(), line.sequence, line.hash.encode())
    return b"".join((head, line.record, b"}"))


def texts(encode: Encode, lines: Sequence[Line]) -> Iterator[bytes]:
    """Lines as a file has them, each with its end: so many at a time that they are written while caches hold them."""
    for start in range(0, len(lines), _TEXT_EVENTS):
        yield b"\n".join([*map(encode, lines[start : start + _TEXT_EVENTS]), b""])


def position_of_line(content: bytes) -> Position:
    """Where a line of a file stands. Raises ValueError for what isn't one."""
    try:
        line = read_line(content)
    except EngineError as error:
        raise ValueError(str(error)) from error
    return Position(log=line.log, sequence=line.sequence)


class FileSink:
    """Appends to a file, which it holds for itself meanwhile; every batch is on disk when `write` returns.

    A line that a crash tore is cut off, and written anew as it comes again. Use it as a context manager.
    """

    def __init__(self, path: Path, encode: Encode = as_line, decode: Decode = position_of_line) -> None:
        """`encode` makes an event's line, `decode` finds its position again."""
        self._path, self._encode, self._decode = path, encode, decode
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Raises SinkFailed."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, _MODE)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            raise SinkFailed(f"{self._path} is being written by another process: wait for it, or end it") from None
        except OSError as error:
            raise SinkFailed(f"{self._path} can't be opened: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    async def position(self) -> Position | None:
        """See `Sink`. A file that holds something else is left as it is."""
        return await to_thread.run_sync(self._position)

    def _position(self) -> Position | None:
        size = os.fstat(self._descriptor).st_size
        end, last = _last_line(self._descriptor, size)
        if end == 0 and size:
            _begins_like_json(self._descriptor, self._path)
        position = None
        if last:
            try:
                position = self._decode(last)
            except ValueError as error:
                raise Unusable(
                    f"{self._path} doesn't end with an event in this format: choose another file or format ({error})"
                ) from error
        if end < size:
            os.ftruncate(self._descriptor, end)
        os.lseek(self._descriptor, 0, os.SEEK_END)
        return position

    async def write(self, lines: Sequence[Line]) -> None:
        """See `Sink`."""
        before = os.lseek(self._descriptor, 0, os.SEEK_END)
        try:
            for text in texts(self._encode, lines):
                await to_thread.run_sync(self._append, text)
            await to_thread.run_sync(os.fsync, self._descriptor)
        except OSError as error:
            with suppress(OSError):  # what stays torn is cut off at the next start
                os.ftruncate(self._descriptor, before)
            raise SinkFailed(
                f"{self._path} can't be written ({error.strerror}): see to that and go on, the position is kept"
            ) from error

    def _append(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[os.write(self._descriptor, left) :]


def _begins_like_json(descriptor: int, path: Path) -> None:
    """What has no whole line yet must at least begin as one: somebody else's content isn't cut off."""
    if os.pread(descriptor, 1, 0) != b"{":
        raise Unusable(f"{path} holds something else than events: choose another file")


def _last_line(descriptor: int, size: int) -> tuple[int, bytes]:
    """The end of the last whole line, and that line; 0 when there is none."""
    tail, start = b"", size
    while start > 0:
        step = min(_BLOCK_BYTES, start)
        start -= step
        tail = os.pread(descriptor, step, start) + tail
        end = tail.rfind(b"\n")
        begin = tail.rfind(b"\n", 0, end) if end >= 0 else -1
        if end >= 0 and (begin >= 0 or start == 0):
            return start + end + 1, tail[begin + 1 : end]
    return 0, b""
