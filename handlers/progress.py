"""How far a long command is, for those who watch it; telemetry that is never logged, and that nobody has to read.

A reader that is slow sees the newest state of each thing instead of every step towards it.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import msgspec

_BEHIND = 256  # lines that a reader may lag behind what waits for it
_PENDING_LIMIT = 65536  # lines for a reader that doesn't read; what comes then is dropped


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a registry has taken."""

    tag: str
    digest: str
    size_bytes: int


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A line. `subject` is what it is about ("" the whole); with a detail it takes its predecessor's place."""

    status: str
    subject: str = ""
    has_detail: bool = False
    current_bytes: int = 0
    total_bytes: int = 0
    result: Result | None = None


class Text(msgspec.Struct, frozen=True):
    """Words as they come, with the ends of lines that they have."""

    text: str


class Made(msgspec.Struct, frozen=True):
    """An image has come of it."""

    image_id: str


class Exit(msgspec.Struct, frozen=True):
    """The status of the process that ends it; why is said by the command's failure."""

    code: int


Line = Note | Text | Made | Exit


class Following:
    """One reader's lines."""

    def __init__(self) -> None:
        self._pending: dict[tuple[str, str] | int, Line] = {}
        self._numbers = 0
        self._changed, self._read = anyio.Event(), anyio.Event()
        self.is_closed = False

    def put(self, line: Line) -> None:
        """Keep a line until it is read."""
        if len(self._pending) >= _PENDING_LIMIT:
            return
        self._numbers += 1
        is_step = isinstance(line, Note) and line.has_detail and line.total_bytes > 0
        key = (line.subject, line.status) if isinstance(line, Note) and is_step else self._numbers
        self._pending[key] = line
        self._changed.set()

    def close(self) -> None:
        """Nothing more comes."""
        self.is_closed = True
        self._changed.set()
        self._read.set()

    async def caught_up(self) -> None:
        """Wait while there is much to read, and somebody who reads."""
        while len(self._pending) > _BEHIND and not self.is_closed:
            await self._read.wait()

    async def read(self) -> tuple[Line, ...]:
        """What came since the last time, waited for; nothing at the end."""
        while not self._pending and not self.is_closed:
            await self._changed.wait()
        self._changed = anyio.Event()
        notes = tuple(self._pending.values())
        self._pending.clear()
        self._read.set()
        self._read = anyio.Event()
        return notes


class Progress:
    """Readers and commands meet here, by command id; who reads of a command reads of its steps too."""

    def __init__(self) -> None:
        self._readers: defaultdict[str, list[Following]] = defaultdict(list)
        self._running: dict[str, anyio.CancelScope] = {}
        self._abandoned: set[str] = set()  # before they began to run

    def follow(self, command_id: str) -> Following:
        """Begin to read; before the command is sent, or lines are missed. End it with `leave`."""
        reader = Following()
        self._readers[command_id].append(reader)
        return reader

    def leave(self, command_id: str, reader: Following) -> None:
        """Stop reading. A command that nobody watches any more is cancelled; leaving twice is fine."""
        readers = self._readers.get(command_id, [])
        if reader not in readers:
            return
        readers.remove(reader)
        had_all = reader.is_closed
        reader.close()
        if readers:
            return
        del self._readers[command_id]
        concerned = [each for each in self._running if command_id in _lineage(each)]
        for each in concerned:
            self._running[each].cancel("nobody watches it any more")
        if not concerned and not had_all:
            self._abandoned.add(command_id)

    def tell(self, command_id: str, line: Line) -> None:
        """Hand a line to all readers."""
        for each in _lineage(command_id):
            for reader in self._readers.get(each, ()):
                reader.put(line)

    async def caught_up(self, command_id: str) -> None:
        """Wait for readers that are far behind; who tells what mustn't be lost does so now and then."""
        for reader in tuple(self._readers.get(command_id, ())):
            await reader.caught_up()

    @contextmanager
    def watched(self, command_id: str) -> Iterator[anyio.CancelScope]:
        """While entered, the command is cancelled when its last reader leaves; one that never had any isn't."""
        with anyio.CancelScope() as scope:
            self._running[command_id] = scope
            if command_id in self._abandoned:
                scope.cancel("nobody watches it any more")
            try:
                yield scope
            finally:
                del self._running[command_id]
                self._abandoned.discard(command_id)


def _lineage(command_id: str) -> Iterator[str]:
    """A command and those that it is a step of (`<id>.<number>`)."""
    while command_id:
        yield command_id
        command_id = command_id.rpartition(".")[0]
