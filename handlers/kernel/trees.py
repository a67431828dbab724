"""Whole directory trees go, whatever a container made of them; without it one deep or odd tree would stay for ever."""

import os
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from events.errors import SystemFailure

_LIMIT_S = 3600.0
_AT_ONCE = 8  # each waits for the disk most of the time
# With the engine its helper ends: one that went on alone could meet what is made anew under the same name.
_REMOVE = ("setpriv", "--pdeathsig", "KILL", "--", "rm", "-rf", "--one-file-system", "--")


class TreeStays(SystemFailure):
    """A tree that can't be removed."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(f"remove {path}: {why}")


def delete_tree(path: Path) -> None:
    """Remove a tree, or what stands in its place; absent is fine. Follows no link. Blocking. Raises TreeStays."""
    try:
        shutil.rmtree(path)
    except (OSError, RecursionError):
        if os.path.lexists(path):
            _delete_stubborn(path)


def delete_trees(paths: Sequence[Path]) -> None:
    """Remove trees that may be large, by processes beside the engine, whose threads would take turns with each other.

    What those leave is removed as by `delete_tree`. Raises TreeStays.
    """
    with suppress(OSError):  # where no process can be had they go one by one
        _delete_beside([paths[first::_AT_ONCE] for first in range(min(_AT_ONCE, len(paths)))])
    for path in paths:
        delete_tree(path)


def _delete_beside(shares: Sequence[Sequence[Path]]) -> None:
    end = time.monotonic() + _LIMIT_S
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [*_REMOVE, *map(str, share)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            for share in shares
        ]
        for process in processes:
            if not _has_ended(process, end - time.monotonic()):
                process.kill()


def _has_ended(process: subprocess.Popen[bytes], limit_s: float) -> bool:
    """Wait for the end itself: `wait` with a limit looks whether it has come, up to 50 ms apart."""
    descriptor, end = os.pidfd_open(process.pid), select.poll()
    try:
        end.register(descriptor, select.POLLIN)
        return bool(end.poll(max(0.0, limit_s) * 1000))
    finally:
        os.close(descriptor)


def _delete_stubborn(path: Path) -> None:
    """rm(1) takes trees of any depth with few descriptors, and says what stays and why."""
    command = [*_REMOVE, str(path)]
    try:
        process = subprocess.run(command, capture_output=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise TreeStays(path, f"it took longer than {_LIMIT_S:.0f} s") from error
    if process.returncode:
        raise TreeStays(path, process.stderr.decode(errors="replace").strip().rpartition("\n")[2])
