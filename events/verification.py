"""Checks a whole log in a thread; without it bit rot in old files would only be found by whoever needs them."""

from collections.abc import Iterable
from pathlib import Path
from threading import Event
from typing import Final

from events.checkpoints import Checkpoint
from events.log import LogBroken
from events.log_directory import segments
from events.older_segments import OlderSegment

CHECKED_AT_ONCE: Final = 50
PAUSE_S: Final = 0.002  # so long others have the interpreter, after each few events


def verify(
    directory: Path,
    last: int,
    checkpoints: Iterable[Checkpoint] = (),
    *,
    pause_s: float = PAUSE_S,
    given_up: Event | None = None,
) -> None:
    """Check every event up to `last`, and that the log is what the checkpoints say (blocking), until it is `given_up`.

    Raises LogBroken that names the first bad sequence.
    """
    given_up = given_up or Event()
    wanted = {checkpoint.sequence: checkpoint for checkpoint in checkpoints if checkpoint.sequence <= last}
    for path in segments(directory):
        segment = OlderSegment.read(path)
        try:
            for rows in segment.checked_rows(last, CHECKED_AT_ONCE):
                for row in rows:
                    if (checkpoint := wanted.get(row[0])) is not None:
                        check_borne_out(checkpoint, row[6])
                if given_up.wait(pause_s):
                    return
        finally:
            segment.close()
        if segment.last.sequence >= last:
            return


def check_borne_out(checkpoint: Checkpoint, digest: bytes) -> None:
    """The event that was signed is the one in the log. Raises LogBroken."""
    if digest.hex() != checkpoint.hash:
        raise LogBroken(
            f"event {checkpoint.sequence} is not the one that a checkpoint was signed for: the log was written anew"
        )
