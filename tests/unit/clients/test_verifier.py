"""The independent verifier: what it accepts, and that whatever was done to a log has it say so."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from clients.verifier.__main__ import main
from clients.verifier.records import AuditFailed
from clients.verifier.verify import Audit
from events.chain import link
from events.checkpoints import Signer
from events.compression import Records
from events.ledger import Position
from events.log import Append
from events.log_directory import segments
from events.messages.container import ContainerCreated
from events.repair import repair
from events.segment_schema import Identity, create
from events.sqlite_log import SqliteLog
from tests.fakes.clock import SetClock
from tests.unit.events.damage import CAUSE, append, change, edit, file_of, filled, open_log


async def signed(directory: Path, count: int = 20) -> tuple[Path, Path]:
    """A log with a checkpoint of its newest event; the public key and the checkpoints."""
    await filled(directory, count)
    signer = Signer.open(directory / "checkpoints")
    async with open_log(directory) as log:
        signer.keep(signer.sign(log.id, log.position, now_ns=1))
    return directory / "checkpoints" / "public.pem", directory / "checkpoints" / "checkpoints.ndjson"


def audit(directory: Path, *more: object) -> int:
    return main([str(directory / "log"), *map(str, more)])


async def test_a_true_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, checkpoints = await signed(tmp_path)
    assert audit(tmp_path) == 0
    assert "events 1 to 20 in 3 files are complete and unchanged\nno checkpoint was given" in capsys.readouterr().out
    assert audit(tmp_path, "--key", key, "--checkpoints", checkpoints) == 0
    assert "it bears out 1 checkpoints, the newest of event 20" in capsys.readouterr().out
    async with open_log(tmp_path) as log:
        await log.archive(log.head)
        await append(log, 21)
    assert audit(tmp_path, "--key", key, "--checkpoints", checkpoints) == 0
    assert main([str(segments(tmp_path / "log")[0])]) == 0


@pytest.mark.parametrize("sequence", [1, 8, 9, 20])
async def test_a_changed_event(tmp_path: Path, sequence: int, capsys: pytest.CaptureFixture[str]) -> None:
    await filled(tmp_path)
    change(tmp_path, sequence)
    assert audit(tmp_path) == 1
    assert f"event {sequence} doesn't fit the chain of hashes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM events WHERE sequence = 10", "event 10 is missing"),
        ("UPDATE events SET hash = randomblob(32) WHERE sequence = 11", "event 11 doesn't fit"),
        ("UPDATE events SET record = x'00' WHERE sequence = 11", "event 11 can't be unpacked"),
        ("UPDATE log SET id = 'another'", "the file is of another log"),
        ("PRAGMA user_version = 3", "the file has format 3 and this program knows 2: use a newer program"),
        ("UPDATE log SET base = x'00'", "what the file says of itself can't be read"),
    ],
)
async def test_what_was_done_to_a_file(
    tmp_path: Path, statement: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await filled(tmp_path)
    edit(file_of(tmp_path, 10), statement)
    assert audit(tmp_path) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("at_once", [1, 2, 3])
async def test_the_first_bad_event_is_named_when_several_files_are_bad(tmp_path: Path, at_once: int) -> None:
    await filled(tmp_path)
    change(tmp_path, 20)
    edit(file_of(tmp_path, 10), "UPDATE events SET record = x'00' WHERE sequence = 10")
    with pytest.raises(AuditFailed, match="event 10 can't be unpacked"):
        Audit([]).run(tmp_path / "log", at_once)
    edit(file_of(tmp_path, 10), "UPDATE log SET id = 'another'")
    with pytest.raises(AuditFailed, match="the file is of another log"):
        Audit([]).run(tmp_path / "log", at_once)
    change(tmp_path, 4)
    with pytest.raises(AuditFailed, match="event 4 doesn't fit"):
        Audit([]).run(tmp_path / "log", at_once)


@pytest.mark.parametrize("at_once", [1, 3])
async def test_a_file_that_cant_be_read_is_told_after_what_is_wrong_before_it(tmp_path: Path, at_once: int) -> None:
    await filled(tmp_path)
    file_of(tmp_path, 10).write_bytes(b"hello" * 1000)
    with pytest.raises(AuditFailed, match=r"009\.sqlite: damaged, or no file of a log"):
        Audit([]).run(tmp_path / "log", at_once)
    change(tmp_path, 4)
    with pytest.raises(AuditFailed, match="event 4 doesn't fit"):
        Audit([]).run(tmp_path / "log", at_once)


@pytest.mark.parametrize(
    "record",
    [
        b'{"sequence":10,"data":"\xff"}',
        b'{"sequence":10,"data":01}',
        b'{"sequence":10} ,',
        b'{"sequence":"10"}',
        b'{"number":10}',
        b"[10]",
    ],
)
async def test_a_record_that_is_no_record(tmp_path: Path, record: bytes) -> None:
    await filled(tmp_path, 10)
    rewrite(tmp_path, 10, record)
    with pytest.raises(AuditFailed, match="event 10 can't be read"):
        Audit([]).run(tmp_path / "log")


async def test_a_record_that_says_that_it_is_another(tmp_path: Path) -> None:
    await filled(tmp_path, 10)
    rewrite(tmp_path, 10, b'{"sequence":9}')
    with pytest.raises(AuditFailed, match="event 10 says that it is event 9: events were moved"):
        Audit([]).run(tmp_path / "log")


def rewrite(directory: Path, sequence: int, record: bytes) -> None:
    """Other bytes of an event, and the hash that fits them."""
    path = file_of(directory, sequence)
    with closing(sqlite3.connect(path)) as connection:
        ((dictionary,),) = connection.execute("SELECT dictionary FROM log").fetchall()
        sql = "SELECT hash FROM events WHERE sequence = ?"
        ((previous,),) = connection.execute(sql, (sequence - 1,)).fetchall()
    frame, digest = Records(dictionary).pack(record).hex(), link(previous, record).hex()
    edit(path, f"UPDATE events SET record = x'{frame}', hash = x'{digest}' WHERE sequence = {sequence}")


async def test_exchanged_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await filled(tmp_path)
    edit(
        file_of(tmp_path, 10),
        "UPDATE events SET sequence = -1 WHERE sequence = 10",
        "UPDATE events SET sequence = 10 WHERE sequence = 11",
        "UPDATE events SET sequence = 11 WHERE sequence = -1",
    )
    assert audit(tmp_path) == 1
    assert "event 10 doesn't fit" in capsys.readouterr().err


async def test_a_cut_tail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, checkpoints = await signed(tmp_path)
    edit(file_of(tmp_path, 20), "DELETE FROM events WHERE sequence = 20")
    assert audit(tmp_path) == 0
    assert audit(tmp_path, "--key", key, "--checkpoints", checkpoints) == 1
    assert "event 20 was signed, and the log ends with event 19: its end was cut off" in capsys.readouterr().err


async def test_a_log_written_anew_from_its_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, checkpoints = await signed(tmp_path)
    async with open_log(tmp_path) as log:
        identity = log.id
    shutil.rmtree(tmp_path / "log")
    (tmp_path / "log").mkdir()
    first = tmp_path / "log" / "log-0000000000000001.sqlite"
    create(first, Identity(identity), Position.genesis(identity))
    async with SqliteLog.open(tmp_path / "log", SetClock()) as log:
        for number in range(30):
            event = ContainerCreated(container_id=f"forged{number}")
            await log.append([Append(stream="container/x", events=(event,))], cause=CAUSE)
    assert audit(tmp_path) == 0, "its chain holds"
    assert audit(tmp_path, "--key", key, "--checkpoints", checkpoints) == 1
    assert "event 20 is not the one that was signed: the log was written anew" in capsys.readouterr().err


async def test_a_repaired_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, checkpoints = await signed(tmp_path)
    change(tmp_path, 12)
    assert repair(tmp_path / "log", [], []) is not None
    assert audit(tmp_path) == 0
    assert audit(tmp_path, "--key", key, "--checkpoints", checkpoints) == 1
    assert "event 20 was signed and lost" in capsys.readouterr().err


@pytest.mark.parametrize("number", [0, 1])
async def test_a_missing_file(tmp_path: Path, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    await filled(tmp_path)
    segments(tmp_path / "log")[number].unlink()
    assert audit(tmp_path) == 1
    assert f"event {number * 8 + 1} is missing" in capsys.readouterr().err


async def test_a_damaged_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await filled(tmp_path)
    async with open_log(tmp_path) as log:
        await log.archive(log.head)
    path = segments(tmp_path / "log")[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert audit(tmp_path) == 1
    assert "the archive can't be unpacked" in capsys.readouterr().err


async def test_what_is_no_log_no_key_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, checkpoints = await signed(tmp_path, 3)
    other = Signer.open(tmp_path / "other")
    foreign = tmp_path / "foreign"
    foreign.write_text("hello")
    line = json.loads(checkpoints.read_text())
    (tmp_path / "changed").write_text(json.dumps(line | {"sequence": 2}))
    elsewhere = other.sign("elsewhere", Position(sequence=1, hash=b"x" * 32), now_ns=1)
    other.keep(elsewhere)
    of_other = ["--checkpoints", tmp_path / "other/checkpoints.ndjson"]
    cases: list[tuple[list[object], str]] = [
        ([tmp_path / "nothing"], "there is nothing; give the directory"),
        ([tmp_path / "other"], "there is no file of a log"),
        ([foreign], "damaged, or no file of a log"),
        ([tmp_path / "log", "--key", tmp_path / "nothing"], "give the engine's public key"),
        ([tmp_path / "log", "--key", foreign], "no public key in PEM"),
        ([tmp_path / "log", "--key", key, "--checkpoints", foreign], "line 1 is no checkpoint"),
        ([tmp_path / "log", "--key", key, "--checkpoints", tmp_path / "changed"], "line 1 has a bad signature"),
        ([tmp_path / "log", "--key", tmp_path / "other/public.pem", "--checkpoints", checkpoints], "with another key"),
        (
            [tmp_path / "log", "--key", tmp_path / "other/public.pem", *of_other],
            "is of another log (elsewhere)",
        ),
    ]
    for arguments, told in cases:
        assert main([*map(str, arguments)]) == 1, told
        assert told in capsys.readouterr().err
    assert main([str(tmp_path / "log"), "--checkpoints", str(checkpoints)]) == 2
    with closing(sqlite3.connect(segments(tmp_path / "log")[0])) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,), "the log itself is never touched"
