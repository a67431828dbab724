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
    log: LogConfig = LogConfig(type="json-file")
