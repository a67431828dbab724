"""Checks files side by side, each in a process of its own; without it all processors but one would look on."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Sequence
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Final

from clients.verifier.file_check import Checked
from clients.verifier.records import AuditFailed

Check = Callable[[Path], Checked]  # raises AuditFailed, OSError

_FORK: Final = multiprocessing.get_context("fork")  # begins within milliseconds; this program has no threads


def processors() -> int:
    """How many this program may use."""
    return len(os.sched_getaffinity(0))


def each(check: Check, paths: Sequence[Path], at_once: int) -> Generator[Checked, None, None]:
    """What is found in each file, in their order, whichever is done first. Raises what `check` raises, in that order.

    Close it: that ends what is under way.
    """
    if min(at_once, len(paths)) < 2:
        yield from map(check, paths)
        return
    waiting = iter(paths)
    running: list[_Apart] = []
    found: dict[Path, Checked | Exception] = {}
    try:
        for path in paths:
            while path not in found:
                running.extend(_Apart(check, following) for following in islice(waiting, at_once - len(running)))
                for apart in _ended(running):
                    running.remove(apart)
                    found[apart.path] = apart.result()
            yield _returned(found.pop(path))
    finally:
        for apart in running:
            apart.end()


def _returned(found: Checked | Exception) -> Checked:
    if isinstance(found, Exception):
        raise found
    return found


class _Apart:
    """A file that is checked in a process of its own, which tells what it found."""

    def __init__(self, check: Check, path: Path) -> None:
        self.path = path
        self.found, telling = _FORK.Pipe(duplex=False)
        with telling:
            self._process = _FORK.Process(target=_tell, args=(telling, check, path))
            self._process.start()

    def result(self) -> Checked | Exception:
        """What it found, or raised."""
        try:
            found: Checked | Exception = self.found.recv()
        except EOFError:
            self._process.join()
            found = AuditFailed(
                f"{self.path}: the process that checked it ended with {self._process.exitcode}: try it again"
            )
        self.end()
        return found

    def end(self) -> None:
        """Nobody waits for it any more."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self.found.close()


def _ended(running: Sequence[_Apart]) -> list[_Apart]:
    """Wait for one or more of them."""
    ended = wait([apart.found for apart in running])
    return [apart for apart in running if apart.found in ended]


def _tell(telling: Connection, check: Check, path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a terminal interrupts this process too: it ends without a word
    try:
        telling.send(check(path))
    except (AuditFailed, OSError) as error:
        telling.send(error)
