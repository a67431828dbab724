"""Whole directory trees, whatever a container made of them; without it one deep or odd tree couldn't be removed."""

import os
import shutil
import subprocess
from pathlib import Path

import anyio

from events.errors import SystemFailure
from handlers.layers.drivers.lineage import Metadata

_LIMIT_S = 3600.0


class TreeStays(SystemFailure):
    """A tree that can't be removed."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(f"remove {path}: {why}")


class CopyFailed(SystemFailure):
    """A tree that can't be copied."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(f"copy {path}: {why}")


def delete_tree(path: Path) -> None:
    """Remove a tree; absent is fine. Follows no link. Raises TreeStays."""
    try:
        shutil.rmtree(path)
    except (OSError, RecursionError):
        if os.path.lexists(path):
            _delete_stubborn(path)


async def copy_tree(source: Path, target: Path) -> None:
    """Copy the content of a directory, and its own metadata, into an existing one: hard links, holes, attributes,
    times and all; blocks are shared where the file system can. Raises CopyFailed."""
    command = ["cp", "-a", "--reflink=auto", "-T", "--", str(source), str(target)]
    with anyio.fail_after(_LIMIT_S):
        process = await anyio.run_process(command, check=False)
    if process.returncode:
        raise CopyFailed(source, _last_line(process.stderr))


def _delete_stubborn(path: Path) -> None:
    """rm(1) takes trees of any depth with few descriptors, and says what stays and why."""
    command = ["rm", "-rf", "--one-file-system", "--", str(path)]
    process = subprocess.run(command, capture_output=True, timeout=_LIMIT_S, check=False)
    if process.returncode:
        raise TreeStays(path, _last_line(process.stderr))


def _last_line(output: bytes) -> str:
    return output.decode(errors="replace").strip().rpartition("\n")[2]


def adorn_directory(path: Path, metadata: Metadata | None) -> None:
    """Give a directory another's owner, mode, attributes and time. Raises OSError."""
    if metadata is None:
        return
    os.chown(path, metadata.uid, metadata.gid)
    path.chmod(metadata.mode)
    for name, value in metadata.attributes.items():
        os.setxattr(path, name, value)
    os.utime(path, ns=(metadata.modified_ns, metadata.modified_ns))
