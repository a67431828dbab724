"""Sources of a container's mounts, made and held for as long as the runtime needs them."""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from events.errors import InvalidParameter
from events.messages.exec import ResolvedMount
from handlers.exec.rootfs import open_below


def hold(mounts: Iterable[ResolvedMount], resources: ExitStack) -> tuple[ResolvedMount, ...]:
    """The same mounts with sources that mean what they do now for as long as `resources` are held. Blocking.

    A path inside a volume is held open and named by the descriptor (proc_pid_fd(5)): whoever can write into the volume
    can't put a symbolic link to elsewhere in its place before the runtime mounts it.
    """
    return tuple(_settle(mount, resources) for mount in mounts)


def _settle(mount: ResolvedMount, resources: ExitStack) -> ResolvedMount:
    if mount.type != "bind":
        return mount
    if mount.create_source and not os.path.lexists(mount.source):
        Path(mount.source).mkdir(parents=True, exist_ok=True)
    if not mount.subpath:
        if not Path(mount.source).exists():
            raise InvalidParameter(
                f'invalid mount config for type "bind": bind source path does not exist: {mount.source}'
            )
        return mount
    descriptor = open_below(mount.source, mount.subpath)
    resources.callback(os.close, descriptor)
    return msgspec.structs.replace(mount, source=f"/proc/{os.getpid()}/fd/{descriptor}", subpath="")
