"""What the host and the daemon's configuration say about containers; checks and defaults read it."""

import msgspec

from events.messages.container import LogConfig, Ulimit

DEFAULT_SHM_BYTES = 64 * 1024 * 1024


class HostLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the host and the daemon's configuration say about containers."""

    cpus: frozenset[int]
    memory_nodes: frozenset[int] = frozenset({0})
    cgroup_version: int = 1
    hostname: str = ""
    platform: tuple[str, ...] = ("linux", "amd64", "")  # operating system, architecture, variant in OCI's words
    runtimes: frozenset[str] = frozenset({"runc"})
    default_runtime: str = "runc"
    shm_bytes: int = DEFAULT_SHM_BYTES
    ulimits: tuple[Ulimit, ...] = ()
    init: bool = False
    cgroup_parent: str = ""
    systemd_cgroup: bool = False
    cpu_realtime: bool = False  # the kernel shares out time of its real-time scheduler
    cpu_realtime_runtime_us: int = 0  # what all containers together may have of it
    ipc_mode: str = "private"  # for containers that don't say
    cgroupns_mode: str = ""  # likewise; "": private with cgroup v2, else the host's
    inter_container: bool = True  # whether containers on the default bridge reach each other
    log: LogConfig = LogConfig(type="json-file")
