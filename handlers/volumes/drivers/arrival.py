"""How content arrives in an empty directory although the engine may be killed at any moment.

It is copied beside its place (`incoming`), gets another name once it is complete (`arrived`), and only then moves in,
entry by entry: containers that have the volume mounted keep the directory they know.
"""

import os
from pathlib import Path

import anyio.to_thread

from handlers.kernel.copying import copy_attributes, copy_directory
from handlers.kernel.openat2 import open_in_root
from handlers.kernel.threads import run_long
from handlers.kernel.trees import delete_tree

INCOMING = ".shiplog-incoming"
ARRIVED = ".shiplog-arrived"


def is_empty(data: Path) -> bool:
    """Whether there is nothing of anybody's in it. Blocking."""
    with os.scandir(data) as entries:
        return all(entry.name in (INCOMING, ARRIVED) for entry in entries)


def open_source(rootfs: str, source: str) -> int | None:
    """A descriptor of the directory `source` inside `rootfs`; None when it is absent or no directory. Blocking."""
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_in_root(root, source, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    finally:
        os.close(root)


async def arrive(source_descriptor: int, stage: Path, data: Path) -> None:
    """Fill `data` from an open directory by way of `stage` (on the same file system). Raises SystemFailure, OSError."""
    incoming, arrived = stage / INCOMING, stage / ARRIVED
    try:
        await run_long(_make_afresh, incoming)
        await copy_directory(source_descriptor, incoming)
        await anyio.to_thread.run_sync(incoming.rename, arrived)
        await anyio.to_thread.run_sync(settle, stage, data)
    finally:
        with anyio.CancelScope(shield=True):
            await run_long(delete_tree, incoming)


def _make_afresh(directory: Path) -> None:
    """A copy of a killed engine may have gone on for a moment after it was discarded."""
    delete_tree(directory)
    directory.mkdir()


def settle(stage: Path, data: Path) -> bool:
    """Move complete content in, discard incomplete content; whether any was complete. Blocking; raises OSError."""
    delete_tree(stage / INCOMING)
    arrived = stage / ARRIVED
    if not arrived.is_dir():
        return False
    status = arrived.stat()  # before its entries leave it and change its time
    for entry in arrived.iterdir():
        target = data / entry.name
        if not os.path.lexists(target):  # what a running container has made meanwhile stays
            entry.rename(target)
    copy_attributes(arrived, status, data)
    delete_tree(arrived)
    _sync(data)
    return True


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
