"""A create request becomes what is stored: the image's defaults merged in, the engine's filled in, nonsense refused.

Pure: what depends on the host comes in `HostLimits`.
"""

import ipaddress
import re
from collections.abc import Callable

import msgspec

from events.errors import InvalidParameter, SystemFailure, Unsupported
from events.messages.container import (
    ContainerConfig,
    ContainerSecrets,
    EndpointConfig,
    HostConfig,
    LogConfig,
    RestartPolicy,
    Ulimit,
    VolumeDriverConfig,
    VolumeOptions,
)
from events.messages.image import HealthcheckConfig, RunConfig
from handlers.containers.errors import NoCommand
from handlers.containers.signals import parse_signal

MINIMUM_MEMORY_BYTES = 6 * 1024 * 1024
DEFAULT_SHM_BYTES = 64 * 1024 * 1024
_MINIMUM_PROBE_NS = 1_000_000
_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/(\w+))?")
_PROTOCOLS = frozenset({"tcp", "udp", "sctp"})
_RESTARTS = ("no", "always", "on-failure", "unless-stopped")
_JSON_FILE_OPTIONS = frozenset(
    {"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"}
)
_LATER_DRIVERS = frozenset({"local", "none", "journald", "syslog", "gelf", "fluentd", "awslogs", "splunk", "gcplogs"})
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


class HostLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the host and the daemon's configuration say about containers."""

    cpus: frozenset[int]
    memory_nodes: frozenset[int] = frozenset({0})
    cgroup_version: int = 1
    hostname: str = ""
    runtimes: frozenset[str] = frozenset({"runc"})
    default_runtime: str = "runc"
    shm_bytes: int = DEFAULT_SHM_BYTES
    ulimits: tuple[Ulimit, ...] = ()
    init: bool = False
    cgroup_parent: str = ""
    log: LogConfig = LogConfig(type="json-file")


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
) -> Normalised:
    """Merge, fill in and check. Raises InvalidParameter, Unsupported and, where dockerd answers 500, SystemFailure."""
    merged = merge_image(config, image)
    check_config(merged)
    warnings: list[str] = []
    full = fill_host(host, limits)
    check_host(full, limits)
    _warn(merged, full, warnings)
    mode = full.network_mode
    if not merged.hostname:
        hostname = limits.hostname if mode == "host" or full.uts_mode == "host" else container_id[:12]
        merged = msgspec.structs.replace(merged, hostname=hostname)
    named = {mode if name == "default" else name: endpoint for name, endpoint in endpoints.items()}
    return Normalised(config=merged, host=full, endpoints=named, warnings=tuple(warnings))


# ---- the portable part


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


def check_config(config: ContainerConfig) -> None:
    """Refuse what can't be, in Docker's words."""
    if not config.cmd and not config.entrypoint:
        raise NoCommand
    for entry in config.env:
        if not entry.partition("=")[0]:
            raise InvalidParameter(f"invalid environment variable: {entry}")
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidParameter(
            f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
        )
    if config.stop_signal:
        parse_signal(config.stop_signal)
    for port in config.exposed_ports:
        parse_port(port)
    if config.healthcheck is not None:
        _check_healthcheck(config.healthcheck)
    if any("\0" in text for text in (*config.env, *config.cmd, *(config.entrypoint or ()), config.working_dir)):
        raise InvalidParameter("a NUL byte is not allowed in environment, command or working directory")


