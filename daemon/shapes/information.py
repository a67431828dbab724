"""What `docker version` and `docker info` tell of engine and host, apart from counts that the state has."""

import msgspec


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """A program that the engine stands on."""

    name: str  # "Engine", "conmon", "runc", "nats-server", "docker-init" ...
    version: str
    details: dict[str, str] = {}


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel can limit."""

    memory_limit: bool = True
    swap_limit: bool = True
    cpu_period: bool = True
    cpu_quota: bool = True
    cpu_shares: bool = True
    cpu_set: bool = True
    pids_limit: bool = True
    oom_kill_disable: bool = True
    ipv4_forwarding: bool = True


class Registries(msgspec.Struct, frozen=True, kw_only=True):
    """How registries are to be talked to."""

    insecure_hosts: tuple[str, ...] = ()
    insecure_cidrs: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()


class Information(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about one engine on one host; they change only when the daemon's configuration is read again."""

    engine_id: str
    version: str
    git_commit: str = ""
    build_time: str = ""  # RFC 3339
    components: tuple[Component, ...] = ()
    host_name: str
    kernel_version: str
    operating_system: str
    os_version: str = ""
    architecture: str  # as the kernel names it: x86_64
    go_architecture: str  # as Docker names it: amd64
    cpus: int
    memory_bytes: int
    data_root: str
    storage_driver: str
    storage_status: tuple[tuple[str, str], ...] = ()
    cgroup_driver: str = "cgroupfs"
    cgroup_version: int = 1
    logging_driver: str = "json-file"
    volume_drivers: tuple[str, ...] = ("local",)
    network_drivers: tuple[str, ...] = ("bridge", "host", "null")
    log_drivers: tuple[str, ...] = ("json-file",)
    runtimes: dict[str, str] = {}  # name -> path
    default_runtime: str = "runc"
    init_binary: str = ""
    security_options: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    debug: bool = False
    live_restore: bool = True
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    registries: Registries = Registries()
    address_pools: tuple[tuple[str, int], ...] = ()  # base, prefix length of the subnets cut from it
    firewall_backend: str = "nftables"
    capabilities: Capabilities = Capabilities()
    warnings: tuple[str, ...] = ()
