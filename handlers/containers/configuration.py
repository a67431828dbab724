"""A create request becomes what is stored: the image's defaults merged in, the engine's filled in, nonsense refused.

Pure: what depends on the host comes in `HostLimits`.
"""

import msgspec

from events.messages.container import ContainerConfig, EndpointConfig, HostConfig, LogConfig
from events.messages.image import HealthcheckConfig, RunConfig
from events.messages.network import ADDRESS_WISH
from handlers.containers.kernel_texts import check_no_nul
from handlers.containers.limits import HostLimits
from handlers.containers.validation import check_config, check_endpoints, check_host, check_networks
from handlers.endpoint_options import KNOWN

_LARGEST_NUMBER = 2**63 - 1  # of the API, and of the runtimes
DEFAULT_MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
DEFAULT_READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """How a container calls itself."""

    hostname: str
    domainname: str


class Normalised(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored, and what the client is warned of."""

    config: ContainerConfig
    host: HostConfig
    endpoints: dict[str, EndpointConfig]
    warnings: tuple[str, ...]


def normalise(
    container_id: str,
    config: ContainerConfig,
    host: HostConfig,
    endpoints: dict[str, EndpointConfig],
    image: RunConfig,
    limits: HostLimits,
    sharing: Names | None = None,
) -> Normalised:
    """Merge, fill in and check; `sharing` are the names that go with another's network, which this one joins.

    Raises InvalidParameter, Unsupported and, where dockerd answers 500, SystemFailure."""
    merged = merge_image(config, image)
    check_config(merged)
    warnings: list[str] = []
    full = fill_host(host, limits)
    if config.network_disabled:
        full = msgspec.structs.replace(full, network_mode="none")
    check_host(full, limits)
    check_no_nul({"Config": merged, "HostConfig": full, "EndpointsConfig": endpoints})
    check_endpoints(full.network_mode, endpoints)
    _warn(merged, full, limits, warnings)
    _warn_of_endpoints(endpoints, warnings)
    mode = full.network_mode
    if sharing is not None:
        merged = msgspec.structs.replace(merged, hostname=sharing.hostname, domainname=sharing.domainname)
    if not merged.hostname:
        hostname = limits.hostname if mode == "host" or full.uts_mode == "host" else container_id[:12]
        merged = msgspec.structs.replace(merged, hostname=hostname)
    named = {mode if name == "default" else name: endpoint for name, endpoint in endpoints.items()}
    check_networks(mode, named)
    return Normalised(config=merged, host=full, endpoints=named, warnings=tuple(warnings))


def merge_image(config: ContainerConfig, image: RunConfig) -> ContainerConfig:
    """The image's defaults where the request says nothing (as the docker CLI's users expect: theirs win)."""
    cmd, entrypoint = config.cmd, config.entrypoint
    if not entrypoint:
        cmd = cmd or image.cmd
        entrypoint = image.entrypoint if entrypoint is None else entrypoint
    if entrypoint == ("",):
        entrypoint = ()
    own = {entry.partition("=")[0] for entry in config.env}
    inherited = tuple(entry for entry in image.env if entry.partition("=")[0] not in own)
    return msgspec.structs.replace(
        config,
        user=config.user or image.user,
        exposed_ports=image.exposed_ports | config.exposed_ports,
        env=config.env + inherited,
        cmd=cmd,
        entrypoint=entrypoint or None,
        volumes=image.volumes | config.volumes,
        working_dir=config.working_dir or image.working_dir,
        labels=image.labels | config.labels,
        stop_signal=config.stop_signal or image.stop_signal,
        healthcheck=merge_healthcheck(config.healthcheck, image.healthcheck),
        shell=config.shell or image.shell,
    )


def merge_healthcheck(own: HealthcheckConfig | None, image: HealthcheckConfig | None) -> HealthcheckConfig | None:
    """Field by field: a request may change the interval of the image's test."""
    if own is None or image is None:
        return own or image
    return HealthcheckConfig(
        test=own.test or image.test,
        interval=own.interval or image.interval,
        timeout=own.timeout or image.timeout,
        start_period=own.start_period or image.start_period,
        start_interval=own.start_interval or image.start_interval,
        retries=own.retries or image.retries,
    )


