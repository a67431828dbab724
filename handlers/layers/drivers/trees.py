"""What directories are made like; without it a stacked layer would lose its root's owner, mode and times."""

import os
from pathlib import Path

from handlers.layers.drivers.lineage import Metadata


def adorn_directory(path: Path, metadata: Metadata | None) -> None:
    """Give a directory another's owner, mode, attributes and time. Raises OSError."""
    if metadata is None:
        return
    os.chown(path, metadata.uid, metadata.gid)
    path.chmod(metadata.mode)
    for name, value in metadata.attributes.items():
        os.setxattr(path, name, value)
    os.utime(path, ns=(metadata.modified_ns, metadata.modified_ns))
