"""Binds that must be read-only with all that is mounted below them; without it that wish would go unheard. Pure."""

from collections.abc import Iterable

from events.messages.container import BindOptions, Mount
from handlers.exec.errors import ReadOnlyOptionsConflict, RecursiveReadOnlyUnsupported
from handlers.exec.host_facts import HostFacts

OPTION = "rro"  # of runtimes, since runc 1.1
_KERNEL = (5, 12)  # mount_setattr(2)


def can_be_recursive(facts: HostFacts) -> bool:
    """Whether the kernel can make what is mounted below a bind read-only too."""
    return facts.kernel >= _KERNEL


def is_forced(mounts: Iterable[Mount], facts: HostFacts) -> bool:
    """Whether a client insists on it. Raises ReadOnlyOptionsConflict, RecursiveReadOnlyUnsupported."""
    forced = False
    for mount in mounts:
        options = mount.bind_options
        if options is not None and options.read_only_force_recursive:
            _check(mount, options)
            forced = True
    if forced and not can_be_recursive(facts):
        raise RecursiveReadOnlyUnsupported("the kernel is older than 5.12")
    return forced


def _check(mount: Mount, options: BindOptions) -> None:
    if not mount.read_only:
        raise ReadOnlyOptionsConflict("a mount that isn't ReadOnly")
    if options.read_only_non_recursive:
        raise ReadOnlyOptionsConflict("ReadOnlyNonRecursive")
    if options.non_recursive:
        raise ReadOnlyOptionsConflict("NonRecursive")
