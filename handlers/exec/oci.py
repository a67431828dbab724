"""The OCI runtime configuration as types; without it a misspelt field would be ignored by the runtime in silence.

Source: https://github.com/opencontainers/runtime-spec/blob/v1.0.2/config.md and config-linux.md. Only what is used.
"""

import msgspec

VERSION = "1.0.2"


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Any object of the configuration; what has its default is left out."""


class User(Part, frozen=True, kw_only=True):
    """Whom the process runs as."""

    uid: int
    gid: int
    additional_gids: tuple[int, ...] = ()


class Box(Part, frozen=True, kw_only=True):
    """A terminal's size in characters."""

    height: int
    width: int


class Capabilities(Part, frozen=True, kw_only=True):
    """The sets of capabilities(7); ambient and inheritable stay empty, as Docker keeps them."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()


class Rlimit(Part, frozen=True, kw_only=True):
    """A limit of setrlimit(2), `type` as RLIMIT_NOFILE."""

    type: str
    hard: int
    soft: int


class Process(Part, frozen=True, kw_only=True):
    """What runs and with which rights."""

    user: User
    args: tuple[str, ...]
    cwd: str
    env: tuple[str, ...] = ()
    terminal: bool = False
    console_size: Box | None = None
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    selinux_label: str = ""
    oom_score_adj: int | None = None


class Root(Part, frozen=True, kw_only=True):
    """The root file system."""

    path: str
    readonly: bool = False


class Mount(Part, frozen=True, kw_only=True):
    """A mount inside the container."""

    destination: str
    type: str
    source: str
    options: tuple[str, ...] = ()


class Namespace(Part, frozen=True, kw_only=True):
    """A namespace, new where `path` is empty."""

    type: str
    path: str = ""


class Device(Part, frozen=True, kw_only=True):
    """A device node to make."""

    path: str
    type: str
    major: int
    minor: int
    file_mode: int
    uid: int = 0
    gid: int = 0


class DeviceRule(Part, frozen=True, kw_only=True):
    """A rule of the device controller; None is every number."""

    allow: bool
    access: str
    type: str = ""
    major: int | None = None
    minor: int | None = None


class Memory(Part, frozen=True, kw_only=True):
    """Memory limits in bytes."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool = msgspec.field(default=False, name="disableOOMKiller")


class Cpu(Part, frozen=True, kw_only=True):
    """CPU limits; periods, quota and run time in us."""

    shares: int | None = None
    quota: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""


class Pids(Part, frozen=True, kw_only=True):
    """How many processes."""

    limit: int


class Weight(Part, frozen=True, kw_only=True):
    """Block I/O weight of a device."""

    major: int
    minor: int
    weight: int


class Throttle(Part, frozen=True, kw_only=True):
    """Block I/O limit of a device, bytes or operations per second."""

    major: int
    minor: int
    rate: int


class BlockIO(Part, frozen=True, kw_only=True):
    """Block I/O limits."""

    weight: int | None = None
    weight_device: tuple[Weight, ...] = ()
    throttle_read_bps_device: tuple[Throttle, ...] = ()
    throttle_write_bps_device: tuple[Throttle, ...] = ()
    throttle_read_iops_device: tuple[Throttle, ...] = msgspec.field(default=(), name="throttleReadIOPSDevice")
    throttle_write_iops_device: tuple[Throttle, ...] = msgspec.field(default=(), name="throttleWriteIOPSDevice")


class Resources(Part, frozen=True, kw_only=True):
    """What the cgroup is set to; the runtime translates for cgroup v2."""

    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = msgspec.field(default=None, name="blockIO")


class SeccompArgument(Part, frozen=True, kw_only=True):
    """A condition on a system call's argument."""

    index: int
    value: int
    op: str
    value_two: int = 0


class SeccompRule(Part, frozen=True, kw_only=True):
    """What to do for some system calls."""

    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SeccompArgument, ...] = ()


class Seccomp(Part, frozen=True, kw_only=True):
    """A filter of seccomp(2)."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[SeccompRule, ...] = ()


class Linux(Part, frozen=True, kw_only=True):
    """The part that only Linux has."""

    namespaces: tuple[Namespace, ...]
    cgroups_path: str
    resources: Resources
    devices: tuple[Device, ...] = ()
    seccomp: Seccomp | None = None
    sysctl: dict[str, str] = {}
    rootfs_propagation: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""


class Specification(Part, frozen=True, kw_only=True):
    """The whole config.json."""

    oci_version: str = msgspec.field(name="ociVersion")
    process: Process
    root: Root
    mounts: tuple[Mount, ...]
    linux: Linux
    hostname: str = ""
    annotations: dict[str, str] = {}
