"""What directories are made like; without it a copied or stacked layer would lose its owners, modes and times."""

import os
from pathlib import Path

import anyio

from events.errors import SystemFailure
from handlers.layers.drivers.lineage import Metadata

_LIMIT_S = 3600.0


class CopyFailed(SystemFailure):
    """A tree that can't be copied."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(f"copy {path}: {why}")


async def copy_tree(source: Path, target: Path) -> None:
    """Copy the content of a directory, and its own metadata, into an existing one: hard links, holes, attributes,
    times and all; blocks are shared where the file system can. Raises CopyFailed."""
    command = ["cp", "-a", "--reflink=auto", "-T", "--", str(source), str(target)]
    with anyio.fail_after(_LIMIT_S):
        process = await anyio.run_process(command, check=False)
    if process.returncode:
        raise CopyFailed(source, _last_line(process.stderr))


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
