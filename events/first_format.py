"""Logs of the first file format, written anew in the present one: events, hashes and the log's id stay what they are.

The first format kept each event's JSON as it is, and names beside it.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from events import codec
from events.ledger import Entry, Position
from events.log_directory import create_file, sync_directory, sync_file
from events.segment_reader import translated
from events.segment_rows import Rows
from events.segment_schema import Identity, create

FIRST_FORMAT: Final = 1
_INSERT: Final = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)"
_PAGE_ROWS: Final = 1000


def upgrade(path: Path) -> None:
    """Replace a file of the first format (blocking); any other stays. Raises LogBroken, OSError."""
    try:
        with closing(sqlite3.connect(path)) as source:
            ((version,),) = source.execute("PRAGMA user_version").fetchall()
            if version != FIRST_FORMAT:
                return
            draft = path.with_suffix(".new")
            _copy(source, draft)
    except sqlite3.Error as error:
        raise translated(error) from error
    sync_file(draft)
    draft.rename(path)
    for beside in ("-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    sync_directory(path.parent)


def _copy(source: sqlite3.Connection, draft: Path) -> None:
    source.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    ((log_id,),) = source.execute("SELECT id FROM log").fetchall()
    create_file(draft)
    create(draft, Identity(log_id), Position.genesis(log_id))
    with closing(sqlite3.connect(draft)) as target:
        ((dictionary,),) = target.execute("SELECT dictionary FROM log").fetchall()
        rows = Rows(Identity(log_id), Position.genesis(log_id), dictionary)
        found = source.execute("SELECT record, hash FROM events ORDER BY sequence")
        while page := found.fetchmany(_PAGE_ROWS):
            target.executemany(_INSERT, [rows.made(_entry(stored, digest)) for stored, digest in page])
        target.commit()


def _entry(stored: bytes, digest: bytes) -> Entry:
    record = codec.decode_record(stored)
    return Entry(
        recorded=codec.decoded(record, digest), stored=stored, changes_claims=bool(record.take or record.release)
    )
