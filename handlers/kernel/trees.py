"""Whole directory trees go, whatever a container made of them; without it one deep or odd tree would stay for ever."""

import os
import shutil
import subprocess
from pathlib import Path

from events.errors import SystemFailure

_LIMIT_S = 3600.0


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


def _delete_stubborn(path: Path) -> None:
    """rm(1) takes trees of any depth with few descriptors, and says what stays and why."""
    # With the engine its helper ends: one that went on alone could meet what is made anew under the same name.
    command = ["setpriv", "--pdeathsig", "KILL", "--", "rm", "-rf", "--one-file-system", "--", str(path)]
    try:
        process = subprocess.run(command, capture_output=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise TreeStays(path, f"it took longer than {_LIMIT_S:.0f} s") from error
    if process.returncode:
        raise TreeStays(path, process.stderr.decode(errors="replace").strip().rpartition("\n")[2])
