"""Hands a container's durable output on to a log target, from a position that outlives the daemon."""

import os
import struct
from pathlib import Path

import msgspec

from handlers.exec import output
from handlers.exec.drivers.generations import Generations, Place
from handlers.exec.drivers.log_targets import Message, Target
from handlers.exec.drivers.output import Reader
from handlers.exec.ports import STDERR, STDOUT

LONGEST_LINE_BYTES = 16 * 1024  # what is longer is handed on in pieces, as dockerd does
_RECORD = struct.Struct("<6Q")


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The next byte to look at, and for each stream where a line begins whose end hasn't been written yet."""

    place: Place
    stdout: Place | None = None
    stderr: Place | None = None

    def beginning(self) -> Place:
        """Where reading has to begin to find the beginnings of lines again."""
        return min(filter(None, (self.place, self.stdout, self.stderr)))


class ProgressFile:
    """Keeps it in a file. A write is one system call: a daemon that is killed has made it or not."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self) -> Progress:
        """The beginning of the output when nothing was written yet."""
        data = os.pread(self._descriptor, _RECORD.size, 0)
        if len(data) < _RECORD.size:
            return Progress(place=Place(0))
        numbers = _RECORD.unpack(data)
        place, stdout, stderr = (Place(*numbers[start : start + 2]) for start in (0, 2, 4))
        return Progress(place=place, stdout=_or_none(stdout), stderr=_or_none(stderr))

    def write(self, progress: Progress) -> None:
        """Replace what was there."""
        places = (progress.place, progress.stdout or Place(0), progress.stderr or Place(0))
        numbers = [number for place in places for number in (place.number, place.offset)]
        os.pwrite(self._descriptor, _RECORD.pack(*numbers), 0)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


def _or_none(place: Place) -> Place | None:
    return place if place.number else None


class Forwarding:
    """One container's output on its way. Blocking; an object for one thread at a time."""

    def __init__(self, generations: Generations, *, buffer_bytes: int = 0) -> None:
        self._generations, self._buffer_bytes = generations, buffer_bytes
        self._file = ProgressFile(Path(f"{generations.path}.position"))
        self._progress = self._file.read()
        self._begun: dict[int, tuple[Place, Message]] = {}  # stream -> where a line began, and what there is of it
        self._reader = Reader(generations)
        self._is_open = False
        self._tail = b""
        self._place = Place(0)  # of the beginning of `_tail`

    @property
    def number(self) -> int:
        """Of the oldest file that is still needed."""
        return self._progress.beginning().number

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()
        self._file.close()

    def forward(self, target: Target, *, ended: bool) -> None:
        """Hand on all complete lines that there are and, where the process has `ended`, the rest too.

        Raises OSError when the target doesn't take them: the next call goes on from there.
        """
        if self._buffer_bytes:
            self._drop_what_is_too_old()
        if not self._open():
            return
        try:
            while data := self._reader.more():
                if self._reader.number != self._place.number:  # lines don't span files
                    self._tail, self._place = b"", Place(self._reader.number, self._reader.offset - len(data))
                self._take(target, data)
            if ended:
                self._finish(target)
        except OSError:
            self._is_open = False  # begin again where the target stopped
            raise

    def _open(self) -> bool:
        if not self._is_open:
            beginning = self._progress.beginning()
            if not self._reader.open(beginning):
                return False
            self._is_open = True
            self._begun, self._tail = {}, b""
            self._place = Place(self._reader.number, self._reader.offset)
        return True

    def _take(self, target: Target, data: bytes) -> None:
        *lines, self._tail = (self._tail + data).split(b"\n")
        for line in lines:
            here = self._place
            self._place = Place(here.number, here.offset + len(line) + 1)
            parsed = output.parse_line(line)
            if parsed is not None and self._is_wanted(here, parsed):
                self._line(target, here, parsed)
            if self._place > self._progress.place:
                self._advance()

    def _is_wanted(self, here: Place, line: output.Line) -> bool:
        """Behind the position only the beginnings of unfinished lines are; the rest was handed on."""
        if here >= self._progress.place:
            return True
        began = self._progress.stdout if line.stream == STDOUT else self._progress.stderr
        return began is not None and here >= began and not line.is_complete

    def _line(self, target: Target, here: Place, line: output.Line) -> None:
        began, before = self._begun.pop(line.stream, (here, None))
        text = (before.text if before else b"") + line.text
        message = Message(line.stream, line.time.decode(), text, is_partial=not line.is_complete)
        if line.is_complete or len(text) >= LONGEST_LINE_BYTES:
            target.send(message)
        else:
            self._begun[line.stream] = (began, message)

    def _finish(self, target: Target) -> None:
        """Lines without an end."""
        for stream, (_, message) in sorted(self._begun.items()):
            target.send(msgspec.structs.replace(message, is_partial=False))
            del self._begun[stream]
            self._advance()

    def _advance(self) -> None:
        starts = {stream: began for stream, (began, _) in self._begun.items()}
        self._progress = Progress(place=self._place, stdout=starts.get(STDOUT), stderr=starts.get(STDERR))
        self._file.write(self._progress)

    def _drop_what_is_too_old(self) -> None:
        """mode=non-blocking: of what the target didn't take in time the oldest goes."""
        sizes = self._generations.sizes()
        here = self._progress.place
        first = min((number for number in sizes if number >= here.number), default=here.number)
        here = here if here.number == first else Place(first)
        waiting = sum(size for number, size in sizes.items() if number >= first) - here.offset
        surplus = waiting - self._buffer_bytes
        if surplus <= 0:
            return
        number, offset = first, here.offset + surplus
        while offset > sizes.get(number, 0) and number + 1 in sizes:
            offset -= sizes[number]
            number += 1
        self._progress = Progress(place=self._generations.next_line(Place(number, offset)))
        self._file.write(self._progress)
        self._is_open = False
