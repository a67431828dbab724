"""Copies of whole directories, with all that a file system knows of a file.

The host's cp(1) does the work: it keeps owners, modes, times to the nanosecond, extended attributes, hard links,
holes and special files, shares blocks where the file system can, and never follows a link below its source. Below its
target it trusts what it finds: nobody else may reach that.
"""

import errno
import os
import subprocess

import anyio

from events.errors import DeadlineExceeded, SystemFailure

COPY_TIMEOUT_S = 3600.0
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class CopyFailed(SystemFailure):
    """A directory that can't be copied; `why` in cp's own words."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"copy: {why}")


async def copy_directory(source_descriptor: int, target_descriptor: int) -> None:
    """Copy what an open directory holds, and its own attributes, into another one. It may not be on disk yet.

    Raises CopyFailed, DeadlineExceeded after COPY_TIMEOUT_S.
    """
    # With the engine its helper ends: a copy that went on alone would meet the recovery that clears it away.
    command = ["setpriv", "--pdeathsig", "KILL", "--", "cp", "-a", "--reflink=auto", "--"]
    with anyio.move_on_after(COPY_TIMEOUT_S) as scope:
        result = await anyio.run_process(
            [*command, f"/proc/self/fd/{source_descriptor}/.", f"/proc/self/fd/{target_descriptor}"],
            check=False,
            stdin=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            pass_fds=(source_descriptor, target_descriptor),
        )
    if scope.cancelled_caught:
        raise DeadlineExceeded(f"the copy took longer than {COPY_TIMEOUT_S:.0f} s")
    if result.returncode != 0:
        lines = result.stderr.decode(errors="replace").strip().splitlines()
        raise CopyFailed(lines[-1] if lines else f"exit status {result.returncode}")


def copy_attributes(source: int | str, status: os.stat_result, target: int | str) -> None:
    """Give a file or directory another's owner, extended attributes, mode and times; the first and last from `status`.

    Both are descriptors, or paths whose last component may not be a link. Blocking; raises OSError.
    """
    os.chown(target, status.st_uid, status.st_gid)
    for name in os.listxattr(source):
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno != errno.ENOTSUP:  # not every file system has them; cp -a does without, too
                raise
    os.chmod(target, status.st_mode & 0o7777)  # noqa: PTH101 - a descriptor, as a rule
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
