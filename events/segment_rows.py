"""An event as a row of a log file; without it what is hashed and how it is kept would be tangled.

A row's `record` unpacks to exactly the bytes that are hashed. Its other columns are indexes of them; `checked` compares
them. Streams and commands are found by a key of eight bytes: a hash of the name, keyed with the log's id, so that
nobody can choose names that meet.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from events import chain, codec
from events.codec import Record
from events.compression import Records
from events.envelope import Recorded
from events.ledger import Entry, Position
from events.log import LogBroken, NewerLog
from events.segment_schema import FORMAT, Identity

_KEY: Final = struct.Struct(">q")
_KEPT_KEYS: Final = 2000  # of streams: events of one are near each other

Row = Sequence[Any]  # sequence, stream, version, command, claims, record, hash


class UnknownFormat(NewerLog):
    """A file that this engine doesn't read; that doesn't make it damaged."""

    def __init__(self, path: Path, version: int) -> None:
        newer = ": it was written by a newer one, use that" if version > FORMAT else ""
        super().__init__(f"{path} has format {version}, this engine knows {FORMAT}{newer}")


class _ToldCause(msgspec.Struct, frozen=True, gc=False):
    command_id: str


class _Told(msgspec.Struct, frozen=True, gc=False):
    """What of a record its columns tell too; reading no more of it makes verification twice as fast."""

    sequence: int
    stream: str
    version: int
    cause: _ToldCause
    take: msgspec.Raw = codec.NO_REPLY
    release: msgspec.Raw = codec.NO_REPLY
    reply: msgspec.Raw = codec.NO_REPLY


_read_told = msgspec.json.Decoder(_Told).decode
Told = TypeVar("Told", Record, _Told)


class _Keys(dict[str, int]):
    """Keys of names; those that were asked for by index are kept a while."""

    def __init__(self, origin: str) -> None:
        self._keyed = blake2b(digest_size=_KEY.size, key=origin.encode()[:64])

    def made(self, name: str) -> int:
        """The key of a name."""
        keyed = self._keyed.copy()
        keyed.update(name.encode())
        (key,) = _KEY.unpack(keyed.digest())
        return int(key)

    def __missing__(self, name: str) -> int:
        if len(self) >= _KEPT_KEYS:
            self.clear()
        self[name] = key = self.made(name)
        return key


class Rows:
    """Rows of one file."""

    def __init__(self, identity: Identity, base: Position, dictionary: bytes | None = None) -> None:
        """Without the dictionary names have keys, and frames can't be opened.

        Raises LogBroken for a file that begins as no log of this id does."""
        if base.sequence == 0 and base != Position.genesis(identity.origin):
            raise LogBroken("event 1 does not fit the hash chain: its file doesn't begin as this log does")
        self.identity = identity
        self.base = base
        self._records = Records(dictionary or b"")
        self._keys = _Keys(identity.origin)

    def key(self, name: str) -> int:
        """Under which a stream or command is found."""
        return self._keys.made(name)

    def made(self, entry: Entry) -> tuple[object, ...]:
        """The row of an event that was admitted."""
        event = entry.recorded
        return (
            event.sequence,
            self.key(event.stream),
            event.version,
            None if event.reply is None else self.key(event.cause.command_id),
            entry.changes_claims,
            self._records.pack(entry.stored),
            event.hash,
        )

    def repacked(self, row: Row, source: "Rows") -> Row:
        """A row of another file of this log, as this one holds it."""
        return (*row[:5], self._records.pack(source.stored(row[5])), row[6])

    def stored(self, frame: bytes) -> bytes:
        """The bytes that are hashed. Raises LogBroken."""
        return self._records.unpack(frame)

    def record(self, frame: bytes) -> Record:
        """An event's fields. Raises LogBroken."""
        return codec.decode_record(self._records.unpack(frame))

    def recorded(self, frame: bytes, digest: bytes) -> Recorded:
        """An event. Raises LogBroken."""
        return codec.recorded(self._records.unpack(frame), digest)

    def checked(self, rows: Sequence[Row], previous: bytes, after: int) -> list[Record]:
        """The records of rows that must follow on event `after` with hash `previous`, columns included.

        Raises LogBroken that names the first bad sequence.
        """
        return [record for _, record in self._checked(rows, previous, after, codec.decode_record)]

    def checked_stored(self, rows: Sequence[Row], previous: bytes, after: int) -> list[bytes]:
        """The same; the bytes that are hashed."""
        return [stored for stored, _ in self._checked(rows, previous, after, _read_told)]

    def check(self, rows: Sequence[Row], previous: bytes, after: int) -> None:
        """The same, and nothing is kept."""
        for _ in self._checked(rows, previous, after, _read_told):
            pass

    def _checked(
        self, rows: Sequence[Row], previous: bytes, after: int, read: Callable[[bytes], Told]
    ) -> Iterator[tuple[bytes, Told]]:
        if not rows:
            raise LogBroken(f"event {after + 1} is missing from the log")
        streams, key, unpack, link = self._keys, self._keys.made, self._records.unpack, chain.link
        for expected, (sequence, stream, version, command, claims, frame, digest) in enumerate(rows, start=after + 1):
            if sequence != expected:
                raise LogBroken(f"event {expected} is missing from the log")
            try:
                stored = unpack(frame)
                told = read(stored) if link(previous, stored) == digest else None
            except LogBroken as error:
                raise LogBroken(f"event {expected}: {error}") from error
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise LogBroken(f"event {expected}: a stored event can't be read: {error}") from error
            if told is None:
                raise LogBroken(chain.unfit(expected))
            if (
                told.sequence != sequence
                or told.version != version
                or streams[told.stream] != stream
                or (key(told.cause.command_id) if told.reply else None) != command
                or bool(told.take or told.release) != claims
            ):
                raise LogBroken(f"event {expected} has index columns that differ from its record")
            previous = digest
            yield stored, told


def rows_of(log_id: str, earlier: bytes, base: bytes, dictionary: bytes) -> Rows:
    """By what a file says of itself (table `log`). Raises LogBroken."""
    try:
        identity = Identity(log_id, msgspec.json.decode(earlier, type=tuple[tuple[str, int], ...]))
        return Rows(identity, msgspec.json.decode(base, type=Position), dictionary)
    except msgspec.MsgspecError as error:
        raise LogBroken(f"a log file's beginning can't be read: {error}") from error
