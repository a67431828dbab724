"""Reads a copied log without the engine: its files, its events, their hashes. Shares no code with what wrote them.

A log is a directory of files `log-<first sequence>.sqlite`, the older ones perhaps archived (`.sqlite.zst`: a skippable
zstd frame that describes the file, then the file). A file is an SQLite database: table `log` says which log it is of
and where it begins, table `events` has the events. `record` is a zstd frame, made with the dictionary in table `log`,
of the JSON that is hashed: hash(n) = SHA-256(hash(n - 1) || JSON of event n), hash(0) = SHA-256("shiplog log " || id).
"""

import base64
import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

FORMAT = 2


class AuditFailed(Exception):
    """The log isn't what it should be, or can't be read; the text says what, where, and what to do."""


@dataclass(frozen=True)
class Beginning:
    """What a file says of itself. `earlier` are the ids before repairs, each with the last event kept."""

    log: str
    earlier: tuple[tuple[str, int], ...]
    sequence: int  # of the event before the file's first
    digest: bytes  # of that event
    dictionary: bytes

    @property
    def origin(self) -> str:
        """The id that the chain begins with."""
        return self.earlier[0][0] if self.earlier else self.log


def files(place: Path) -> list[Path]:
    """The files of a log, oldest first; `place` is a directory, or one file. Raises AuditFailed."""
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise AuditFailed(f"{place}: there is nothing; give the directory of a copied log, or a file of it")
    found = {path.name.partition(".")[0]: path for path in sorted(place.glob("log-*.sqlite"))}
    found |= {path.name.partition(".")[0]: path for path in sorted(place.glob("log-*.sqlite.zst"))}
    if not found:
        raise AuditFailed(f"{place}: there is no file of a log (log-*.sqlite); copy the log directory as a whole")
    return [found[name] for name in sorted(found)]


@contextmanager
def opened(path: Path, room: Path) -> Iterator[sqlite3.Connection]:
    """A copy of a file below `room`, as a database: the file itself is never written to. Raises AuditFailed."""
    with tempfile.TemporaryDirectory(dir=room) as place:
        copy = Path(place, "log.sqlite")
        if path.suffix == ".zst":
            _unpack(path, copy)
        else:
            for suffix in ("", "-wal"):
                source = path.with_name(path.name + suffix)
                if source.exists():
                    shutil.copyfile(source, copy.with_name(copy.name + suffix))
        try:
            with closing(sqlite3.connect(copy)) as connection:
                ((version,),) = connection.execute("PRAGMA user_version").fetchall()
                if version != FORMAT:
                    raise AuditFailed(
                        f"{path}: the file has format {version} and this program knows {FORMAT}: "
                        + ("use a newer program" if version > FORMAT else "it isn't a file of a log, or an old one")
                    )
                yield connection
        except sqlite3.Error as error:
            raise AuditFailed(f"{path}: damaged, or no file of a log ({error}); take another copy") from error


def _unpack(path: Path, target: Path) -> None:
    try:
        with path.open("rb") as packed, target.open("wb") as written:
            decompressor = zstandard.ZstdDecompressor()
            with decompressor.stream_reader(packed, read_across_frames=True) as content:
                shutil.copyfileobj(content, written)
    except zstandard.ZstdError as error:
        raise AuditFailed(f"{path}: the archive can't be unpacked ({error}); take another copy") from error


def beginning(path: Path, connection: sqlite3.Connection) -> Beginning:
    """What the file says of itself. Raises AuditFailed."""
    try:
        ((log, earlier, base, dictionary),) = connection.execute("SELECT id, earlier, base, dictionary FROM log")
        where: dict[str, Any] = json.loads(base)
        return Beginning(
            log=log,
            earlier=tuple((str(each), int(kept)) for each, kept in json.loads(earlier)),
            sequence=int(where["sequence"]),
            digest=_base64(where["hash"]),
            dictionary=dictionary,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise AuditFailed(f"{path}: what the file says of itself can't be read ({error}); take another copy") from error


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def genesis(log: str) -> bytes:
    """The hash before the first event."""
    return hashlib.sha256(b"shiplog log " + log.encode()).digest()
