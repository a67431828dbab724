"""The steps at which a daemon can be made to kill itself, and the directory by which a test tells it where.

A step is a point that `daemon/failpoints.py` has a name for, or a call that changes something on the host. `n` counts
equal steps from the moment that the plan was made, from 1.
"""

import contextlib
import os
import signal
import threading
from collections import Counter
from pathlib import Path

import msgspec
from typing_extensions import override

DIRECTORY_VARIABLE = "SHIPLOG_TEST_CRASHING"
TRACE = "trace"
_PLAN, _TRACE_FILE, _ACKNOWLEDGED = "plan", "trace", "acknowledged"


class Point(msgspec.Struct, frozen=True, order=True):
    """One instant of an operation."""

    kind: str  # "step" or "host"
    subject: str  # the step's name (`daemon/failpoints.py`), or the call with its path
    number: int = 1
    side: str = "before"  # or "after"

    @override
    def __str__(self) -> str:
        return f"{self.side} {self.kind} {self.subject} #{self.number}"


class Control:
    """The test's side."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._directory = directory

    def trace(self) -> None:
        """From now on, note every point that is passed."""
        self._plan(TRACE)

    def traced(self) -> tuple[Point, ...]:
        """What was noted, in order; noting ends."""
        self.disarm()
        file = self._directory / _TRACE_FILE
        lines = file.read_bytes().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return tuple(msgspec.json.decode(line, type=Point) for line in lines)

    def arm(self, point: Point) -> None:
        """Kill the daemon as soon as it passes a point."""
        self._plan(msgspec.json.encode(point).decode())

    def disarm(self) -> None:
        """Let it live."""
        (self._directory / _PLAN).unlink(missing_ok=True)

    def acknowledged(self) -> int:
        """Sequence of the newest event whose append returned in the last daemon."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int((self._directory / _ACKNOWLEDGED).read_text())
        return 0

    def _plan(self, text: str) -> None:
        draft = self._directory / f"{_PLAN}.new"
        draft.write_text(text)
        draft.rename(self._directory / _PLAN)


class Trigger:
    """The daemon's side."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._plan = ""
        self._passed: Counter[tuple[str, str, str]] = Counter()
        self._turn = threading.Lock()

    def passes(self, kind: str, subject: str, side: str) -> None:
        """The daemon is at a point: die here, or go on."""
        with self._turn:
            self._pass(kind, subject, side)

    def _pass(self, kind: str, subject: str, side: str) -> None:
        plan = self._read()
        if plan != self._plan:
            self._plan = plan
            self._passed.clear()
        if not plan:
            return
        self._passed[kind, subject, side] += 1
        point = Point(kind, subject, self._passed[kind, subject, side], side)
        if plan == TRACE:
            with (self._directory / _TRACE_FILE).open("ab") as file:
                file.write(msgspec.json.encode(point) + b"\n")
        elif msgspec.json.decode(plan, type=Point) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def acknowledge(self, sequence: int) -> None:
        """An append has returned."""
        file = self._directory / _ACKNOWLEDGED
        file.write_text(str(sequence))

    def _read(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self._directory / _PLAN).read_text()
        return ""
