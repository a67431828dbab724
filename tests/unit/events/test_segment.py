"""What SQLite's errors mean to those who use the log."""

import sqlite3

import pytest

from events.errors import EngineError, Unavailable
from events.log import LogBroken
from events.segment_reader import NoSpace, VersionTaken, translated


@pytest.mark.parametrize(
    ("code", "meaning", "text"),
    [
        (sqlite3.SQLITE_FULL, NoSpace, "no space left on device"),
        (sqlite3.SQLITE_BUSY, Unavailable, "locked by another program"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Unavailable, "locked by another program"),
        (sqlite3.SQLITE_IOERR_FSYNC, LogBroken, "the text of it (SQLITE_IOERR_FSYNC)"),
        (sqlite3.SQLITE_IOERR_WRITE, LogBroken, "can't be trusted any more"),
        (sqlite3.SQLITE_CORRUPT, LogBroken, "can't be trusted any more"),
        (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, LogBroken, "can't be trusted any more"),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, VersionTaken, "another program wrote"),
    ],
)
def test_errors_by_code(code: int, meaning: type[EngineError], text: str) -> None:
    names = {getattr(sqlite3, name): name for name in dir(sqlite3) if name.startswith("SQLITE_IOERR")}
    error = sqlite3.OperationalError("the text of it")
    error.sqlite_errorcode = code
    error.sqlite_errorname = names.get(code, "SQLITE_OTHER")
    result = translated(error)
    assert type(result) is meaning
    assert text in str(result)


def test_errors_without_a_code_break_the_log() -> None:
    assert type(translated(sqlite3.ProgrammingError("Cannot operate on a closed database."))) is LogBroken