def _check_healthcheck(check: HealthcheckConfig) -> None:
    for name in ("interval", "timeout", "start_period", "start_interval"):
        if 0 != getattr(check, name) < _MINIMUM_PROBE_NS:
            label = "".join(word.capitalize() for word in name.split("_"))
            raise InvalidParameter(f"{label} in Healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidParameter("Retries in Healthcheck cannot be negative")
    if check.test and check.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise InvalidParameter(f'Unknown health check type "{check.test[0]}" (expected CMD, CMD-SHELL or NONE)')


def parse_port(text: str) -> tuple[int, int, str]:
    """`80`, `80/udp`, `8000-8010/tcp` -> (first, last, protocol). Raises InvalidParameter."""
    match = _PORT.fullmatch(text)
    if match is None:
        raise InvalidParameter(f"invalid JSON: invalid port '{text.partition('/')[0]}': invalid syntax")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 0 <= first <= last <= 65535:
        raise InvalidParameter(f"invalid JSON: invalid port range '{text}': value out of range")
    return first, last, match[3] or "tcp"


# ---- the host part


def fill_host(host: HostConfig, limits: HostLimits) -> HostConfig:
    """The engine's defaults for what the request leaves open."""
    memory_swap = host.memory_swap
    if host.memory and not memory_swap:
        memory_swap = 2 * host.memory
    privileged = host.privileged
    names = {limit.name for limit in host.ulimits}
    masks_off = privileged or "systempaths=unconfined" in host.security_opt
    return msgspec.structs.replace(
        host,
        network_mode="bridge" if host.network_mode in ("", "default") else host.network_mode,
        ipc_mode=host.ipc_mode or "private",
        cgroupns_mode=host.cgroupns_mode or ("private" if limits.cgroup_version == 2 and not privileged else "host"),
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
        masked_paths=() if masks_off else _default(host.masked_paths, DEFAULT_MASKED_PATHS),
        readonly_paths=() if masks_off else _default(host.readonly_paths, DEFAULT_READONLY_PATHS),
    )


def _default(given: tuple[str, ...] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    return default if given is None else given


def _fill_log(log: LogConfig, default: LogConfig) -> LogConfig:
    if log.type in ("", default.type):
        return LogConfig(type=default.type, config=default.config | log.config)
    return log


def check_host(host: HostConfig, limits: HostLimits) -> None:
    """Refuse what can't be, in Docker's words and with its statuses."""
    for check in _CHECKS:
        check(host, limits)


def _check_memory(host: HostConfig, _: HostLimits) -> None:
    if host.memory and host.memory < MINIMUM_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory limit allowed is 6MB")
    if host.memory_swap > 0 and not host.memory:
        raise InvalidParameter("You should always set the Memory limit when using Memoryswap limit, see usage")
    if host.memory and 0 < host.memory_swap < host.memory:
        raise InvalidParameter("Minimum memoryswap limit should be larger than memory limit, see usage")
    if host.memory and host.memory_reservation > host.memory:
        raise InvalidParameter("Minimum memory limit can not be less than memory reservation limit, see usage")
    if host.memory_reservation and host.memory_reservation < MINIMUM_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory reservation allowed is 6MB")
    swappiness = host.memory_swappiness
    if swappiness is not None and not 0 <= swappiness <= 100:
        raise InvalidParameter(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    if host.shm_size < 0:
        raise InvalidParameter("SHM size can not be less than 0")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidParameter(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")


def _check_cpu(host: HostConfig, limits: HostLimits) -> None:
    count = len(limits.cpus)
    if host.nano_cpus and (host.cpu_quota or host.cpu_period):
        field = "CPU Period" if host.cpu_period else "CPU Quota"
        raise InvalidParameter(f"Conflicting options: Nano CPUs and {field} cannot both be set.")
    if not 0 <= host.nano_cpus <= count * 10**9:
        raise InvalidParameter(f"range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available")
    if host.cpu_period and not 1000 <= host.cpu_period <= 1_000_000:
        raise InvalidParameter("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if host.cpu_quota > 0 and host.cpu_quota < 1000:
        raise InvalidParameter("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if host.cpu_shares < 0:
        raise InvalidParameter(f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer")
    if host.cpu_realtime_period or host.cpu_realtime_runtime:
        raise InvalidParameter("Your kernel does not support CPU real-time scheduler")
    _check_set("CPUs", host.cpuset_cpus, limits.cpus)
    _check_set("memory nodes", host.cpuset_mems, limits.memory_nodes)
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise InvalidParameter("Range of blkio weight is from 10 to 1000")


def parse_set(text: str) -> frozenset[int]:
    """`0-2,4` -> {0, 1, 2, 4}. Raises ValueError."""
    members: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        bounds = range(int(first), int(last or first) + 1)
        if len(bounds) > 8192:
            raise ValueError(text)
        members.update(bounds)
    return frozenset(members)


def format_set(members: frozenset[int]) -> str:
    """{0, 1, 2, 4} -> `0-2,4`."""
    runs: list[list[int]] = []
    for member in sorted(members):
        if runs and runs[-1][-1] + 1 == member:
            runs[-1].append(member)
        else:
            runs.append([member])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _check_set(what: str, text: str, available: frozenset[int]) -> None:
    name = "cpuset cpus" if what == "CPUs" else "cpuset mems"
    try:
        wanted = parse_set(text)
    except ValueError as error:
        raise InvalidParameter(f"Invalid value {text} for {name}") from error
    if not wanted <= available:
        raise InvalidParameter(
            f"Requested {what} are not available - requested {text}, available: {format_set(available)}"
        )


def _check_modes(host: HostConfig, limits: HostLimits) -> None:
    kind, _, other = host.ipc_mode.partition(":")
    if host.ipc_mode not in ("none", "private", "shareable", "host") and not (kind == "container" and other):
        raise InvalidParameter(f"invalid IPC mode: {host.ipc_mode}")
    kind, _, other = host.pid_mode.partition(":")
    if host.pid_mode not in ("", "host") and not (kind == "container" and other):
        raise InvalidParameter(f"invalid PID mode: {host.pid_mode}")
    if host.uts_mode not in ("", "host"):
        raise InvalidParameter(f"invalid UTS mode: {host.uts_mode}")
    if host.userns_mode not in ("", "host"):
        raise InvalidParameter(f"invalid USER mode: {host.userns_mode}")
    if host.cgroupns_mode not in ("private", "host"):
        raise InvalidParameter(f"invalid cgroup namespace mode: {host.cgroupns_mode}")
    if host.isolation not in ("", "default"):
        raise InvalidParameter(f'invalid isolation "{host.isolation}" on linux')
    if host.runtime not in limits.runtimes:
        raise InvalidParameter(f"unknown or invalid runtime name: {host.runtime}")


def _check_restart(host: HostConfig, _: HostLimits) -> None:
    policy: RestartPolicy = host.restart_policy
    if policy.name not in _RESTARTS:
        raise InvalidParameter(
            f"invalid restart policy: unknown policy '{policy.name}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.maximum_retry_count < 0:
        raise InvalidParameter("invalid restart policy: maximum retry count cannot be negative")
    if policy.maximum_retry_count and policy.name != "on-failure":
        raise InvalidParameter("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if policy.name != "no" and host.auto_remove:
        raise InvalidParameter("can't create 'AutoRemove' container with restart policy")


def _check_log(host: HostConfig, _: HostLimits) -> None:
    log = host.log_config
    if log.type in _LATER_DRIVERS:
        raise Unsupported(f"logging driver {log.type} is not supported yet: use json-file")
    if log.type != "json-file":
        raise InvalidParameter(f'error looking up logging plugin {log.type}: plugin "{log.type}" not found')
    for option in log.config:
        if option not in _JSON_FILE_OPTIONS:
            raise InvalidParameter(f"unknown log opt '{option}' for json-file log driver")


def _check_names(host: HostConfig, _: HostLimits) -> None:
    for text in host.extra_hosts:
        name, _separator, address = text.replace("=", ":", 1).partition(":")
        if not name or not (address == "host-gateway" or _is_address(address.strip("[]"))):
            raise InvalidParameter(f'bad format for add-host: "{text}"')
    for text in host.dns:
        if not _is_address(text):
            raise InvalidParameter(f'invalid JSON: ParseAddr("{text}"): unable to parse IP')


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_security(host: HostConfig, _: HostLimits) -> None:
    for option in host.security_opt:
        key, separator, value = re.match(r"([^=:]*)([=:]?)(.*)", option, re.DOTALL).groups()  # type: ignore[union-attr]  # always matches
        known = key == "no-new-privileges" or (separator and key in ("seccomp", "apparmor", "label"))
        if not known and option != "systempaths=unconfined":
            raise SystemFailure(f'invalid --security-opt 2: "{option}"')  # dockerd answers 500 here
        if key == "no-new-privileges" and value not in ("", "true", "false"):
            raise InvalidParameter(f'invalid --security-opt 2: "{option}"')


def _check_ports(host: HostConfig, _: HostLimits) -> None:
    for port, bindings in host.port_bindings.items():
        *_range, protocol = parse_port(port)
        if protocol not in _PROTOCOLS:
            raise InvalidParameter(f"invalid port specification: {port}: protocol must be tcp, udp or sctp")
        for binding in bindings:
            if binding.host_ip and not _is_address(binding.host_ip.strip("[]")):
                raise InvalidParameter(f"invalid JSON: invalid IP address: {binding.host_ip}")
            if binding.host_port:
                try:
                    parse_port(binding.host_port)
                except InvalidParameter as error:
                    raise InvalidParameter(f"invalid JSON: invalid port '{binding.host_port}'") from error


def _check_later(host: HostConfig, _: HostLimits) -> None:
    """What Docker has and this version doesn't: refused, so that nobody believes it acts."""
    if host.restart_policy.name != "no":
        raise Unsupported(f"restart policy {host.restart_policy.name} is not supported yet: use no")
    if host.links:
        raise Unsupported("links are not supported yet: containers of one network reach each other by address")
    if host.storage_opt:
        raise Unsupported("storage options of a container are not supported yet")
    if host.device_requests:
        capabilities = ", ".join("[" + " ".join(group) + "]" for group in host.device_requests[0].capabilities)
        driver = host.device_requests[0].driver
        raise SystemFailure(f'could not select device driver "{driver}" with capabilities: [{capabilities}]')
    if host.cgroup:
        raise Unsupported("the field HostConfig.Cgroup is not supported")


Check = Callable[[HostConfig, HostLimits], None]
_CHECKS: tuple[Check, ...] = (
    _check_restart,
    _check_memory,
    _check_cpu,
    _check_modes,
    _check_log,
    _check_names,
    _check_security,
    _check_ports,
    _check_later,
)


def _warn(config: ContainerConfig, host: HostConfig, warnings: list[str]) -> None:
    if host.log_config.config:
        options = ", ".join(sorted(host.log_config.config))
        warnings.append(f"log options are not acted on yet: {options}")
    test = config.healthcheck.test if config.healthcheck else ()
    if test and test[0] != "NONE":
        warnings.append("health checks are not run yet")
    if host.network_mode == "host" and (host.port_bindings or host.publish_all_ports):
        warnings.append("Published ports are discarded when using host network mode")
    if config.mac_address and host.network_mode in ("host", "none"):
        warnings.append(f"a MAC address has no effect in network mode {host.network_mode}")
    if host.oom_kill_disable and not host.memory:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system "
            "running out of resources."
        )


# ---- secrets


def split_secrets(config: ContainerConfig, host: HostConfig) -> tuple[ContainerConfig, HostConfig, ContainerSecrets]:
    """What may go into the log in clear, and what must be sealed."""
    check = config.healthcheck
    secrets = ContainerSecrets(
        env=config.env,
        cmd=config.cmd,
        entrypoint=config.entrypoint,
        healthcheck_test=check.test if check else (),
        log_options=host.log_config.config,
        volume_options={
            mount.target: mount.volume_options.driver_config.options
            for mount in host.mounts
            if mount.volume_options and mount.volume_options.driver_config
        },
    )
    replace = msgspec.structs.replace
    bare_mounts = tuple(
        replace(mount, volume_options=replace(mount.volume_options, driver_config=_bare_driver(mount.volume_options)))
        if mount.volume_options
        else mount
        for mount in host.mounts
    )
    bare_config = replace(
        config, env=(), cmd=(), entrypoint=None, healthcheck=replace(check, test=()) if check else None
    )
    return bare_config, replace(host, log_config=replace(host.log_config, config={}), mounts=bare_mounts), secrets


def _bare_driver(options: VolumeOptions) -> VolumeDriverConfig | None:
    driver = options.driver_config
    return msgspec.structs.replace(driver, options={}) if driver else None
