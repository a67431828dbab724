"""A container's file system put together for a process that looks into it: its layer, and what is mounted in it.

Without it `docker cp` would reach a volume's place in the image instead of the volume. All of it is mounted in the
process's own mount namespace and goes with it; names resolve inside the container's root from the first mount on, so
that nothing a container plants leads out. Runs in the helper process.
"""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from events.messages.layer import ViewMount
from handlers.kernel import confinement, mounts
from handlers.kernel.calls import attempt
from handlers.kernel.openat2 import open_in_root
from handlers.layers.drivers.lineage import Lineage
from handlers.layers.drivers.trees import adorn_directory
from handlers.layers.ports import Subject, Tree

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_MODE = 0o755  # of a mount point that is made


def enter(tree: Tree, subject: Subject, *, changes: bool) -> None:
    """Make the view and stand in its root. `changes`: what is written stays in the layer. Raises KernelRefused."""
    mounts.leave_host()
    root = assemble(tree, changes=changes)
    if changes and not subject.writable:
        mounts.bind(root, root)
        mounts.make_read_only(root)
    with attempt(f"open {root}"):
        descriptor = os.open(root, _DIRECTORY)
    try:
        _mount_all(descriptor, subject.mounts)
    finally:
        os.close(descriptor)
    confinement.enter_root(root)


def assemble(tree: Tree, *, changes: bool) -> str:
    """The path of the layer's whole tree, stacked here unless it is already. The namespace is the process's own."""
    if not tree.links:
        return tree.own
    if mounts.is_mounted(tree.mounted):
        return tree.mounted
    return _stack(tree) if changes else _stack_for_reading(tree)


def lower_tree(tree: Tree) -> str:
    """The path of what is below the layer, as one tree; "" when there is nothing."""
    if not tree.links or len(tree.below) < 2:
        return tree.below[0] if tree.below else ""
    place = tree.work  # overlayfs's own, and hidden in this namespace only
    os.chdir(tree.base)
    mounts.mount("overlay", place, filesystem="overlay", options=f"lowerdir={':'.join(tree.links)}{tree.options}")
    return place


def _stack(tree: Tree) -> str:
    os.chdir(tree.base)
    layers = f"lowerdir={':'.join(tree.links)},upperdir={tree.own},workdir={tree.work}{tree.options}"
    mounts.mount("overlay", tree.mounted, filesystem="overlay", options=layers)
    return tree.mounted


def _stack_for_reading(tree: Tree) -> str:
    """Upon memory, which takes the mount points that have to be made: nothing changes on disk."""
    os.chdir(tree.base)
    memory = tree.mounted
    mounts.mount("tmpfs", memory, filesystem="tmpfs", options="mode=700")
    root, upper, work = (f"{memory}/{name}" for name in ("root", "upper", "work"))
    with attempt(f"make {memory}"):
        for place in (root, upper, work):
            Path(place).mkdir()
        inherited = Lineage([tree.own])
        try:
            adorn_directory(Path(upper), inherited.directory(""))
        finally:
            inherited.close()
    names = ":".join((tree.own_link, *tree.links))
    layers = f"lowerdir={names},upperdir={upper},workdir={work}{tree.options}"
    mounts.mount("overlay", root, filesystem="overlay", options=layers)
    return root


def _mount_all(root: int, wanted: Iterable[ViewMount]) -> None:
    for mount in wanted:
        source = _open_source(mount)
        if source is None:
            continue
        try:
            _mount(root, mount, source)
        finally:
            os.close(source)


def _open_source(mount: ViewMount) -> int | None:
    with attempt(f"open {mount.source}"):
        try:
            source = os.open(mount.source, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            if mount.optional:
                return None
            raise
        if not mount.subpath:
            return source
        try:
            return open_in_root(source, mount.subpath, os.O_PATH)
        finally:
            os.close(source)


def _mount(root: int, mount: ViewMount, source: int) -> None:
    is_directory = stat.S_ISDIR(os.fstat(source).st_mode)
    with attempt(f"open {mount.destination}"):
        target = _open_target(root, mount.destination, is_directory=is_directory)
    if target is None:
        return
    try:
        mounts.bind(f"/proc/self/fd/{source}", f"/proc/self/fd/{target}", recursive=mount.recursive)
    finally:
        os.close(target)
    if not mount.writable:
        with attempt(f"open {mount.destination}"):
            mounted = open_in_root(root, mount.destination, os.O_PATH)
        try:
            mounts.make_read_only(f"/proc/self/fd/{mounted}")
        finally:
            os.close(mounted)


def _open_target(root: int, path: str, *, is_directory: bool) -> int | None:
    """The mount point, made where it is missing as the runtime would; None where that can't be."""
    try:
        return open_in_root(root, path, os.O_PATH)
    except FileNotFoundError:
        parent, name = os.path.split(path.rstrip("/"))
        above = _open_target(root, parent, is_directory=True)
    if above is None:
        return None
    try:
        _make(above, name, is_directory=is_directory)
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EEXIST, errno.ENOTDIR):  # EEXIST: a link that leads nowhere
            return None
        raise
    finally:
        os.close(above)
    return open_in_root(root, path, os.O_PATH)


def _make(directory: int, name: str, *, is_directory: bool) -> None:
    if is_directory:
        os.mkdir(name, _MODE, dir_fd=directory)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, _MODE, dir_fd=directory))
