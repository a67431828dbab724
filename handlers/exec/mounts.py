"""What is mounted inside a container; without it a program would find neither /proc nor /dev. Pure."""

from collections.abc import Iterable

from events.messages.exec import ResolvedMount
from handlers.exec.oci import Mount

INIT_DESTINATION = "/sbin/docker-init"
DEFAULT_SHM_BYTES = 64 * 1024 * 1024
_SHARED = frozenset({"shared", "rshared"})
_SLAVE = frozenset({"slave", "rslave"})


def _mount(destination: str, kind: str, source: str, options: str) -> Mount:
    return Mount(destination=destination, type=kind, source=source, options=tuple(options.split(",")))


PROC = _mount("/proc", "proc", "proc", "nosuid,noexec,nodev")
DEV = _mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k")
PTS = _mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5")
MQUEUE = _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev")


def base(*, writable_sys: bool, writable_cgroup: bool, shm: Mount | None) -> tuple[Mount, ...]:
    """What every container gets. Without `shm` there is no /dev/shm."""
    sys_mode, cgroup_mode = "rw" if writable_sys else "ro", "rw" if writable_cgroup else "ro"
    return (
        PROC,
        DEV,
        PTS,
        _mount("/sys", "sysfs", "sysfs", f"nosuid,noexec,nodev,{sys_mode}"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", f"{cgroup_mode},nosuid,noexec,nodev"),
        MQUEUE,
        *((shm,) if shm else ()),
    )


def shm(size_bytes: int) -> Mount:
    """A /dev/shm of the container's own."""
    return _mount("/dev/shm", "tmpfs", "shm", f"nosuid,noexec,nodev,mode=1777,size={size_bytes or DEFAULT_SHM_BYTES}")


def bind(destination: str, source: str, *, writable: bool = True) -> Mount:
    """A plain recursive bind mount."""
    return _mount(destination, "bind", source, f"rbind,{'rw' if writable else 'ro'},rprivate")


def merge(defaults: Iterable[Mount], asked: Iterable[ResolvedMount], *, recursive_read_only: bool) -> tuple[Mount, ...]:
    """Defaults without what a client's mount replaces, then the client's, parents before children.

    `recursive_read_only`: the kernel can make submounts read-only too (mount_setattr(2), Linux 5.12).
    """
    given = [_resolved(mount, recursive_read_only=recursive_read_only) for mount in asked]
    places = {mount.destination for mount in given}
    kept = [mount for mount in defaults if not _replaced(mount.destination, places)]
    return (*kept, *sorted(given, key=lambda mount: mount.destination.count("/")))


def _replaced(destination: str, places: set[str]) -> bool:
    """A mount of one's own on /dev also stands for what would be below it."""
    return destination in places or ("/dev" in places and destination.startswith("/dev/"))


def _resolved(mount: ResolvedMount, *, recursive_read_only: bool) -> Mount:
    if mount.type == "tmpfs":
        options = mount.options.split(",") if mount.options else ["noexec", "nosuid", "nodev"]
        extra = [] if mount.writable or "ro" in options else ["ro"]
        return Mount(destination=mount.destination, type="tmpfs", source="tmpfs", options=(*options, *extra))
    options = ["bind" if mount.non_recursive else "rbind", mount.propagation or "rprivate"]
    if mount.writable:
        options.append("rw")
    else:
        options.append("ro")
        if recursive_read_only and not (mount.non_recursive or mount.read_only_non_recursive):
            options.append("rro")
    return Mount(destination=mount.destination, type="bind", source=mount.source, options=tuple(options))


def rootfs_propagation(asked: Iterable[ResolvedMount]) -> str:
    """The root must propagate where a mount in it is to: "shared", "rslave", or "" for the runtime's default."""
    wanted = {mount.propagation for mount in asked}
    if wanted & _SHARED:
        return "shared"
    return "rslave" if wanted & _SLAVE else ""
