"""Makes a damaged log usable again: what verifies is kept, the rest set aside, and what was lost is told.

Nothing is deleted. The repaired log has a new id, so that no position in the old one is taken for one in it.
"""

import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from events.checkpoints import Checkpoint
from events.errors import EngineError, SystemFailure, Unavailable
from events.ledger import Position
from events.log import LogBroken
from events.log_directory import (
    DIRECTORY_MODE,
    DirectoryLock,
    create_file,
    segment_path,
    segments,
    sync_directory,
    sync_file,
)
from events.older_segments import OlderSegment
from events.segment_rows import UnknownFormat, rows_of
from events.segment_schema import LOG, Identity, create
from events.segments import check_joint
from events.verification import check_borne_out

_INSERT: Final = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)"
_TOLD: Final = 20


class Survey:
    """How far a log holds, and what is wrong after that."""

    def __init__(self) -> None:
        self.whole: list[OlderSegment] = []  # files that hold altogether
        self.kept: Position | None = None  # where the log stands after all that holds; None: nothing can be read
        self.reason = ""


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. `lost` is the last event known to have been there, `told` what is still readable of the lost."""

    old: str
    new: str
    kept: int
    lost: int
    reason: str
    aside: Path
    told: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """The report, for people."""
        yield f"found: {self.reason}"
        yield f"kept: events 1 to {self.kept}, which verify" if self.kept else "kept: no event verifies"
        lost = f"events {self.kept + 1} to {self.lost}" if self.lost > self.kept else "no event that is known of"
        yield f"lost: {lost}"
        yield from (f"  {line}" for line in self.told)
        yield f"set aside: the damaged files are in {self.aside}"
        yield f"the log {self.old} goes on as {self.new}: readers outside begin anew"


def repair(directory: Path, checkpoints: Sequence[Checkpoint], snapshots: Sequence[int]) -> Repair | None:
    """Repair the log in a directory, which nobody may have open (blocking); None when nothing is wrong with it.

    `checkpoints` are those of this log, `snapshots` the events that there are snapshots of: both tell how far it went.
    Raises LogInUse, SystemFailure when there is nothing that can be repaired, Unavailable, OSError.
    """
    with DirectoryLock(directory):
        paths = segments(directory)
        if not paths:
            raise SystemFailure(f"there is no log in {directory}")
        aside = _copied(paths[-1], directory.with_name(f"{directory.name}-set-aside-{secrets.token_hex(4)}"))
        known = max([*(checkpoint.sequence for checkpoint in checkpoints), *snapshots, 0])
        try:
            survey = _surveyed(paths, {checkpoint.sequence: checkpoint for checkpoint in checkpoints}, known)
        except BaseException:
            shutil.rmtree(aside)
            raise
        if not survey.reason:
            shutil.rmtree(aside)
            return None
        return _repaired(directory, paths, survey, aside, known)


def _copied(newest: Path, aside: Path) -> Path:
    """The newest file as it is now: opening it may change it."""
    aside.mkdir(mode=DIRECTORY_MODE)
    for path in _trio(newest):
        if path.exists():
            shutil.copy2(path, aside / path.name)
    return aside


def _trio(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")]


def _surveyed(paths: Sequence[Path], signed: Mapping[int, Checkpoint], known: int) -> Survey:
    survey = Survey()
    try:
        for path in paths:
            segment = OlderSegment.read(path)
            if survey.whole:
                check_joint(survey.whole[-1], segment)
            elif segment.base.sequence:
                raise LogBroken("event 1 is missing from the log: its first file is")
            survey.kept = segment.base
            _advance(survey, segment, signed)
            segment.close()
            survey.whole.append(segment)
    except UnknownFormat as error:
        raise SystemFailure(str(error)) from error
    except Unavailable:  # nothing that is wrong with the log
        raise
    except (EngineError, sqlite3.Error) as error:
        survey.reason = str(error)
        return survey
    head = survey.kept.sequence if survey.kept else 0
    if known > head:
        survey.reason = f"the log ends with event {head}, and there was an event {known}: its end was cut off"
    return survey


def _advance(survey: Survey, segment: OlderSegment, signed: Mapping[int, Checkpoint]) -> None:
    """Row by row, so that all before the damage is kept. History written anew holds up to the checkpoint before."""
    for (row,) in segment.checked_rows(segment.last.sequence, 1):
        if (checkpoint := signed.get(row[0])) is not None:
            try:
                check_borne_out(checkpoint, row[6])
            except LogBroken:
                earlier = max((sequence for sequence in signed if sequence < row[0]), default=0)
                survey.kept = _position_of([*survey.whole, segment], earlier)
                raise
        record = segment.rows.record(row[5])
        survey.kept = Position(sequence=row[0], time_ns=record.time_ns, clock_ns=record.clock_ns, hash=row[6])


def _position_of(files: Sequence[OlderSegment], sequence: int) -> Position:
    """Where the log stands after an event, which verifies."""
    segment = next(each for each in reversed(files) if each.base.sequence <= sequence)
    if sequence == segment.base.sequence:
        return segment.base
    ((frame, digest),) = segment.select("SELECT record, hash FROM events WHERE sequence = ?", (sequence,))
    record = segment.rows.record(frame)
    return Position(sequence=sequence, time_ns=record.time_ns, clock_ns=record.clock_ns, hash=digest)


def _repaired(directory: Path, paths: Sequence[Path], survey: Survey, aside: Path, known: int) -> Repair:
    kept = survey.kept.sequence if survey.kept is not None else 0
    whole = [segment for segment in survey.whole if segment.last.sequence <= kept][: len(paths) - 1]
    broken, gone = paths[len(whole)], paths[len(whole) :]
    target = segment_path(directory, (whole[-1].last.sequence if whole else 0) + 1)
    draft = target.with_suffix(".new")
    create_file(draft)
    old, new = _write(draft, survey, broken, whole)
    told = list(_told(gone, kept))
    for path in (each for file in gone for each in _trio(file)):
        if path.exists() and not (aside / path.name).exists():
            os.link(path, aside / path.name)
    sync_directory(aside)
    for path in _trio(target)[1:]:
        path.unlink(missing_ok=True)
    draft.rename(target)
    sync_directory(directory)
    for path in (each for file in reversed(gone) for each in _trio(file)):
        if path != target:
            path.unlink(missing_ok=True)
    for path in directory.glob("older.sqlite*"):
        path.unlink()
    sync_directory(directory)
    return Repair(
        old=old,
        new=new,
        kept=kept,
        lost=max([known, kept, *(sequence for sequence, _ in told)]),
        reason=survey.reason,
        aside=aside,
        told=_abridged([text for _, text in told]),
    )


def _abridged(texts: Sequence[str]) -> tuple[str, ...]:
    more = [f"... and {len(texts) - _TOLD} more"] if len(texts) > _TOLD else []
    return (*texts[:_TOLD], *more)


def _write(draft: Path, survey: Survey, broken: Path, whole: Sequence[OlderSegment]) -> tuple[str, str]:
    """The file that the log goes on in, with what is kept of the broken one; the log's old id and its new one."""
    new = secrets.token_hex(16)
    if survey.kept is None or (not survey.kept.sequence and not whole):
        create(draft, Identity(new), Position.genesis(new))
        sync_file(draft)
        return _id_of(broken), new
    base = whole[-1].last if whole else None
    source = None if base is not None and base.sequence == survey.kept.sequence else OlderSegment.read(broken)
    known = whole[-1].rows.identity if source is None else source.rows.identity
    identity = Identity(new, (*known.earlier, (known.id, survey.kept.sequence)))
    create(draft, identity, base or Position.genesis(identity.origin))
    if source is not None:
        _copy(source, draft, survey.kept.sequence)
        source.close()
    sync_file(draft)
    return known.id, new


