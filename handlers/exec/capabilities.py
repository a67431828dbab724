"""Which capabilities a container gets; without it every container would be root in full. Pure.

Names and order: linux/capability.h. The default set is the one Docker documents
(https://docs.docker.com/engine/security/#linux-kernel-capabilities).
"""

from collections.abc import Iterable

from events.errors import InvalidParameter
from events.messages.container import HostConfig

ALL = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID"),
    *("CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST"),
    *("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO"),
    *("CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE"),
    *("CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE"),
    *("CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM"),
    *("CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"),
)
DEFAULT = frozenset(
    (
        *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID"),
        *("CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL"),
        "CAP_AUDIT_WRITE",
    )
)
_EVERY = "ALL"


def from_mask(mask: int) -> tuple[str, ...]:
    """The names of a bit mask, as CapBnd of proc_pid_status(5) has it."""
    return tuple(name for bit, name in enumerate(ALL) if mask >> bit & 1)


def choose(host: HostConfig, available: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The capabilities a container asks for and can have, in the kernel's order, and warnings for the rest.

    `available` is the daemon's own bounding set. Raises InvalidParameter for an unknown name.
    """
    added, dropped = _parse("CapAdd", host.cap_add), _parse("CapDrop", host.cap_drop)
    if host.privileged:
        return available, _missing(ALL, available)
    wanted = _tweak(added, dropped)
    # ALL means all there are; what was asked for by name and can't be had deserves a word
    warned = _missing(sorted((added - {_EVERY}) & wanted), available)
    return tuple(name for name in available if name in wanted), warned


def _tweak(added: frozenset[str], dropped: frozenset[str]) -> frozenset[str]:
    if _EVERY in added:
        return frozenset(ALL) - dropped
    base = frozenset() if _EVERY in dropped else DEFAULT - dropped
    return base | added


def _parse(field: str, names: Iterable[str]) -> frozenset[str]:
    return frozenset(_canonical(field, name) for name in names)


def _canonical(field: str, name: str) -> str:
    upper = name.upper()
    if upper == _EVERY:
        return _EVERY
    full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    if full not in ALL:
        raise InvalidParameter(f'invalid {field}: unknown capability: "{full}"')
    return full


def _missing(wanted: Iterable[str], available: tuple[str, ...]) -> tuple[str, ...]:
    names = [name for name in wanted if name not in available]
    return (f"capabilities that the engine itself lacks were left out: {', '.join(names)}",) if names else ()
