"""The files of a container's durable output, in the order in which they were written.

    output.log              what conmon writes to
    output.log.<number>     complete ones, numbered from 1 and never renumbered; `.gz` when compressed

While a rotation is under way there is no output.log: conmon still writes to the file with the highest number, until it
is told to begin another. conmon replaces output.log by a new file whenever it is told, so it must be told once for
each rotation, or what it has written since is lost.
"""

import gzip
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

_COPY_BYTES = 1 << 20
_OFFSET_BITS = 48  # of a position: a file of 256 TiB
_OPENING_ATTEMPTS = 100


class Place(msgspec.Struct, frozen=True, order=True):
    """Where in the output: a file's number and a byte in it."""

    number: int
    offset: int = 0

    def packed(self) -> int:
        """As one number that grows with the output."""
        return self.number << _OFFSET_BITS | self.offset

    @staticmethod
    def unpacked(position: int) -> "Place":
        """From `packed`."""
        return Place(position >> _OFFSET_BITS, position & ((1 << _OFFSET_BITS) - 1))


class Generations:
    """Those of one container. All is blocking."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def complete(self) -> dict[int, Path]:
        """Files by number, without the one that is being written, in order."""
        prefix, found = f"{self.path.name}.", {}
        with suppress(FileNotFoundError):
            for entry in self.path.parent.iterdir():
                number = entry.name.removeprefix(prefix).removesuffix(".gz")
                if entry.name.startswith(prefix) and number.isdecimal():
                    found[int(number)] = entry
        return dict(sorted(found.items()))

    def present(self) -> int:
        """The number of the file that is being written."""
        numbers = self.complete()
        last = max(numbers, default=0)
        return last + 1 if self.path.exists() or not last else last

    def first(self) -> int:
        """The number of the oldest file."""
        return min(self.complete(), default=self.present())

    def has_later(self, number: int) -> bool:
        """Whether nothing more is written to a file because another has begun."""
        return self.present() > number

    def end(self) -> Place:
        """Where the output ends now."""
        opened = self.open(self.present())
        if opened is None:
            return Place(self.present())
        descriptor, number = opened
        try:
            return Place(number, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)

    def open(self, number: int) -> tuple[int, int] | None:
        """A descriptor of the file with a number, or of the next one if that is gone, and which it is.

        None when there is no output at all. A file may get its number while it is being opened.
        """
        for _ in range(_OPENING_ATTEMPTS):
            later = [each for each in self.complete() if each >= number]
            chosen = min(later, default=max(number, self.present()))
            try:
                descriptor = self._open(self.complete().get(chosen, self.path))
            except FileNotFoundError:
                if not self.path.exists() and not self.complete():
                    return None
                continue
            if later or self.present() == chosen:
                return descriptor, chosen
            os.close(descriptor)
        return None

    @staticmethod
    def _open(path: Path) -> int:
        if path.suffix != ".gz":
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with gzip.open(path) as packed, tempfile.TemporaryFile(dir=path.parent) as plain:
            shutil.copyfileobj(packed, plain, _COPY_BYTES)
            plain.flush()
            return os.dup(plain.fileno())

    def sizes(self) -> dict[int, int]:
        """Bytes by number, in order; of a compressed file those that it takes on disk."""
        files = self.complete()
        found = {}
        for number, path in {**files, self.present(): files.get(self.present(), self.path)}.items():
            with suppress(FileNotFoundError):
                found[number] = path.stat().st_size
        return dict(sorted(found.items()))

    def next_line(self, place: Place) -> Place:
        """The first beginning of a line at or after a place; where it is too far off, the place of the next file."""
        opened = self.open(place.number)
        if opened is None or opened[1] != place.number:
            return Place(place.number)
        descriptor, number = opened
        try:
            before = max(0, place.offset - 1)
            found = os.pread(descriptor, _COPY_BYTES, before).find(b"\n")
        finally:
            os.close(descriptor)
        return Place(number, before + found + 1) if found >= 0 else Place(number + 1)

    def remove(self) -> None:
        """All files, and what else lies beside them under their name."""
        with suppress(FileNotFoundError):
            for entry in self.path.parent.iterdir():
                if entry.name.lstrip(".").startswith(self.path.name):
                    entry.unlink()

    def begin_rotation(self) -> bool:
        """Give the present file its number. False where there is no room for another: then it goes on growing.

        conmon dies when it can't make its next file, so that is made for it, under the name that it opens.
        """
        try:
            os.close(os.open(f"{self.path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError:
            return False
        self.path.rename(f"{self.path}.{self.present()}")
        return True

    def is_rotating(self) -> bool:
        """Whether conmon has still to be told of a rotation, or has still to act on it."""
        return not self.path.exists() and bool(self.complete())

    def tidy(self, keep: int, *, compress: bool, needed: int) -> None:
        """Remove what is more than `keep` complete files and older than what somebody `needed`; compress the rest.

        The newest keeps its name when it is removed: from it the numbers go on.
        """
        numbers = sorted(self.complete().items(), reverse=True)
        for age, (number, path) in enumerate(numbers):
            if number >= needed:
                continue
            if age >= keep:
                path.unlink() if age else _empty(path)
            elif compress and path.suffix != ".gz":
                _compress(path)


def _empty(path: Path) -> None:
    """Readers keep what they have open."""
    if path.stat().st_size:
        fresh = path.with_name(f".{path.name}")
        fresh.touch(mode=0o600)
        fresh.rename(path)


def _compress(path: Path) -> None:
    staged = path.with_name(f".{path.name}.gz")
    with path.open("rb") as plain, gzip.open(staged, "wb") as packed:
        shutil.copyfileobj(plain, packed, _COPY_BYTES)
    staged.rename(f"{path}.gz")
    path.unlink()
