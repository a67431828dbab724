"""What is left of a directory after a power cut; without it nobody could tell what a program really made durable.

`recorded` runs a program under strace(1); `Disk` replays its calls and knows two contents of each file: what it is, and
what it would be if everything that wasn't synced were lost; between the two lies whatever a disk made of it that wrote
some sectors and not others, in no order. A file's name survives once its directory was synced.
"""

import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

_TRACED = "openat,close,lseek,write,pwrite64,ftruncate,fsync,fdatasync,rename,unlink,mkdir,fallocate"
_LINE = re.compile(r"^(\d+\.\d+) (\w+)\((.*)\)\s+= (-?\d+).*<(\d+\.\d+)>$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')

SECTOR_BYTES = 512  # is written whole or not at all

Call = tuple[str, str, int]  # name, arguments, result


def recorded(script: Path, directory: Path, place: Path, *more: str) -> list[Call]:
    """The calls of a program that works in `directory`, in the order in which they came to their ends."""
    command = [
        "strace",
        "-ff",
        "-ttt",
        "-T",
        "-xx",
        "-s",
        "10000000",
        "-e",
        f"trace={_TRACED}",
        "-o",
        str(place / "trace"),
    ]
    program = [sys.executable, str(script), str(directory), *more]
    subprocess.run([*command, *program], check=True, timeout=300, stdout=subprocess.DEVNULL)
    calls = []
    for path in place.glob("trace.*"):
        for line in path.read_text().splitlines():
            if found := _LINE.match(line):
                began, name, arguments, result, took = found.groups()
                calls.append((float(began) + float(took), (name, arguments, int(result))))
    return [call for _, call in sorted(calls, key=lambda each: each[0])]


class File:
    """A file, by whatever name."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.durable = b""

    def write(self, offset: int, data: bytes) -> None:
        self.content.extend(bytes(max(0, offset + len(data) - len(self.content))))
        self.content[offset : offset + len(data)] = data

    def torn(self, chance: random.Random) -> bytes:
        """Each sector as it was synced or as it is; what has no content yet reads as zeros."""
        durable = len(self.durable)
        left = bytearray(self.durable.ljust(max(durable, chance.choice((durable, len(self.content)))), b"\0"))
        for begin in range(0, len(left), SECTOR_BYTES):
            end = min(begin + SECTOR_BYTES, len(left), len(self.content))
            if begin < end and chance.random() < 0.5:
                left[begin:end] = self.content[begin:end]
        return bytes(left)


class Disk:
    """One directory, as a program's calls leave it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._names: dict[str, File] = {}
        self._durable_names: dict[str, File] = {}
        self._open: dict[int, File | Path] = {}
        self._offsets: dict[int, int] = {}
        self.printed = b""

    def replay(self, call: Call) -> bool:
        """Take in a call; whether something became durable, or was printed."""
        name, arguments, result = call
        if result < 0:
            return False
        handle: Callable[[str, int], bool] | None = getattr(self, f"_{name}", None)
        return handle(arguments, result) if handle is not None else False

    def _name(self, path: Path) -> str | None:
        return path.name if path.parent == self._directory else None

    def _openat(self, arguments: str, result: int) -> bool:
        path = _paths(arguments)[0]
        self._open.pop(result, None)
        if path == self._directory:
            self._open[result] = path
        elif (name := self._name(path)) is not None:
            if "O_CREAT" in arguments or name in self._names:
                self._open[result] = file = self._names.setdefault(name, File())
                if "O_TRUNC" in arguments:
                    file.content.clear()
        self._offsets[result] = 0
        return False

    def _close(self, arguments: str, _: int) -> bool:
        self._open.pop(_number(arguments, 0), None)
        return False

    def _lseek(self, arguments: str, result: int) -> bool:
        self._offsets[_number(arguments, 0)] = result
        return False

    def _write(self, arguments: str, result: int) -> bool:
        descriptor = _number(arguments, 0)
        data = _data(arguments)[:result]
        if descriptor == 1:
            self.printed += data
            return True
        file = self._open.get(descriptor)
        if isinstance(file, File):
            file.write(self._offsets[descriptor], data)
            self._offsets[descriptor] += result
        return False

    def _pwrite64(self, arguments: str, result: int) -> bool:
        file = self._open.get(_number(arguments, 0))
        if isinstance(file, File):
            file.write(_number(arguments, -1), _data(arguments)[:result])
        return False

    def _ftruncate(self, arguments: str, _: int) -> bool:
        file, size = self._open.get(_number(arguments, 0)), _number(arguments, 1)
        if isinstance(file, File):
            file.content[size:] = bytes(max(0, size - len(file.content)))
        return False

    def _fallocate(self, arguments: str, _: int) -> bool:
        file = self._open.get(_number(arguments, 0))
        if isinstance(file, File):
            size = _number(arguments, 2) + _number(arguments, 3)
            file.content.extend(bytes(max(0, size - len(file.content))))
        return False

    def _fsync(self, arguments: str, _: int) -> bool:
        file = self._open.get(_number(arguments, 0))
        if isinstance(file, File):
            file.durable = bytes(file.content)
        elif file is not None:
            self._durable_names = dict(self._names)
        return file is not None

    _fdatasync = _fsync

    def _rename(self, arguments: str, _: int) -> bool:
        old, new = map(self._name, _paths(arguments))
        if old in self._names and new is not None:
            self._names[new] = self._names.pop(old)
        return False

    def _unlink(self, arguments: str, _: int) -> bool:
        self._names.pop(self._name(_paths(arguments)[0]) or "", None)
        return False

    def lose(self, target: Path) -> None:
        """Write what is left when all is lost that wasn't synced."""
        for name, file in self._durable_names.items():
            if not name.endswith("-shm"):
                (target / name).write_bytes(file.durable)

    def tear(self, target: Path, chance: random.Random) -> None:
        """Write what may be left as well: some sectors of what wasn't synced, some lengths and names, others not."""
        for name, file in (self._durable_names | self._surviving_names(chance)).items():
            if not name.endswith("-shm"):
                (target / name).write_bytes(file.torn(chance))

    def _surviving_names(self, chance: random.Random) -> dict[str, File]:
        new = {name: file for name, file in self._names.items() if name not in self._durable_names}
        return {name: file for name, file in new.items() if chance.random() < 0.5}

    def keep(self, target: Path) -> None:
        """Write what is left when the program alone was killed."""
        for name, file in self._names.items():
            if not name.endswith("-shm"):
                (target / name).write_bytes(file.content)


def _paths(arguments: str) -> list[Path]:
    return [Path(_unescaped(each).decode()) for each in _TEXT.findall(arguments)]


def _data(arguments: str) -> bytes:
    return _unescaped(_TEXT.findall(arguments)[0])


def _unescaped(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _number(arguments: str, position: int) -> int:
    plain = _TEXT.sub('""', arguments)
    return int(plain.split(",")[position].strip(), 0)


def cuts(calls: list[Call], directory: Path) -> Iterator[Disk]:
    """The disk after each call that matters."""
    disk = Disk(directory)
    for call in calls:
        if disk.replay(call):
            yield disk
