"""The folded state as bytes; without it the time to boot, and to look at the past, would grow with the history.

A snapshot holds what the log says up to one event, secrets sealed as they are there. It can be deleted at any time and
is made again from the log; it names the log and the hash of its event, so it is never taken for another log's.
Equal states give equal bytes.

    SHA-256 of the rest | length of the header (4 bytes, big-endian) | header, JSON | chunks, each
    length (4 bytes) | MessagePack [table, rows], compressed (zstd)
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, get_args

import msgspec
import zstandard

from events.errors import SystemFailure
from events.ledger import Position
from events.projections.state import State
from events.projections.tables import is_nested

FORMAT: Final = 1
CLAIMS: Final = "claims"

_CHUNK_ROWS: Final = 32
_PAUSE_S: Final = 0.0005
_LENGTH_BYTES: Final = 4
_DIGEST_BYTES: Final = 32
_LEVEL: Final = 1
_MAXIMUM_CHUNK_BYTES: Final = 1 << 31
_PACKAGE: Final = Path(__file__).parent
_FOLDS: Final = (  # this module and all that it imports, directly or not: tests compare them with the imports
    "__init__.py",
    "base.py",
    "chain.py",
    "claims.py",
    "codec.py",
    "envelope.py",
    "errors.py",
    "ledger.py",
    "log.py",
    "messages/*.py",
    "projections/*.py",
    "sealed.py",
    "snapshots.py",
)

_encoder = msgspec.msgpack.Encoder(order="deterministic")


class SnapshotUnusable(SystemFailure):
    """A file that is damaged, or was written by an engine whose folds were others: it is as good as deleted."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot is of."""

    format: int = FORMAT
    log_id: str
    position: Position
    folds: str  # fingerprint of the code that made it


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A state; `tables` are those of `State.capture`, `holders` are the claims (key -> stream)."""

    log_id: str
    position: Position
    holders: dict[str, str]
    tables: dict[str, dict[Any, Any]]

    def state(self) -> State:
        """The state itself. Its tables are this snapshot's: make one only."""
        state = State()
        state.restore(self.position.sequence, self.tables)
        return state


def write(file: BinaryIO, snapshot: Snapshot) -> None:
    """Write to an empty file (blocking).

    Between two chunks the thread lets others run: the engine serves requests meanwhile.
    """
    header = Header(log_id=snapshot.log_id, position=snapshot.position, folds=fold_fingerprint())
    encoded = msgspec.json.encode(header)
    digest = hashlib.sha256()
    file.write(bytes(_DIGEST_BYTES))
    for piece in (len(encoded).to_bytes(_LENGTH_BYTES, "big"), encoded, *_chunks(snapshot)):
        digest.update(piece)
        file.write(piece)
    file.seek(0)
    file.write(digest.digest())


def _chunks(snapshot: Snapshot) -> Iterator[bytes]:
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    for name, kind in _tables().items():
        table = snapshot.holders if name == CLAIMS else snapshot.tables[name]
        rows = iter(table.items())
        while chunk := list(islice(rows, _CHUNK_ROWS)):
            told = [(key, list(value.items())) for key, value in chunk] if is_nested(kind) else chunk
            packed = compressor.compress(_encoder.encode((name, told)))
            yield len(packed).to_bytes(_LENGTH_BYTES, "big") + packed
            time.sleep(_PAUSE_S)


def read_header(file: BinaryIO) -> Header:
    """What a file claims to be of; `read` tells whether that is so. Raises SnapshotUnusable."""
    file.seek(_DIGEST_BYTES)
    length = int.from_bytes(file.read(_LENGTH_BYTES), "big")
    try:
        return msgspec.json.decode(file.read(min(length, 1 << 16)), type=Header)
    except msgspec.MsgspecError as error:
        raise SnapshotUnusable(f"the snapshot's header can't be read: {error}") from error


def read(path: Path) -> Snapshot:
    """Read and check a file (blocking). Raises SnapshotUnusable, OSError."""
    with path.open("rb") as file:
        content = file.read()
        if hashlib.sha256(memoryview(content)[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
            raise SnapshotUnusable(f"{path.name} is damaged")
        header = read_header(file)
    if header.format != FORMAT or header.folds != fold_fingerprint():
        raise SnapshotUnusable(f"{path.name} was made by another version of the engine")
    start = (
        _DIGEST_BYTES + _LENGTH_BYTES + int.from_bytes(content[_DIGEST_BYTES : _DIGEST_BYTES + _LENGTH_BYTES], "big")
    )
    tables: dict[str, dict[Any, Any]] = {name: {} for name in _tables()}
    try:
        for name, rows in _decoded(memoryview(content)[start:]):
            tables[name].update(rows)
    except (msgspec.MsgspecError, zstandard.ZstdError, KeyError) as error:
        raise SnapshotUnusable(f"{path.name} can't be read: {error}") from error
    return Snapshot(log_id=header.log_id, position=header.position, holders=tables.pop(CLAIMS), tables=tables)


def _decoded(chunks: memoryview) -> Iterator[tuple[str, Any]]:
    decompressor = zstandard.ZstdDecompressor()
    decoders = {name: msgspec.msgpack.Decoder(tuple[str, _rows_type(kind)]) for name, kind in _tables().items()}  # type: ignore[misc]
    nested = {name for name, kind in _tables().items() if is_nested(kind)}
    peek = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])
    at = 0
    while at < len(chunks):
        length = int.from_bytes(chunks[at : at + _LENGTH_BYTES], "big")
        at += _LENGTH_BYTES
        packed = decompressor.decompress(chunks[at : at + length], max_output_size=_MAXIMUM_CHUNK_BYTES)
        at += length
        name = peek.decode(packed)[0]
        rows = decoders[name].decode(packed)[1]
        yield name, [(key, dict(value)) for key, value in rows] if name in nested else rows


def _rows_type(kind: Any) -> Any:  # noqa: ANN401  # types, as typing spells them
    key, value = get_args(kind)
    if is_nested(kind):
        inner_key, inner_value = get_args(value)
        return list[tuple[key, list[tuple[inner_key, inner_value]]]]  # type: ignore[valid-type]
    return list[tuple[key, value]]  # type: ignore[valid-type]


@cache
def _tables() -> Mapping[str, Any]:
    return {CLAIMS: dict[str, str], **State().table_types()}


@cache
def fold_fingerprint() -> str:
    """Of the folds: another version of them may make another state of the same log."""
    return source_fingerprint(_PACKAGE)


def source_fingerprint(package: Path) -> str:
    """Of the source of the folds and of what they stand on; what else changes in the package leaves it as it is."""
    digest = hashlib.sha256()
    for path in (path for pattern in _FOLDS for path in sorted(package.glob(pattern))):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def fingerprint(state: State) -> str:
    """Equal for equal states, different for different ones: what the snapshot's bytes are, hashed."""
    snapshot = Snapshot(
        log_id="", position=Position(sequence=state.sequence, hash=b""), holders={}, tables=state.capture()
    )
    digest = hashlib.sha256(str(state.sequence).encode())
    for name, kind in _tables().items():
        for key, value in snapshot.tables.get(name, {}).items():
            told = list(value.items()) if is_nested(kind) else value
            digest.update(_encoder.encode((name, key, told)))
    return digest.hexdigest()
