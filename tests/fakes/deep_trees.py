"""Trees as a container can make them, deeper than any path and than Python's stack."""

import errno
import os
from pathlib import Path

DEPTH = 1500


def dig(directory: Path) -> None:
    """Make directories within directories, and the first one if it isn't there."""
    directory.mkdir(exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    for _ in range(DEPTH):
        try:
            os.mkdir("directory", dir_fd=descriptor)
        except OSError as error:
            assert error.errno == errno.ENAMETOOLONG  # noqa: PT017 - FUSE goes no deeper
            break
        deeper = os.open("directory", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    os.close(descriptor)
