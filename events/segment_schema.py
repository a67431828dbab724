"""The tables of a log file; without their triggers a slip of any SQLite client could change history."""

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from events.compression import new_dictionary
from events.ledger import Position

FORMAT: Final = 2
LOG: Final = "SELECT id, earlier, base, dictionary FROM log"

_SCHEMA: Final = """
PRAGMA user_version = {format};
CREATE TABLE log (
    id TEXT NOT NULL,
    earlier BLOB NOT NULL,  -- JSON: ids that the log had before it was repaired, and the last event kept from each
    base BLOB NOT NULL,  -- JSON: where the log stood before this file's first event
    dictionary BLOB NOT NULL  -- of the frames in `record`
) STRICT;
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,  -- key of the stream's name
    version INTEGER NOT NULL,
    command INTEGER,  -- key of the command's id, where the event concludes it
    claims INTEGER NOT NULL,  -- 1: claims change hands with it
    record BLOB NOT NULL,  -- the event's JSON, a zstd frame
    hash BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_stream ON events (stream, version);
CREATE INDEX events_command ON events (command) WHERE command IS NOT NULL;
CREATE INDEX events_claims ON events (sequence) WHERE claims = 1;
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER events_dense BEFORE INSERT ON events
    WHEN NEW.sequence <> (SELECT coalesce(max(sequence), {before}) + 1 FROM events)
    BEGIN SELECT RAISE(ABORT, 'the log is dense'); END;
CREATE TRIGGER log_no_update BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log keeps its id'); END;
CREATE TRIGGER log_no_delete BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log keeps its id'); END;
"""


class Identity(msgspec.Struct, frozen=True):
    """Which log a file is of: its id, and the ids it had before, each with the last event that a repair kept."""

    id: str
    earlier: tuple[tuple[str, int], ...] = ()

    @property
    def origin(self) -> str:
        """The id with which its first event was written: the chain of hashes begins with it."""
        return self.earlier[0][0] if self.earlier else self.id


def create(path: Path, identity: Identity, base: Position) -> None:
    """Fill an empty file with the tables of a log that goes on after `base`, and make it durable (blocking)."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.executescript(f"BEGIN; {_SCHEMA.format(format=FORMAT, before=base.sequence)}")
        row = (identity.id, *map(msgspec.json.encode, (identity.earlier, base)), new_dictionary())
        connection.execute("INSERT INTO log VALUES (?, ?, ?, ?)", row)
        connection.commit()
    finally:
        connection.close()
