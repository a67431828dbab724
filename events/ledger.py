"""Who may append what, and where it stands then; without it each kind of log would decide versions and claims anew.

Pure and synchronous. A `Draft` is a group of batches that isn't durable yet: each batch is admitted whole or refused
whole, and the ledger takes the draft over once it is on disk.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from events import chain, claims
from events.base import Event
from events.codec import NO_REPLY, Record, checked_json, encode_event, encode_record
from events.envelope import ENGINE, Cause, Recorded
from events.errors import InvalidParameter
from events.log import MAXIMUM_EVENT_BYTES, Append, VersionConflict
from events.messages.system import ClockJumped

ENGINE_STREAM = "system/engine"
CLOCK_TOLERANCE_NS = 1_000_000_000

_CLOCK_CAUSE = Cause(actor=ENGINE, command_id="", correlation_id="")


class Clock(Protocol):
    """Wall-clock time."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01T00:00:00Z."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where the log stands after an event."""

    sequence: int = 0
    time_ns: int = 0
    clock_ns: int = 0
    hash: bytes

    @classmethod
    def genesis(cls, log_id: str) -> "Position":
        """Before the first event of a log."""
        return cls(hash=chain.genesis(log_id))


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event that was admitted: as readers see it, and as it is stored."""

    recorded: Recorded
    stored: bytes
    changes_claims: bool


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """An atomic append; `data` are the encoded events of all `appends` in their order."""

    appends: tuple[Append, ...]
    data: tuple[msgspec.Raw, ...]
    cause: Cause
    reply: msgspec.Raw


class _Place(msgspec.Struct, frozen=True, gc=False):
    """Where an event stands in its stream, and the claims that change hands with it."""

    event: Event
    stream: str
    version: int
    change: claims.Change


def prepare(appends: Sequence[Append], cause: Cause, reply: bytes | None) -> Batch:
    """Encode what can be encoded before the place in the log is known.

    Raises InvalidParameter for an event that is too large or has no JSON form (text that isn't Unicode), ValueError for
    an append without events or a reply that isn't JSON.
    """
    if not appends or not all(append.events for append in appends):
        raise ValueError("an append needs at least one event")
    return Batch(
        appends=tuple(appends),
        data=tuple(_encoded(event) for append in appends for event in append.events),
        cause=cause,
        reply=NO_REPLY if reply is None else checked_json(reply),
    )


def _encoded(event: Event) -> msgspec.Raw:
    try:
        data = encode_event(event)
    except (UnicodeEncodeError, OverflowError) as error:
        raise InvalidParameter(f"event {event.TYPE} can't be told in JSON: {error}") from error
    if len(data) > MAXIMUM_EVENT_BYTES:
        raise InvalidParameter(f"event {event.TYPE} has {len(data)} bytes, {MAXIMUM_EVENT_BYTES} are allowed")
    return msgspec.Raw(data)


class Ledger:
    """The durable truth that appends are checked against."""

    def __init__(self, position: Position, holders: dict[str, str]) -> None:
        self.position = position
        self.holders = holders  # claim -> stream
        self._versions: OrderedDict[str, int] = OrderedDict()  # the least recently used stream first

    def version(self, stream: str) -> int:
        """Version of a stream that was learnt or appended to; any other is taken for new (0)."""
        return self._versions.get(stream, 0)

    def unknown(self, batches: Iterable[Batch]) -> set[str]:
        """Streams whose version must be learnt first: those of which an append expects a version.

        The others may be taken for new. Where that is wrong, version 1 is there already, so it can't go unnoticed.
        """
        appends = [append for batch in batches for append in batch.appends]
        return {each.stream for each in appends if each.expected and each.stream not in self._versions}

    def learn(self, versions: Mapping[str, int]) -> None:
        """Take in the versions of streams, 0 for one that has no events."""
        self._versions.update(versions)

    def adopt(self, draft: "Draft") -> None:
        """The draft is durable."""
        self.position = draft.position
        for stream, version in draft.versions.items():
            self._versions[stream] = version
            self._versions.move_to_end(stream)
        for key, holder in draft.holders.items():
            if holder is None:
                self.holders.pop(key, None)
            else:
                self.holders[key] = holder

    def forget(self, keep: int) -> None:
        """Drop the versions of the least recently used streams; they can be learnt again."""
        while len(self._versions) > keep:
            self._versions.popitem(last=False)


