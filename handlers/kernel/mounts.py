"""Mounts: make, take down, list. Without it overlay layers, volumes and namespaces would each call the kernel."""

import enum
import errno
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from events.errors import SystemFailure
from handlers.kernel.calls import KernelRefused, attempt, call

Result = TypeVar("Result")

OPTIONS_LIMIT_BYTES = 4095  # mount(2) copies one page, with its terminator
_CLONE_FS = 0x200
_CLONE_NEWNS = 0x20000
_MOUNT_SETATTR = 442  # the same on every architecture: numbers above 402 are shared
_MOUNT_ATTR = struct.Struct("=QQQQ")  # `struct mount_attr` of linux/mount.h: set, clear, propagation, user namespace
_MOUNT_ATTR_RDONLY = 1
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_UMOUNT_NOFOLLOW = 8
_OCTAL_ESCAPES = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}


class MountFlag(enum.IntFlag):
    """Flags of mount(2) and umount2(2), as in <linux/mount.h>."""

    READ_ONLY = 1
    NO_SUID = 2
    NO_DEVICES = 4
    NO_EXEC = 8
    REMOUNT = 32
    BIND = 4096
    RECURSIVE = 16384
    PRIVATE = 1 << 18
    SLAVE = 1 << 19
    SHARED = 1 << 20


NO_FLAGS = MountFlag(0)


class MountPoint(msgspec.Struct, frozen=True):
    """A line of /proc/self/mountinfo (proc(5))."""

    path: str
    filesystem: str
    source: str
    device: str  # major:minor
    options: str
    propagation: tuple[str, ...] = ()  # `shared:N`, `master:N` ...; empty is private


class OptionsTooLong(SystemFailure):
    """The mount options don't fit into the page that the kernel reads."""

    def __init__(self, target: str, size: int) -> None:
        self.target, self.size = target, size
        super().__init__(f"mount {target}: max depth exceeded: {size} bytes of options, {OPTIONS_LIMIT_BYTES} fit")


def mount(source: str, target: str, *, filesystem: str = "", flags: MountFlag = NO_FLAGS, options: str = "") -> None:
    """mount(2). Raises KernelRefused, or OptionsTooLong before the kernel would cut the options off."""
    data = os.fsencode(options)
    if len(data) > OPTIONS_LIMIT_BYTES:
        raise OptionsTooLong(target, len(data))
    call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        os.fsencode(filesystem) or None,
        int(flags),
        data or None,
        what=f"mount {target}",
    )


def unmount(target: str, *, detach: bool = True) -> bool:
    """umount2(2), lazily unless told otherwise; False when nothing was mounted there. Raises KernelRefused."""
    flags = _UMOUNT_NOFOLLOW | (2 if detach else 0)
    try:
        call("umount2", os.fsencode(target), flags, what=f"unmount {target}")
    except KernelRefused as refusal:
        if refusal.errno in (errno.EINVAL, errno.ENOENT):
            return False
        raise
    return True


def bind(source: str, target: str, *, recursive: bool = False) -> None:
    """Make a tree visible at another place too."""
    flags = MountFlag.BIND | (MountFlag.RECURSIVE if recursive else NO_FLAGS)
    mount(source, target, flags=flags)


def make_read_only(path: str) -> None:
    """Let nothing be written by way of a mount and what is mounted below it; before Linux 5.12 the mount alone."""
    attributes = _MOUNT_ATTR.pack(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    try:
        call(
            "syscall",
            _MOUNT_SETATTR,
            _AT_FDCWD,
            os.fsencode(path),
            _AT_RECURSIVE,
            attributes,
            len(attributes),
            what=f"mount {path} read-only",
        )
    except KernelRefused as refusal:
        if refusal.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        mount("none", path, flags=MountFlag.BIND | MountFlag.REMOUNT | MountFlag.READ_ONLY)


def leave_host() -> None:
    """Give this process mounts of its own: what others mount still shows here, what it mounts shows nowhere else."""
    call("unshare", _CLONE_NEWNS, what="new mount namespace")
    mount("none", "/", flags=MountFlag.RECURSIVE | MountFlag.SLAVE)


def is_mounted(path: str) -> bool:
    """Whether a file system is mounted at exactly this path; a bind within one file system isn't seen."""
    return os.path.ismount(path)


def parse_mountinfo(text: str) -> tuple[MountPoint, ...]:
    """Read /proc/<pid>/mountinfo; later lines hide earlier ones at the same path."""
    return tuple(_parse_line(line) for line in text.splitlines() if line)


def mounts() -> tuple[MountPoint, ...]:
    """Everything that is mounted in this process's mount namespace."""
    with attempt("read /proc/self/mountinfo"):
        return parse_mountinfo(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))


def mount_holding(path: str, known: tuple[MountPoint, ...]) -> MountPoint:
    """The mount that a path lies on: the deepest, and of those at one path the newest."""
    holding = [point for point in known if f"{path}/".startswith(f"{point.path.rstrip('/')}/")]
    return max(enumerate(holding), key=lambda item: (len(item[1].path), item[0]))[1]


def make_private(path: str) -> bool:
    """See to it that mounts made below a directory don't spread into other mount namespaces.

    A directory on a private mount is left alone; otherwise it becomes a mount point of its own, and True is returned
    when it wasn't one before.
    """
    holding = mount_holding(path, mounts())
    if not holding.propagation:
        return False
    is_new = holding.path != path
    if is_new:
        bind(path, path)
    mount("none", path, flags=MountFlag.PRIVATE)
    return is_new


def in_directory(path: str, function: Callable[[], Result]) -> Result:
    """Run a function in a thread whose working directory is `path`, so that mount options may be relative.

    The thread is its own: unshare(CLONE_FS) parts its working directory from the process's for good.
    """
    outcome: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call("unshare", _CLONE_FS, what="unshare the working directory")
            with attempt(f"enter {path}"):
                os.chdir(path)
            outcome.append(function())
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="mount")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return outcome[0]


def sync_filesystem(path: str) -> None:
    """syncfs(2): everything written to the file system that holds `path` is on disk when this returns."""
    with attempt(f"open {path}"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call("syncfs", descriptor, what=f"sync {path}")
    finally:
        os.close(descriptor)


def _parse_line(line: str) -> MountPoint:
    left, _, right = line.partition(" - ")
    _, _, device, _, path, options, *optional = left.split(" ")
    filesystem, source, *_ = right.split(" ")
    return MountPoint(
        path=_unescape(path),
        filesystem=filesystem,
        source=_unescape(source),
        device=device,
        options=options,
        propagation=tuple(field for field in optional if field),
    )


def _unescape(text: str) -> str:
    for escape, character in _OCTAL_ESCAPES.items():
        text = text.replace(escape, character)
    return text
