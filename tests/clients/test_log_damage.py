"""What a damaged log looks like to whoever runs the engine: refused by name, repaired by a flag, never silent."""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from events.chain import link
from events.codec import encode_record
from events.envelope import Recorded
from events.ledger import Entry
from events.log_directory import segments
from events.messages.system import EngineStopped
from events.segment_rows import rows_of
from events.segment_schema import LOG
from tests.engines import ROOT, EngineUnderTest
from tests.unit.events.damage import edit

pytestmark = pytest.mark.root

TIMEOUT_S = 120.0
SCHEMA_2 = """UPDATE events SET record = swapped(record, '"schema":1', '"schema":2') WHERE sequence = {}"""


@pytest.fixture
def subject() -> Iterator[EngineUnderTest]:
    engine = EngineUnderTest()
    try:
        engine.start()
        engine.docker("volume", "create", "first")
        engine.docker("volume", "create", "second")
        yield engine
    finally:
        engine.close()


def daemon(engine: EngineUnderTest, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a daemon that is expected to end by itself."""
    command = [sys.executable, "-m", "daemon", "--instance", engine.instance, "-H", f"unix://{engine.socket}"]
    command += ["--data-root", str(engine.data_root), "--exec-root", str(engine.exec_root), *more]
    return subprocess.run(
        ["nsenter", f"--net=/run/netns/{engine.namespace}", *command],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=ROOT,
        check=False,
    )


def log_file(engine: EngineUnderTest) -> Path:
    (path,) = segments(engine.data_root / "log")
    return path


def head(engine: EngineUnderTest) -> int:
    with closing(sqlite3.connect(log_file(engine))) as connection:
        return int(connection.execute("SELECT max(sequence) FROM events").fetchone()[0])


def test_a_changed_event_is_refused_and_repaired(subject: EngineUnderTest) -> None:
    subject.kill()  # no snapshot: all of it is checked at boot
    last = head(subject)
    edit(log_file(subject), SCHEMA_2.format(last - 1))
    refused = daemon(subject)
    assert refused.returncode == 1
    assert f"event {last - 1} does not fit the hash chain" in refused.stderr
    assert "shiplogd --repair" in refused.stderr
    done = daemon(subject, "--repair")
    assert done.returncode == 0, done.stderr
    assert f"kept: events 1 to {last - 2}, which verify" in done.stdout
    assert f"lost: events {last - 1} to {last}" in done.stdout
    assert "volume/second" in done.stdout
    assert daemon(subject, "--repair").stdout == "the log verifies: nothing was changed\n"
    subject.start()
    assert subject.out("volume", "ls", "-q").split() == ["first"]
    subject.docker("volume", "create", "third")
    subject.restart()
    assert subject.out("volume", "ls", "-q").split() == ["first", "third"]
    assert (subject.data_root / "volumes" / "second").exists(), "nobody's data goes with the events"


def test_a_cut_tail_is_refused_down_to_the_checkpoint(subject: EngineUnderTest) -> None:
    assert subject.stop() == 0
    last = head(subject)
    edit(log_file(subject), f"DELETE FROM events WHERE sequence = {last}")
    for _ in range(2):  # with the snapshot, which knows too, and without
        refused = daemon(subject)
        assert refused.returncode == 1
        assert "its end was cut off" in refused.stderr
        for path in (subject.data_root / "snapshots").iterdir():
            path.unlink()
    done = daemon(subject, "--repair")
    assert f"lost: events {last} to {last}" in done.stdout
    subject.start()
    assert subject.out("volume", "ls", "-q").split() == ["first", "second"]


def test_old_damage_is_found_while_the_engine_runs(subject: EngineUnderTest) -> None:
    assert subject.stop() == 0
    edit(log_file(subject), SCHEMA_2.format(2))
    with contextlib.suppress(AssertionError):  # it boots from the snapshot; whether it answers before it ends is a race
        subject.start()
    assert subject.process is not None
    assert subject.process.wait(TIMEOUT_S) == 1
    assert "event 2 does not fit the hash chain" in subject.log()


def test_a_running_engine_is_not_repaired(subject: EngineUnderTest) -> None:
    refused = daemon(subject, "--repair")
    assert refused.returncode == 1
    assert "in use by process" in refused.stderr


def test_a_log_of_a_newer_engine_is_refused(subject: EngineUnderTest) -> None:
    assert subject.stop() == 0
    with closing(sqlite3.connect(log_file(subject))) as connection:
        connection.execute("PRAGMA user_version = 99")
    refused = daemon(subject)
    assert refused.returncode == 1
    assert "has format 99, this engine knows 2: it was written by a newer one" in refused.stderr
    kept = daemon(subject, "--repair")
    assert kept.returncode == 1
    assert "has format 99" in kept.stderr


def test_an_event_of_a_newer_engine_is_named_and_refused(subject: EngineUnderTest) -> None:
    subject.kill()
    with closing(sqlite3.connect(log_file(subject))) as connection:
        rows = rows_of(*connection.execute(LOG).fetchone())
        sequence, frame, previous = connection.execute(
            "SELECT sequence, record, hash FROM events ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
        record = rows.record(frame)
        newer = msgspec.structs.replace(record, sequence=sequence + 1, version=1, stream="x/1", type="container.flown")
        stored = encode_record(newer)
        entry = Entry(
            recorded=Recorded(
                sequence=sequence + 1,
                time_ns=record.time_ns,
                clock_ns=record.clock_ns,
                stream="x/1",
                version=1,
                event=EngineStopped(reason="any"),
                cause=record.cause,
                reply=bytes(record.reply) or None,
                hash=link(previous, stored),
            ),
            stored=stored,
            changes_claims=bool(record.take or record.release),
        )
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", rows.made(entry))
        connection.commit()
    refused = daemon(subject)
    assert refused.returncode == 1
    assert f"event {sequence + 1}: event type container.flown is unknown to this engine" in refused.stderr
    assert "the log was written by a newer one, use that" in refused.stderr
    assert "--repair" not in refused.stderr
