"""What a specification must know of the host; read once, so that building one stays pure."""

import msgspec

CONTROLLERS = frozenset({"memory", "cpu", "cpuset", "pids", "blkio"})  # that limits need


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The host as the daemon sees it. Limits of the daemon's own process bound what it can give away."""

    cgroup_version: int  # 1 (also hybrid) or 2
    bounding_capabilities: tuple[str, ...]  # CAP_CHOWN ..., in the kernel's order
    hard_limits: dict[str, int]  # RLIMIT_NOFILE -> the daemon's own hard limit; -1 is unlimited
    oom_score_adj: int  # the daemon's own
    kernel: tuple[int, int]  # 6, 18
    machine: str  # as uname(2) tells it: x86_64
    seccomp: bool
    apparmor: bool
    selinux: bool
    swap_limit: bool  # the memory controller counts swap
    blkio_weight: bool  # the block controller has weights
    blkio_weight_device: bool  # and one for each device
    controllers: frozenset[str] = CONTROLLERS  # of cgroups, in version 1's names
    cpu_realtime: bool = False  # the cpu controller shares out time of the real-time scheduler

    @property
    def may_raise_limits(self) -> bool:
        """Whether limits above the daemon's own can be given."""
        return "CAP_SYS_RESOURCE" in self.bounding_capabilities
