"""What an archive's deletion marks become on disk: overlayfs's own marks, or a deletion at once in a copied tree.

Without it a file that an upper layer removed would come back. The format: OCI image specification, layer.md,
"Whiteouts". A mark hides what lower layers have, never what its own layer brings. Runs in the unpacking process.
"""

# paths stay strings, as the archive has them: many thousand entries pass here
# ruff: noqa: PTH106, PTH108, PTH118, PTH208
import os
import stat
from collections.abc import Sequence
from typing import Protocol

PREFIX = ".wh."
OPAQUE = ".wh..wh..opq"
RESERVED = ".wh..wh."
OVERLAY_OPAQUE = "trusted.overlay.opaque"
# the drivers' own: an archive must not bring any
OVERLAY_ATTRIBUTES = ("trusted.overlay.", "user.overlay.", "user.fuseoverlayfs.")


class Whiteouts(Protocol):
    """How deletion marks are kept; all paths are relative to the layer's root, which is the working directory."""

    def hide(self, path: str) -> None:
        """Lower layers' `path` is not to be seen. Its directory exists."""

    def hide_content(self, directory: str) -> None:
        """Nothing that lower layers have in a directory is to be seen. It exists."""

    def placed(self, path: str, *, replaced: os.stat_result | None) -> None:
        """The layer has brought `path`, in place of something or not."""

    def finish(self, lineage: Sequence[int]) -> None:
        """All entries are there, and so are the lower layers, whose open directories these are."""


def is_overlay_whiteout(status: os.stat_result) -> bool:
    """A character device 0/0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def lstat(path: str) -> os.stat_result | None:
    """The status of a path itself, None when it is absent."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


class OverlayMarks:
    """Marks as overlayfs reads them (kernel: Documentation/filesystems/overlayfs.rst)."""

    def __init__(self) -> None:
        self._root_is_opaque = False

    def hide(self, path: str) -> None:
        """A 0/0 device; where this layer has a directory already, that hides what is below it."""
        found = lstat(path)
        if found is None:
            os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))
        elif stat.S_ISDIR(found.st_mode):
            self.hide_content(path)

    def hide_content(self, directory: str) -> None:
        """An extended attribute; the root has to wait until all of this layer's own entries are known."""
        if directory in ("", "."):
            self._root_is_opaque = True
        else:
            os.setxattr(directory, OVERLAY_OPAQUE, b"y", follow_symlinks=False)

    def placed(self, path: str, *, replaced: os.stat_result | None) -> None:
        """A directory in a whiteout's place mustn't merge with what the whiteout hid."""
        if replaced is not None and is_overlay_whiteout(replaced) and stat.S_ISDIR(os.lstat(path).st_mode):
            self.hide_content(path)

    def finish(self, lineage: Sequence[int]) -> None:
        """Overlayfs ignores an opaque root: hide each of the lower layers' names there instead."""
        if self._root_is_opaque:
            for name in {name for lower in lineage for name in os.listdir(lower)}:
                self.hide(name)


class AufsMarks:
    """Marks as aufs reads them: empty files `.wh.<name>`, and `.wh..wh..opq` in an opaque directory (aufs(5))."""

    def __init__(self) -> None:
        self._root_is_opaque = False

    def hide(self, path: str) -> None:
        """A file beside it; where this layer has a directory of that name, the directory becomes opaque instead."""
        found = lstat(path)
        if found is None:
            _touch(_mark(path))
        elif stat.S_ISDIR(found.st_mode):
            self.hide_content(path)

    def hide_content(self, directory: str) -> None:
        """A file in it; the root has to wait until all of this layer's own entries are known."""
        if directory in ("", "."):
            self._root_is_opaque = True
        else:
            _touch(os.path.join(directory, OPAQUE))

    def placed(self, path: str, *, replaced: os.stat_result | None) -> None:
        """A name is there or marked as deleted, never both; a directory in a mark's place doesn't merge."""
        try:
            os.unlink(_mark(path))
        except FileNotFoundError:
            return
        if stat.S_ISDIR(os.lstat(path).st_mode):
            self.hide_content(path)

    def finish(self, lineage: Sequence[int]) -> None:
        """Hide each of the lower layers' names in an opaque root."""
        if self._root_is_opaque:
            for name in {name for lower in lineage for name in os.listdir(lower)}:
                if not name.startswith(PREFIX):
                    self.hide(name)


def _mark(path: str) -> str:
    directory, base = os.path.split(path)
    return os.path.join(directory, PREFIX + base)


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o444))


class Deletions:
    """No marks: the tree is a copy of the lower layers, and what is hidden is removed."""

    def __init__(self) -> None:
        self._own: set[int] = set()  # inode numbers of what this layer brought

    def hide(self, path: str) -> None:
        """Remove it, unless this layer brought it."""
        found = lstat(path)
        if found is not None:
            self._prune(path, found)

    def hide_content(self, directory: str) -> None:
        """Remove everything in it that this layer didn't bring."""
        for name in os.listdir(directory or "."):
            self.hide(os.path.join(directory, name))

    def placed(self, path: str, *, replaced: os.stat_result | None) -> None:
        """Remember it as this layer's own."""
        self._own.add(os.lstat(path).st_ino)

    def finish(self, lineage: Sequence[int]) -> None:
        """Nothing is left to do."""

    def _prune(self, path: str, found: os.stat_result) -> None:
        if not stat.S_ISDIR(found.st_mode):
            if found.st_ino not in self._own:
                os.unlink(path)
            return
        self.hide_content(path)
        if found.st_ino not in self._own and not os.listdir(path):
            os.rmdir(path)
