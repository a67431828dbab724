"""What the log promises, whoever keeps it (`sqlite_log` for real, `memory_log` in tests)."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from events.base import Event
from events.envelope import Cause, Recorded
from events.errors import Conflict, SystemFailure

MAXIMUM_EVENT_BYTES = 8 * 1024 * 1024


class VersionConflict(Conflict):
    """The stream has moved on: load, decide and append again."""

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        self.stream, self.expected, self.actual = stream, expected, actual
        super().__init__(f"stream {stream} is at version {actual}, not {expected}")


class ClaimTaken(Conflict):
    """A key that an append wanted is held by another stream."""

    def __init__(self, key: str, holder: str) -> None:
        self.key, self.holder = key, holder
        super().__init__(f"{key} is taken by {holder}")


class LogBroken(SystemFailure):
    """The log can't be trusted or written; the engine must stop.

    `is_write`: the file system refused a write, for whatever reason.
    """

    is_write = False


class NewerLog(LogBroken):
    """The log was written by a newer engine: it isn't damaged, this engine is too old for it."""


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """Events for one stream, with the claims that they take and release.

    `expected` is the stream's version that the decision was made on; None appends whatever it is.
    A claim released by a stream that doesn't hold it is ignored; one taken twice by the same stream is kept.
    """

    stream: str
    events: tuple[Event, ...]
    expected: int | None = None
    take: tuple[str, ...] = ()
    release: tuple[str, ...] = ()


Listener = Callable[[Sequence[Recorded]], None]
Stored = tuple[int, bytes, bytes]  # sequence, the record's bytes as they are hashed, and their hash


class EventLog(Protocol):
    """An append-only, hash-chained, totally ordered log with claims.

    Guarantees: `append` returns only when its events are fsynced, every listener has seen them, and in sequence order;
    a batch is atomic, claims and versions included (release is applied before take within a batch);
    a failed append leaves nothing and fails nobody else's; once handed over an append can't be cancelled
    (a cancelled caller may not learn the outcome, the log keeps it).
    """

    @property
    def id(self) -> str:
        """Random id of this log."""

    @property
    def head(self) -> int:
        """Sequence of the newest durable event; 0 when empty."""

    async def append(
        self, appends: Sequence[Append], *, cause: Cause, reply: bytes | None = None
    ) -> Sequence[Recorded]:
        """Append atomically. `reply` goes on the last event: it is the answer that concludes the command.

        Raises VersionConflict, ClaimTaken, Unavailable (disk full), LogBroken.
        """

    def listen(self, listener: Listener) -> None:
        """Call `listener`, on the event loop, with every committed batch from now on, before append returns."""

    def read(self, after: int = 0, *, limit: int = 1000) -> AsyncIterator[Recorded]:
        """Events with a sequence greater than `after`, at most `limit` of them (0: all up to the head)."""

    async def stored(self, after: int, limit: int) -> Sequence[Stored]:
        """Events with a sequence greater than `after` as their bytes, at most `limit` of them and none undurable.

        Readers that pass events on take this: nothing is decoded. Fewer than `limit` may come before the head.
        """

    def read_stream(self, stream: str) -> AsyncIterator[Recorded]:
        """All events of one stream."""

    def subscribe(self, after: int = 0) -> AbstractAsyncContextManager[AsyncIterator[Recorded]]:
        """Catch up from `after`, then live, without gap or duplicate; holds no read transaction while it waits."""

    async def reply_to(self, command_id: str) -> bytes | None:
        """The recorded answer of a concluded command, or None."""

    async def claim_holder(self, key: str) -> str | None:
        """The stream that holds a claim."""

    async def verify(self, first: int = 1, last: int | None = None) -> None:
        """Recompute the chain over a range. Raises LogBroken that names the first bad sequence."""

    async def aclose(self) -> None:
        """Write what was handed over, then close."""
