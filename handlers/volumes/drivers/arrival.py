"""How content arrives in an empty directory although the engine may be killed at any moment.

It is copied beside its place (`incoming`), gets another name once it is complete (`arrived`), and only then moves in,
entry by entry: containers that have the volume mounted keep the directory they know. Inside of a mounted device all of
this is in reach of containers: nothing there is followed, and only what root has made is believed to be the engine's.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio

from events.errors import SystemFailure
from handlers.kernel.copying import copy_attributes, copy_directory
from handlers.kernel.mounts import sync_filesystem
from handlers.kernel.openat2 import open_in_root
from handlers.kernel.threads import run_foreign, run_long
from handlers.kernel.trees import delete_tree
from handlers.volumes.drivers.guarded_copy import copy_guarded

INCOMING = ".shiplog-incoming"
ARRIVED = ".shiplog-arrived"
CONTENT = "content"  # below either; the directory around it stays root's
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS_WRITE = 0o022


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


async def arrive(source: int, stage: Path, data: Path) -> None:
    """Fill `data` from an open directory by way of `stage`, on the same file system or `data` itself.

    Raises SystemFailure, OSError.
    """
    incoming, exposed = stage / INCOMING, stage == data
    run = run_foreign if exposed else run_long
    try:
        with _opened(await run(_make_afresh, incoming)) as around:
            with _opened(os.open(CONTENT, _DIRECTORY, dir_fd=around)) as target:
                await (run_foreign(copy_guarded, source, target) if exposed else copy_directory(source, target))
            await run(_complete, around, stage)
        await run(settle, stage, data)
    finally:
        with anyio.CancelScope(shield=True), suppress(SystemFailure):  # what stays is discarded by the next to settle
            await run(delete_tree, incoming)


def _make_afresh(incoming: Path) -> int:
    """A descriptor of a new directory. A copy of a killed engine may have gone on for a moment after the last one."""
    delete_tree(incoming)
    incoming.mkdir(mode=0o700)
    with _closed_on_error(os.open(incoming, _DIRECTORY)) as around:
        os.mkdir(CONTENT, 0o700, dir_fd=around)
    return around


def _complete(around: int, stage: Path) -> None:
    sync_filesystem(f"/proc/self/fd/{around}")
    with _opened(os.open(stage, _DIRECTORY)) as directory:
        if not os.path.samestat(os.stat(INCOMING, dir_fd=directory, follow_symlinks=False), os.fstat(around)):
            raise OSError(errno.ESTALE, "somebody else has moved the copy away")
        os.rename(INCOMING, ARRIVED, src_dir_fd=directory, dst_dir_fd=directory)


def settle(stage: Path, data: Path) -> bool:
    """Move complete content in, discard incomplete content; whether any was complete. Blocking; raises OSError."""
    delete_tree(stage / INCOMING)
    arrived = stage / ARRIVED
    content = _open_content(arrived)
    if content is None:
        delete_tree(arrived)
        return False
    with _opened(content), _opened(os.open(data, _DIRECTORY)) as target:
        status = os.fstat(content)  # before its entries leave it and change its time
        _move_in(content, target)
        copy_attributes(content, status, target)
        delete_tree(arrived)  # perhaps inside of the target, whose time it changes
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(target)
    return True


def _open_content(arrived: Path) -> int | None:
    """A descriptor of complete content; None when there is none, or when it isn't the engine that has made it."""
    try:
        with _opened(os.open(arrived, _DIRECTORY)) as around:
            status = os.fstat(around)
            if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_WRITE:
                return None
            return os.open(CONTENT, _DIRECTORY, dir_fd=around)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _move_in(content: int, target: int) -> None:
    present = frozenset(os.listdir(target))
    for name in os.listdir(content):
        if name not in present:  # what a running container has made meanwhile stays
            os.rename(name, name, src_dir_fd=content, dst_dir_fd=target)


@contextmanager
def _opened(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _closed_on_error(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    except BaseException:
        os.close(descriptor)
        raise
