"""Checks a copied log: each event follows on the one before, and the log is what the checkpoints say.

The files are checked side by side, each by itself; then they must go on from each other.
"""

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clients.verifier.checkpoints import Checkpoint
from clients.verifier.file_check import Checked, check
from clients.verifier.processes import each, processors
from clients.verifier.records import AuditFailed, Beginning, files, genesis


@dataclass(frozen=True)
class Finding:
    """What a log that is true consists of."""

    log: str
    events: int  # sequence of the newest
    files: int
    checkpoints: int  # that it bears out
    signed: int  # sequence of the newest of them


class Audit:
    """One pass over a log."""

    def __init__(self, checkpoints: Sequence[Checkpoint]) -> None:
        self._wanted: dict[int, list[Checkpoint]] = {}
        for checkpoint in checkpoints:
            self._wanted.setdefault(checkpoint.sequence, []).append(checkpoint)
        self._origin = ""
        self._newest: Beginning | None = None
        self._sequence = 0
        self._digest = b""
        self._met: dict[int, bytes] = {}

    def run(self, place: Path, at_once: int | None = None) -> Finding:
        """Check all of it, as many files at once as there are processors. Raises AuditFailed.

        That names the first event that isn't right. Each file under way takes temporary room for a copy of it.
        """
        paths = files(place)
        with tempfile.TemporaryDirectory(prefix="shiplog-audit-") as room:
            checking = partial(check, room=Path(room), wanted=self._wanted)
            with closing(each(checking, paths, at_once or processors())) as found:
                for path, checked in zip(paths, found, strict=True):
                    self._join(path, checked)
        if self._newest is None:
            raise AuditFailed(f"{place}: there is no file of a log")
        met = [self._bear_out(checkpoint, self._newest) for signed in self._wanted.values() for checkpoint in signed]
        return Finding(self._newest.log, self._sequence, len(paths), len(met), max(met, default=0))

    def _join(self, path: Path, checked: Checked) -> None:
        """A file goes on from the one before it, and what it says is true."""
        self._begin(path, checked.start)
        if checked.wrong:
            raise AuditFailed(f"{path}: {checked.wrong}")
        self._sequence, self._digest = checked.sequence, checked.digest
        self._met |= checked.met

    def _begin(self, path: Path, start: Beginning) -> None:
        if self._newest is None:
            self._origin = start.origin
            if start.sequence:
                raise AuditFailed(f"{path}: event 1 is missing: the file begins after event {start.sequence}")
            if start.digest != genesis(start.origin):
                raise AuditFailed(f"{path}: the file doesn't begin as the log {start.origin} does: it was changed")
        elif start.origin != self._origin:
            raise AuditFailed(f"{path}: the file is of another log ({start.log}) than the one before it")
        elif (start.sequence, start.digest) != (self._sequence, self._digest):
            raise AuditFailed(
                f"{path}: event {self._sequence + 1} is missing: the file goes on after event {start.sequence} "
                f"and the one before it ends with event {self._sequence}"
            )
        self._newest = start

    def _bear_out(self, checkpoint: Checkpoint, newest: Beginning) -> int:
        ids = {newest.log: self._sequence} | dict(newest.earlier)
        if checkpoint.log not in ids:
            raise AuditFailed(
                f"the checkpoint of event {checkpoint.sequence} is of another log ({checkpoint.log}): "
                "give the checkpoints of this one"
            )
        if checkpoint.log != newest.log and checkpoint.sequence > ids[checkpoint.log]:
            raise AuditFailed(
                f"event {checkpoint.sequence} was signed and lost: the log {checkpoint.log} was repaired and keeps "
                f"events up to {ids[checkpoint.log]} of it"
            )
        if checkpoint.sequence > self._sequence:
            raise AuditFailed(
                f"event {checkpoint.sequence} was signed, and the log ends with event {self._sequence}: "
                "its end was cut off, or the copy is older than the checkpoint"
            )
        digest = self._met.get(checkpoint.sequence, genesis(self._origin) if not checkpoint.sequence else b"")
        if digest != checkpoint.digest:
            raise AuditFailed(
                f"event {checkpoint.sequence} is not the one that was signed: the log was written anew "
                f"from that event or an earlier one"
            )
        return checkpoint.sequence