def _copy(source: OlderSegment, draft: Path, last: int) -> None:
    """Events up to `last`, packed with the new file's dictionary; hashes stay."""
    with closing(sqlite3.connect(draft)) as target:
        rows = rows_of(*target.execute(LOG).fetchall()[0])
        for found in source.checked_rows(last, 1):
            target.executemany(_INSERT, [rows.repacked(row, source.rows) for row in found])
        target.commit()


def _id_of(broken: Path) -> str:
    try:
        return OlderSegment.read(broken).rows.identity.id
    except (EngineError, sqlite3.Error):
        return "of an id that can't be read"


def _told(files: Sequence[Path], kept: int) -> Iterator[tuple[int, str]]:
    """What can still be read of the events after `kept`; nothing vouches for it."""
    for path in files:
        try:
            segment = OlderSegment.read(path)
        except (EngineError, sqlite3.Error):
            continue
        for sequence in range(max(kept, segment.base.sequence) + 1, segment.last.sequence + 1):
            try:
                ((frame,),) = segment.select("SELECT record FROM events WHERE sequence = ?", (sequence,))
                record = segment.rows.record(frame)
            except (EngineError, ValueError):
                yield sequence, f"event {sequence} can't be read"
            else:
                yield sequence, f"event {sequence}: {record.type} on {record.stream}, by {record.cause.actor.kind}"
        segment.close()
