"""How far a long command is, for those who watch it; telemetry that is never logged, and that nobody has to read.

A reader that is slow sees the newest state of each thing instead of every step towards it.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import msgspec

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


class Following:
    """One reader's lines."""

    def __init__(self) -> None:
        self._pending: dict[tuple[str, str] | int, Note] = {}
        self._numbers = 0
        self._changed = anyio.Event()
        self.is_closed = False

    def put(self, note: Note) -> None:
        """Keep a line until it is read."""
        if len(self._pending) >= _PENDING_LIMIT:
            return
        self._numbers += 1
        is_step = note.has_detail and note.total_bytes > 0
        self._pending[(note.subject, note.status) if is_step else self._numbers] = note
        self._changed.set()

    def close(self) -> None:
        """Nothing more comes."""
        self.is_closed = True
        self._changed.set()

    async def read(self) -> tuple[Note, ...]:
        """What came since the last time, waited for; nothing at the end."""
        while not self._pending and not self.is_closed:
            await self._changed.wait()
        self._changed = anyio.Event()
        notes = tuple(self._pending.values())
        self._pending.clear()
        return notes


class Progress:
    """Readers and commands meet here, by command id."""

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
        if readers:
            return
        del self._readers[command_id]
        if command_id in self._running:
            self._running[command_id].cancel("nobody watches it any more")
        elif not reader.is_closed:
            self._abandoned.add(command_id)

    def tell(self, command_id: str, note: Note) -> None:
        """Hand a line to all readers."""
        for reader in self._readers.get(command_id, ()):
            reader.put(note)

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
