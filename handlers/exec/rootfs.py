"""A container's own files, read and made without ever leaving its root directory. Blocking."""

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from events.errors import SystemFailure
from handlers.kernel.calls import reason
from handlers.kernel.openat2 import open_in_root

_TEXT_BYTES = 4 * 1024 * 1024


@contextmanager
def _opened(root: Path | str) -> Iterator[int]:
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_text(root: Path | str, path: str) -> str:
    """A regular file's text (4 MiB at most), "" when there is none: an image needn't have a passwd."""
    try:
        with _opened(root) as descriptor:
            file = open_in_root(descriptor, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        return ""
    with os.fdopen(file, "rb") as stream:
        return stream.read(_TEXT_BYTES).decode(errors="replace")


def ensure_directory(root: Path | str, path: str) -> None:
    """Make a directory and its parents (0755, root) where they are missing. Raises SystemFailure."""
    clean = posixpath.normpath("/" + path)
    try:
        with _opened(root) as descriptor:
            _ensure(descriptor, clean)
    except NotADirectoryError as error:
        raise SystemFailure(f"Cannot mkdir: {path} is not a directory") from error
    except OSError as error:
        raise SystemFailure(f"Cannot mkdir: {path}: {reason(error.errno or 0)}") from error


def _ensure(root: int, path: str) -> None:
    try:
        os.close(open_in_root(root, path, os.O_PATH | os.O_DIRECTORY))
    except FileNotFoundError:
        parent, name = posixpath.split(path)
        if path == "/":
            raise
        _ensure(root, parent)
        above = open_in_root(root, parent, os.O_PATH | os.O_DIRECTORY)
        try:
            os.mkdir(name, 0o755, dir_fd=above)
        finally:
            os.close(above)


def open_below(source: str, subpath: str) -> int:
    """Hold what `subpath` names inside a volume. Raises SystemFailure."""
    try:
        with _opened(source) as descriptor:
            return open_in_root(descriptor, subpath, os.O_PATH)
    except OSError as error:
        what = "does not exist" if error.errno == errno.ENOENT else reason(error.errno or 0)
        raise SystemFailure(f"cannot access path {source}/{subpath}: {what}") from error
