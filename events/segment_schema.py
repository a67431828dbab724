"""The tables of a log file; without their triggers a slip of any SQLite client could change history."""

import sqlite3
from pathlib import Path
from typing import Final

FORMAT: Final = 1

_SCHEMA: Final = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE log (id TEXT NOT NULL) STRICT;
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    type TEXT NOT NULL,
    command_id TEXT NOT NULL,
    replies INTEGER NOT NULL,  -- 1: it concludes its command
    claims INTEGER NOT NULL,  -- 1: claims change hands with it
    record BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_stream ON events (stream, version);
CREATE INDEX events_replies ON events (command_id) WHERE replies = 1;
CREATE INDEX events_claims ON events (sequence) WHERE claims = 1;
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER events_dense BEFORE INSERT ON events
    WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM events)
    BEGIN SELECT RAISE(ABORT, 'the log is dense'); END;
CREATE TRIGGER log_no_update BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log keeps its id'); END;
CREATE TRIGGER log_no_delete BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log keeps its id'); END;
"""


def create(path: Path, log_id: str) -> None:
    """Fill an empty file with the tables of a new log and make it durable (blocking)."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.executescript(f"BEGIN; {_SCHEMA}")
        connection.execute("INSERT INTO log VALUES (?)", (log_id,))
        connection.commit()
    finally:
        connection.close()