class Draft:
    """Batches that go to disk together. A refused one leaves no trace in it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.position = ledger.position
        self.versions: dict[str, int] = {}
        self.holders: dict[str, str | None] = {}  # claim -> stream; None: free again
        self.entries: list[Entry] = []

    def admit(self, batch: Batch, clock_ns: int) -> list[Entry]:
        """Give a batch its place in the log. Raises VersionConflict or ClaimTaken."""
        bases, versions = self._placed(batch.appends)
        holders = claims.settle(batch.appends, self._holder)
        places = self._places(batch.appends, bases, holders)
        entries = self._write(batch, places, clock_ns)
        self.versions.update(versions)
        self.holders.update(holders)
        self.entries += entries
        return entries

    def note_clock(self, clock_ns: int) -> list[Entry]:
        """Put down that the clock ran backwards since the newest event, if it did."""
        backwards_ns = self.position.clock_ns - clock_ns
        if backwards_ns <= CLOCK_TOLERANCE_NS:
            return []
        jump = Append(stream=ENGINE_STREAM, events=(ClockJumped(backwards_ns=backwards_ns),))
        return self.admit(prepare((jump,), _CLOCK_CAUSE, None), clock_ns)

    def _version(self, stream: str) -> int:
        version = self.versions.get(stream)
        return self._ledger.version(stream) if version is None else version

    def _holder(self, key: str) -> str | None:
        return self.holders[key] if key in self.holders else self._ledger.holders.get(key)

    def _placed(self, appends: Sequence[Append]) -> tuple[list[int], dict[str, int]]:
        """The version before each append, and of each stream after all of them."""
        bases: list[int] = []
        after: dict[str, int] = {}
        for append in appends:
            version = after.get(append.stream)
            base = self._version(append.stream) if version is None else version
            if append.expected is not None and append.expected != base:
                raise VersionConflict(append.stream, append.expected, base)
            bases.append(base)
            after[append.stream] = base + len(append.events)
        return bases, after

    def _places(
        self, appends: Sequence[Append], bases: Sequence[int], holders: Mapping[str, str | None]
    ) -> list[_Place]:
        places = []
        for append, base in zip(appends, bases, strict=True):
            change = claims.change(append, self._holder, holders)
            for version, event in enumerate(append.events, start=base + 1):
                places.append(_Place(event, append.stream, version, change))
                change = claims.UNCHANGED  # the append's first event carries all of it
        return places

    def _write(self, batch: Batch, places: Sequence[_Place], clock_ns: int) -> list[Entry]:
        before, digest, last = self.position, self.position.hash, len(places) - 1
        sequence, time_ns = before.sequence, before.time_ns
        entries: list[Entry] = []
        for index, place in enumerate(places):
            sequence, time_ns = sequence + 1, max(clock_ns, time_ns + 1)
            record = Record(
                sequence=sequence,
                time_ns=time_ns,
                clock_ns=clock_ns,
                stream=place.stream,
                version=place.version,
                type=place.event.TYPE,
                schema=place.event.SCHEMA,
                data=batch.data[index],
                cause=batch.cause,
                take=place.change.take,
                release=place.change.release,
                reply=batch.reply if index == last else NO_REPLY,
            )
            stored = encode_record(record)
            digest = chain.link(digest, stored)
            entries.append(_entry(place, record, stored, digest))
        self.position = Position(sequence=sequence, time_ns=time_ns, clock_ns=clock_ns, hash=digest)
        return entries


def _entry(place: _Place, record: Record, stored: bytes, digest: bytes) -> Entry:
    return Entry(
        recorded=Recorded(
            sequence=record.sequence,
            time_ns=record.time_ns,
            clock_ns=record.clock_ns,
            stream=record.stream,
            version=record.version,
            event=place.event,
            cause=record.cause,
            reply=bytes(record.reply) or None,
            hash=digest,
        ),
        stored=stored,
        changes_claims=bool(record.take or record.release),
    )