def fill_host(host: HostConfig, limits: HostLimits) -> HostConfig:
    """The engine's defaults for what the request leaves open."""
    memory_swap = host.memory_swap
    if host.memory and not memory_swap:
        memory_swap = min(2 * host.memory, _LARGEST_NUMBER)
    privileged = host.privileged
    names = {limit.name for limit in host.ulimits}
    masks_off = privileged or "systempaths=unconfined" in host.security_opt
    return msgspec.structs.replace(
        host,
        network_mode="bridge" if host.network_mode in ("", "default") else host.network_mode,
        ipc_mode=host.ipc_mode or limits.ipc_mode,
        cgroupns_mode=host.cgroupns_mode or _cgroup_namespace(limits, privileged=privileged),
        shm_size=host.shm_size or limits.shm_bytes,
        runtime=host.runtime or limits.default_runtime,
        cgroup_parent=host.cgroup_parent or limits.cgroup_parent,
        log_config=_fill_log(host.log_config, limits.log),
        memory_swap=memory_swap,
        memory_swappiness=None if host.memory_swappiness == -1 else host.memory_swappiness,
        oom_kill_disable=host.oom_kill_disable or None,
        pids_limit=host.pids_limit if host.pids_limit and host.pids_limit > 0 else None,
        restart_policy=msgspec.structs.replace(host.restart_policy, name=host.restart_policy.name or "no"),
        init=limits.init if host.init is None else host.init,
        ulimits=host.ulimits + tuple(limit for limit in limits.ulimits if limit.name not in names),
        extra_hosts=tuple(_host_and_address(text) for text in host.extra_hosts),
        masked_paths=() if masks_off else _default(host.masked_paths, DEFAULT_MASKED_PATHS),
        readonly_paths=() if masks_off else _default(host.readonly_paths, DEFAULT_READONLY_PATHS),
    )


def _cgroup_namespace(limits: HostLimits, *, privileged: bool) -> str:
    """Docker's default; a privileged container sees the host's groups."""
    if privileged:
        return "host"
    return limits.cgroupns_mode or ("private" if limits.cgroup_version == 2 else "host")


def _host_and_address(text: str) -> str:
    """`name=address`, as newer clients write it, becomes `name:address`."""
    name, separator, address = text.partition("=")
    return f"{name}:{address}" if separator and ":" not in name else text


def _default(given: tuple[str, ...] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    return default if given is None else given


def _fill_log(log: LogConfig, default: LogConfig) -> LogConfig:
    if log.type in ("", default.type):
        return LogConfig(type=default.type, config=default.config | log.config)
    return log


def _warn(config: ContainerConfig, host: HostConfig, limits: HostLimits, warnings: list[str]) -> None:
    if host.network_mode == "host" and (host.port_bindings or host.publish_all_ports):
        warnings.append("Published ports are discarded when using host network mode")
    if config.mac_address and host.network_mode == "none":
        warnings.append(f"a MAC address has no effect in network mode {host.network_mode}")
    if host.links and host.network_mode != "bridge":
        warnings.append(f"links act on the default bridge only, not in network mode {host.network_mode}")
    elif host.links and not limits.inter_container:
        warnings.append("links give names only: the daemon's --icc=false keeps containers from reaching each other")
    if host.oom_kill_disable and not host.memory:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system "
            "running out of resources."
        )
    if host.cpu_realtime_runtime > limits.cpu_realtime_runtime_us:
        warnings.append(
            f"the container can't be started: all containers together may have {limits.cpu_realtime_runtime_us} us of "
            "the real-time scheduler (cpu-rt-runtime of the daemon)"
        )


def _warn_of_endpoints(endpoints: dict[str, EndpointConfig], warnings: list[str]) -> None:
    for name, endpoint in endpoints.items():
        if endpoint.links:
            warnings.append(f"links of an endpoint have no effect on network {name}")
        unknown = sorted(set(endpoint.driver_opts) - KNOWN - {ADDRESS_WISH})
        if unknown:
            warnings.append(f"driver options have no effect on network {name}: {', '.join(unknown)}")
