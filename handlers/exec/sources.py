"""Sources of a container's mounts, made and held for as long as the runtime needs them."""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from events.errors import InvalidParameter
from events.messages.exec import ResolvedMount
from handlers.exec.errors import NotPropagating, SourceExchanged
from handlers.exec.rootfs import open_below
from handlers.kernel.mounts import mount_holding, mounts
from handlers.kernel.openat2 import open_in_root

_SHARED = frozenset({"shared", "rshared"})
_SLAVE = frozenset({"slave", "rslave"})


class Held(msgspec.Struct, frozen=True):
    """Mounts as the runtime gets them, and by destination the descriptors of what lies inside of volumes."""

    mounts: tuple[ResolvedMount, ...]
    parts: dict[str, int]


def hold(mounts: Iterable[ResolvedMount], resources: ExitStack) -> Held:
    """The same mounts with their sources found, for as long as `resources` are held. Blocking.

    A path inside a volume is held open: the runtime gets its name, and whoever can write into the volume may put a
    symbolic link to elsewhere in its place before it is mounted. `verify` tells.
    """
    parts: dict[str, int] = {}
    return Held(tuple(_settle(mount, parts, resources) for mount in mounts), parts)


def verify(pid: int, held: Held) -> None:
    """Whether a process that waits for its start has what was held, where it was to have it. Blocking.

    Raises SourceExchanged: then it mustn't start.
    """
    for destination, descriptor in held.parts.items():
        try:
            root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                mounted = open_in_root(root, destination, os.O_PATH)
            finally:
                os.close(root)
        except OSError as error:
            raise SourceExchanged(destination) from error
        try:
            if not os.path.samestat(os.fstat(mounted), os.fstat(descriptor)):
                raise SourceExchanged(destination)
        finally:
            os.close(mounted)


def _settle(mount: ResolvedMount, parts: dict[str, int], resources: ExitStack) -> ResolvedMount:
    if mount.type != "bind":
        return mount
    if mount.create_source and not os.path.lexists(mount.source):
        Path(mount.source).mkdir(parents=True, exist_ok=True)
    if not mount.subpath:
        if not Path(mount.source).exists():
            raise InvalidParameter(
                f'invalid mount config for type "bind": bind source path does not exist: {mount.source}'
            )
        _check_propagation(mount)
        return mount
    descriptor = open_below(mount.source, mount.subpath)
    resources.callback(os.close, descriptor)
    parts[mount.destination] = descriptor
    return msgspec.structs.replace(mount, source=str(Path(f"/proc/self/fd/{descriptor}").readlink()), subpath="")


def _check_propagation(mount: ResolvedMount) -> None:
    """Mounts spread to and from a container only where they spread on the host. Raises NotPropagating."""
    if mount.propagation not in _SHARED | _SLAVE:
        return
    holding = mount_holding(os.path.realpath(mount.source), mounts())
    kinds = {field.partition(":")[0] for field in holding.propagation}
    if mount.propagation in _SHARED and "shared" not in kinds:
        raise NotPropagating(mount.source, holding.path, "a shared mount")
    if not kinds & {"shared", "master"}:
        raise NotPropagating(mount.source, holding.path, "a shared or slave mount")
