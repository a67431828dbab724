"""What a container's layer has other than the layers below it; `docker diff` and `docker commit` stand on it.

The rules are Docker's (moby, pkg/archive, `changes.go`): times and sizes of directories say nothing, a directory with
changes in it counts as modified. Works on overlayfs's marks as on whole copies. Runs in the helper process.
"""

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from handlers.layers.drivers.walking import Found, entries, look, open_directory
from handlers.layers.drivers.whiteouts import OVERLAY_OPAQUE, is_overlay_whiteout

MODIFIED, ADDED, DELETED = 0, 1, 2
_CAPABILITY = "security.capability"
_NONE = -1  # no directory below to compare with

# What a container gets from the engine at its start (runc makes the places, Docker has them in a layer of their own).
_OWN_DIRECTORIES = frozenset(("dev", "dev/pts", "dev/shm", "dev/mqueue", "etc", "proc", "sys", "sbin"))
_OWN_FILES = frozenset(
    (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf", "sbin/docker-init")
)


class Difference(NamedTuple):
    """A path that differs. `found` is None for what is deleted; then `path` is all that is known."""

    path: str
    kind: int
    found: Found | None


class Comparison:
    """Of an open directory with another one. `marks`: the first holds only what differs, with overlayfs's marks."""

    def __init__(self, own: int, below: int | None, *, marks: bool, complete: bool = False) -> None:
        """`complete` also yields what is in a directory of marks and doesn't differ by the rules."""
        self._own, self._below = own, _NONE if below is None else below
        self._marks, self._complete = marks, marks and complete
        self._waiting: list[Difference] = []  # directories that count as modified once something below them does

    def __iter__(self) -> Iterator[Difference]:
        """By path, a directory before what is in it."""
        yield from self._directory(self._own, self._below, "", hides=False)

    def _directory(self, own: int, below: int, path: str, *, hides: bool) -> Iterator[Difference]:
        """`hides`: nothing of the directory below shows through."""
        present: set[str] = set()
        for found in entries(own, path):
            present.add(found.name)
            before = look(below, found.name) if below != _NONE else None
            if self._marks and is_overlay_whiteout(found.status):
                if before is not None:
                    yield from self._announced(Difference(found.path, DELETED, None))
            else:
                yield from self._entry(found, before, below)
        if below != _NONE and (hides or not self._marks):
            for gone in entries(below, path):
                if gone.name not in present:
                    yield from self._announced(Difference(gone.path, DELETED, None))

    def _entry(self, found: Found, before: os.stat_result | None, below: int) -> Iterator[Difference]:
        is_directory = stat.S_ISDIR(found.status.st_mode)
        if before is None and _is_engines_own(found):
            if is_directory:
                yield from self._inside(found, _NONE, is_known=False)
            return
        kind = ADDED if before is None else MODIFIED
        difference = Difference(found.path, kind, found)
        is_known = before is None or _differs(found, before, below) or self._complete
        if is_known:
            yield from self._announced(difference)
        if is_directory:
            inner = open_directory(below, found.name) if before is not None else None
            try:
                yield from self._inside(found, _NONE if inner is None else inner, is_known=is_known)
            finally:
                if inner is not None:
                    os.close(inner)

    def _inside(self, found: Found, below: int, *, is_known: bool) -> Iterator[Difference]:
        own = open_directory(found.directory, found.name)
        if own is None:
            return
        depth = len(self._waiting)
        if not is_known:
            self._waiting.append(Difference(found.path, MODIFIED if below != _NONE else ADDED, found))
        try:
            hides = self._marks and _is_opaque(own)
            yield from self._directory(own, below, found.path, hides=hides)
        finally:
            del self._waiting[depth:]
            os.close(own)

    def _announced(self, difference: Difference) -> Iterator[Difference]:
        """With the directories on the way that haven't been told yet."""
        yield from self._waiting
        self._waiting.clear()
        yield difference


def _differs(found: Found, before: os.stat_result, below: int) -> bool:
    now = found.status
    owner = (now.st_mode, now.st_uid, now.st_gid, now.st_rdev)
    if owner != (before.st_mode, before.st_uid, before.st_gid, before.st_rdev):
        return True
    if stat.S_ISDIR(now.st_mode):
        return False
    if now.st_size != before.st_size or not _same_time(now.st_mtime_ns, before.st_mtime_ns):
        return True
    return stat.S_ISREG(now.st_mode) and _capability(found.directory, found.name) != _capability(below, found.name)


def _same_time(one_ns: int, other_ns: int) -> bool:
    """A time without fraction may have lost it in an archive."""
    if one_ns == other_ns:
        return True
    second = 1_000_000_000
    return one_ns // second == other_ns // second and (one_ns % second == 0 or other_ns % second == 0)


def _capability(directory: int, name: str) -> bytes:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return b""
    try:
        return os.getxattr(descriptor, _CAPABILITY)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _is_engines_own(found: Found) -> bool:
    """A mount point that the runtime made. What somebody has written there differs as anything else does."""
    if stat.S_ISDIR(found.status.st_mode):
        return found.path in _OWN_DIRECTORIES
    return found.path in _OWN_FILES and (found.status.st_size == 0 or stat.S_ISLNK(found.status.st_mode))


def _is_opaque(directory: int) -> bool:
    try:
        return os.getxattr(directory, OVERLAY_OPAQUE) == b"y"
    except OSError:
        return False
