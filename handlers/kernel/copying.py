"""Copies of whole directories, with all that a file system knows of a file; durable when they are done.

The host's cp(1) does the work: it keeps owners, modes, times to the nanosecond, extended attributes, hard links,
holes and special files, shares blocks where the file system can, and never follows a link below its source.
"""

import os
import subprocess
from pathlib import Path

import anyio

from events.errors import DeadlineExceeded, SystemFailure

COPY_TIMEOUT_S = 3600.0
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


async def copy_directory(source_descriptor: int, target: Path) -> None:
    """Copy what an open directory holds, and its own attributes, into the directory `target`, and sync it.

    Raises SystemFailure with cp's own words, DeadlineExceeded after COPY_TIMEOUT_S.
    """
    source = f"/proc/self/fd/{source_descriptor}/."
    with anyio.move_on_after(COPY_TIMEOUT_S) as scope:
        await _run("cp", "-a", "--reflink=auto", "--", source, str(target), descriptor=source_descriptor)
        await _run("sync", "--file-system", str(target))
    if scope.cancelled_caught:
        raise DeadlineExceeded(f"the copy into {target} took longer than {COPY_TIMEOUT_S:.0f} s")


def copy_attributes(source: Path, status: os.stat_result, target: Path) -> None:
    """Give a directory another's owner, mode and times, as they were in `status`, and its extended attributes.

    Blocking; raises OSError.
    """
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    for name in os.listxattr(source):
        os.setxattr(target, name, os.getxattr(source, name))
    target.chmod(status.st_mode & 0o7777)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


async def _run(*command: str, descriptor: int | None = None) -> None:
    descriptors = () if descriptor is None else (descriptor,)
    # With the engine its helpers end: a copy that went on alone would meet the recovery that clears it away.
    result = await anyio.run_process(
        ("setpriv", "--pdeathsig", "KILL", "--", *command),
        check=False,
        stdin=subprocess.DEVNULL,
        env=_ENVIRONMENT,
        pass_fds=descriptors,
    )
    if result.returncode != 0:
        lines = result.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {result.returncode}"]
        raise SystemFailure(f"{command[0]}: {lines[-1]}")
