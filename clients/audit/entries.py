"""The log as an audit reads it: one entry for every command, with its caller, objects, outcome and duration."""

from collections.abc import AsyncIterator, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from clients.errors import Unusable
from clients.subscribe.filters import is_caller, is_object
from events.causes import root_of
from events.envelope import Actor
from events.lines import Line
from events.outcomes import DONE, FAILED, OUTCOMES, REFUSED, REQUESTED, told_by


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A command and what became of it. Times are the wall clock's, in ns."""

    first: int  # sequence of its first event
    last: int
    began_ns: int
    duration_ns: int
    caller: Actor
    command: str
    command_id: str
    correlation_id: str
    objects: tuple[str, ...]  # streams, the first is what it is about
    names: tuple[str, ...] = ()  # of these, as far as they are known
    outcome: str  # requested (still open), done, failed, refused
    reason: str = ""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries: any value of a field, all fields; an empty field lets everything pass."""

    callers: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()  # names too
    commands: tuple[str, ...] = ()  # container.start, container.*, or a verb alone
    outcomes: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises Unusable for an outcome that there isn't."""
        for outcome in self.outcomes:
            if outcome not in OUTCOMES:
                raise Unusable(f"{outcome} is no outcome: there are {', '.join(OUTCOMES)}")

    def pass_(self, entry: Entry) -> bool:
        """Whether an entry is wanted."""
        return (
            (not self.outcomes or entry.outcome in self.outcomes)
            and (not self.commands or any(_is_command(entry.command, each) for each in self.commands))
            and (not self.callers or any(is_caller(entry.caller, each) for each in self.callers))
            and (not self.objects or any(_is_about(entry, each) for each in self.objects))
        )


def _is_command(command: str, wanted: str) -> bool:
    return fnmatchcase(command, wanted) or command.rpartition(".")[2] == wanted


def _is_about(entry: Entry, wanted: str) -> bool:
    return wanted in entry.names or any(is_object(stream, wanted) for stream in entry.objects)


SETTLED_EVENTS: Final = 1000  # what has no answer of its own is taken for concluded so many events later
_NO_REPLY: Final = msgspec.Raw(b"")


class _Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Who, and under which id."""

    actor: Actor
    command_id: str
    correlation_id: str


class _Data(msgspec.Struct, frozen=True, kw_only=True):
    """What of events' own fields an audit tells."""

    name: str = ""
    reference: str = ""
    error: str = ""
    reason: str = ""
    command: str = ""


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """What of a record is needed."""

    sequence: int
    time_ns: int
    clock_ns: int
    stream: str
    type: str
    cause: _Cause
    data: _Data
    reply: msgspec.Raw = _NO_REPLY  # it concludes the command


_records = msgspec.json.Decoder(_Record)


class _Open:
    """A command whose events are being gathered."""

    def __init__(self, record: _Record) -> None:
        self.first = self.last = record
        self.command = told_by(record.type).command
        self.streams: dict[str, None] = {}
        self.intents: set[str] = set()
        self.outcome, self.reason = DONE, ""

    def take(self, record: _Record) -> None:
        """One more of its events."""
        self.last = record
        self.streams[record.stream] = None
        told = told_by(record.type)
        is_own = "." not in record.cause.command_id
        if told.outcome == REQUESTED:
            self.intents.add(told.command)
            return
        self.intents.discard(told.command)
        if is_own:
            self.command = record.data.command or told.command
        if told.outcome in (FAILED, REFUSED) and is_own:
            self.outcome = told.outcome
            self.reason = record.data.error or record.data.reason

    def entry(self, names: dict[str, str]) -> Entry:
        """What is known of it now."""
        first = self.first
        noun = self.command.partition(".")[0]
        streams = sorted(self.streams, key=lambda stream: not stream.startswith(f"{noun}/"))
        return Entry(
            first=first.sequence,
            last=self.last.sequence,
            began_ns=first.clock_ns,
            duration_ns=self.last.time_ns - first.time_ns,
            caller=first.cause.actor,
            command=self.command,
            command_id=root_of(first.cause.command_id) or f"event-{first.sequence}",
            correlation_id=first.cause.correlation_id,
            objects=tuple(streams),
            names=tuple(dict.fromkeys(names[stream] for stream in streams if stream in names)),
            outcome=REQUESTED if self.intents and self.outcome == DONE else self.outcome,
            reason=self.reason,
        )


class Audit:
    """A fold over lines, in order, that gives an entry for each command once it is concluded.

    The event with the answer concludes it. What policies and the engine itself do has no answer: it is concluded when
    nothing of it is open and nothing followed for a while.
    """

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._names: dict[str, str] = {}  # stream -> the object's newest name

    def feed(self, lines: Iterable[Line]) -> Iterator[Entry]:
        """Entries that these events conclude."""
        for line in lines:
            record = _records.decode(line.record)
            if (name := record.data.name or record.data.reference) and record.stream.count("/"):
                self._names[record.stream] = name
            key = root_of(record.cause.command_id) or f"event-{record.sequence}"
            if (command := self._open.get(key)) is None:
                command = self._open[key] = _Open(record)
            command.take(record)
            if record.reply != _NO_REPLY and "." not in record.cause.command_id:
                yield self._open.pop(key).entry(self._names)
            if record.sequence % SETTLED_EVENTS == 0:
                yield from self._settled(record.sequence - SETTLED_EVENTS)

    def _settled(self, before: int) -> Iterator[Entry]:
        settled = [key for key, each in self._open.items() if not each.intents and each.last.sequence <= before]
        for key in settled:
            yield self._open.pop(key).entry(self._names)

    def rest(self) -> Iterator[Entry]:
        """What is still open."""
        for command in self._open.values():
            yield command.entry(self._names)
        self._open.clear()


async def entries(
    batches: AsyncIterator[list[Line]], wanted: Wanted | None = None, *, to_the_end: bool = True
) -> AsyncIterator[Entry]:
    """Entries of a log in the order of their conclusion, open ones last (with `to_the_end`). Raises Unusable."""
    chosen, audit = wanted or Wanted(), Audit()
    chosen.check()
    async for batch in batches:
        for entry in audit.feed(batch):
            if chosen.pass_(entry):
                yield entry
    if to_the_end:
        for entry in audit.rest():
            if chosen.pass_(entry):
                yield entry
