"""What can't be, refused in Docker's words and with its statuses. Pure: what depends on the host is in HostLimits."""

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator

from events.errors import InvalidParameter, SystemFailure, Unsupported
from events.messages.container import (
    Changes,
    ContainerConfig,
    EndpointConfig,
    EndpointIpam,
    HostConfig,
    RestartPolicy,
)
from events.messages.image import HealthcheckConfig
from handlers.containers.cpu_sets import format_set, parse_set
from handlers.containers.errors import InvalidEnvironment, NoCommand
from handlers.containers.kernel_texts import check_arguments
from handlers.containers.limits import HostLimits
from handlers.containers.port_text import parse_port
from handlers.containers.signals import parse_signal
from handlers.endpoint_options import interface_name, sysctls

MINIMUM_MEMORY_BYTES = 6 * 1024 * 1024
_MINIMUM_PROBE_NS = 1_000_000
_PREDEFINED = ("bridge", "host", "none")
_MAC_ADDRESS = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")
_TERMINAL_SIDE = 65535  # characters: what the kernel's struct winsize holds
_RESTARTS = ("no", "always", "on-failure", "unless-stopped")


def check_config(config: ContainerConfig) -> None:
    """Refuse what can't be, in Docker's words."""
    if not config.cmd and not config.entrypoint:
        raise NoCommand
    for entry in config.env:
        if not entry.partition("=")[0]:
            raise InvalidEnvironment(entry)
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
    check_arguments(config)


def _check_healthcheck(check: HealthcheckConfig) -> None:
    for name in ("interval", "timeout", "start_period", "start_interval"):
        if 0 != getattr(check, name) < _MINIMUM_PROBE_NS:
            label = "".join(word.capitalize() for word in name.split("_"))
            raise InvalidParameter(f"{label} in Healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidParameter("Retries in Healthcheck cannot be negative")
    if check.test and check.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise InvalidParameter(f'Unknown health check type "{check.test[0]}" (expected CMD, CMD-SHELL or NONE)')


def check_networks(mode: str, endpoints: Collection[str]) -> None:
    """Refuse networks that exclude each other. `endpoints` are those that the request names."""
    named = {mode, *endpoints}
    if len(named) == 1:
        return
    if "none" in named:
        text = "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        raise InvalidParameter(text)
    if "host" in named:
        raise InvalidParameter("container cannot be disconnected from host network or connected to host network")
    if mode.startswith("container:"):
        text = "container sharing network namespace with another container or host cannot be connected to any other"
        raise InvalidParameter(f"{text} network")


def check_conflicts(config: ContainerConfig, host: HostConfig) -> None:
    """Refuse options that exclude each other, as the request has them: an image's ports are nobody's wish."""
    if host.uts_mode == "host" and config.hostname:
        raise InvalidParameter("conflicting options: hostname and the UTS mode")
    if host.uts_mode == "host" and config.domainname:
        raise InvalidParameter("conflicting options: domainname and the UTS mode")
    kind, _, other = host.network_mode.partition(":")
    if kind == "container" and not other:
        raise InvalidParameter("invalid network mode: invalid container format container:<name|id>")
    undefined = "This would result in undefined behavior"
    if kind == "host" and host.links:
        raise InvalidParameter(f"conflicting options: host type networking can't be used with links. {undefined}")
    if kind in ("host", "container") and config.mac_address:
        raise InvalidParameter("conflicting options: mac-address and the network mode")
    if kind == "container":
        conflicts = (
            (config.hostname, "hostname and the network mode"),
            (host.links, f"container type network can't be used with links. {undefined}"),
            (host.dns, "dns and the network mode"),
            (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
            (host.port_bindings or host.publish_all_ports, "port publishing and the container type network mode"),
            (config.exposed_ports, "port exposing and the container type network mode"),
        )
        for given, what in conflicts:
            if given:
                raise InvalidParameter(f"conflicting options: {what}")


def check_host(host: HostConfig, limits: HostLimits) -> None:
    """Refuse what can't be, in Docker's words and with its statuses."""
    for check in _CHECKS:
        check(host, limits)


def check_update(changes: Changes, limits: HostLimits) -> None:
    """Refuse changes that no container can have; whether they go with what it has is another question."""
    fields = {name: getattr(changes, name) for name in Changes.__struct_fields__}
    host = HostConfig(**fields)
    if changes.restart_policy.name:
        _check_restart(host, limits)
    _check_memory_sizes(host)
    _check_cpu(host, limits)


def _check_memory(host: HostConfig, _: HostLimits) -> None:
    if host.memory_swap > 0 and not host.memory:
        raise InvalidParameter("You should always set the Memory limit when using Memoryswap limit, see usage")
    _check_memory_sizes(host)
    swappiness = host.memory_swappiness
    if swappiness is not None and not 0 <= swappiness <= 100:
        raise InvalidParameter(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    if host.shm_size < 0:
        raise InvalidParameter("SHM size can not be less than 0")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidParameter(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")


def _check_memory_sizes(host: HostConfig) -> None:
    if host.memory and host.memory < MINIMUM_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory limit allowed is 6MB")
    if host.memory and 0 < host.memory_swap < host.memory:
        raise InvalidParameter("Minimum memoryswap limit should be larger than memory limit, see usage")
    if host.memory and host.memory_reservation > host.memory:
        raise InvalidParameter("Minimum memory limit can not be less than memory reservation limit, see usage")
    if host.memory_reservation and host.memory_reservation < MINIMUM_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory reservation allowed is 6MB")


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
    _check_realtime(host, limits)
    _check_set("CPUs", host.cpuset_cpus, limits.cpus)
    _check_set("memory nodes", host.cpuset_mems, limits.memory_nodes)
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise InvalidParameter("Range of blkio weight is from 10 to 1000")


def _check_realtime(host: HostConfig, limits: HostLimits) -> None:
    period, runtime = host.cpu_realtime_period, host.cpu_realtime_runtime
    if not period and not runtime:
        return
    if not limits.cpu_realtime:
        raise InvalidParameter("Your kernel does not support CPU real-time scheduler")
    if min(period, runtime) < 0:
        raise InvalidParameter("cpu real-time period and runtime cannot be negative")
    if period and runtime > period:
        raise InvalidParameter("cpu real-time runtime cannot be higher than cpu real-time period")


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


def _check_devices(host: HostConfig, _: HostLimits) -> None:
    limits = (
        *host.blkio_device_read_bps,
        *host.blkio_device_write_bps,
        *host.blkio_device_read_iops,
        *host.blkio_device_write_iops,
    )
    for limit in limits:
        if limit.rate < 0:
            raise InvalidParameter(f"invalid block I/O limit of {limit.path}: {limit.rate} is negative")
    for device in host.blkio_weight_device:
        if device.weight and not 10 <= device.weight <= 1000:
            raise InvalidParameter("Range of blkio weight is from 10 to 1000")


def _check_console(host: HostConfig, _: HostLimits) -> None:
    if not all(0 <= side <= _TERMINAL_SIDE for side in host.console_size):
        raise InvalidParameter(f"ConsoleSize: a terminal's height and width are between 0 and {_TERMINAL_SIDE}")


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
    kind, _, other = host.cgroupns_mode.partition(":")
    if host.cgroupns_mode not in ("private", "host", "shareable") and not (kind == "container" and other):
        raise InvalidParameter(f"invalid cgroup namespace mode: {host.cgroupns_mode}")
    if limits.systemd_cgroup and host.cgroup_parent and not host.cgroup_parent.endswith(".slice"):
        raise InvalidParameter('cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"')
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


def _check_annotations(host: HostConfig, _: HostLimits) -> None:
    if "" in host.annotations:
        raise InvalidParameter("invalid Annotation: the empty string is not permitted as an annotation key")


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
        known = key in ("no-new-privileges", "writable-cgroups") or (
            separator and key in ("seccomp", "apparmor", "label")
        )
        if not known and option != "systempaths=unconfined":
            raise SystemFailure(f'invalid --security-opt 2: "{option}"')  # dockerd answers 500 here
        if key in ("no-new-privileges", "writable-cgroups") and value not in ("", "true", "false"):
            raise InvalidParameter(f'invalid --security-opt 2: "{option}"')


def _check_ports(host: HostConfig, _: HostLimits) -> None:
    for port, bindings in host.port_bindings.items():
        parse_port(port)
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
    if host.device_requests:
        capabilities = ", ".join("[" + " ".join(group) + "]" for group in host.device_requests[0].capabilities)
        driver = host.device_requests[0].driver
        raise SystemFailure(f'could not select device driver "{driver}" with capabilities: [{capabilities}]')
    if host.cgroup:
        raise Unsupported("the field HostConfig.Cgroup is not supported")


def check_endpoints(mode: str, endpoints: dict[str, EndpointConfig]) -> None:
    """Refuse what a network can't give, in Docker's words; `mode` is what the name "default" stands for."""
    for name, endpoint in endpoints.items():
        network = mode if name == "default" else name
        wrong = tuple(_endpoint_faults(network, endpoint))
        if wrong:
            faults = "\n".join(wrong)
            raise InvalidParameter(f"invalid config for network {network}: invalid endpoint settings:\n{faults}")


def _endpoint_faults(network: str, endpoint: EndpointConfig) -> Iterator[str]:
    wanted = endpoint.ipam_config or EndpointIpam()
    if network in _PREDEFINED and (wanted.ipv4_address or wanted.ipv6_address or wanted.link_local_ips):
        yield "user specified IP address is supported on user defined networks only"
    if network in _PREDEFINED and endpoint.aliases:
        yield "network-scoped aliases are only supported for user-defined networks"
    if wanted.ipv4_address and not _is_address(wanted.ipv4_address):
        yield f"invalid IPv4 address: {wanted.ipv4_address}"
    if endpoint.mac_address and not _MAC_ADDRESS.fullmatch(endpoint.mac_address):
        yield f"invalid MAC address {endpoint.mac_address}"
    try:
        interface = interface_name(endpoint.driver_opts, "eth0")
        sysctls(endpoint.driver_opts, interface)
    except InvalidParameter as error:
        yield str(error)


Check = Callable[[HostConfig, HostLimits], None]
_CHECKS: tuple[Check, ...] = (
    _check_restart,
    _check_memory,
    _check_cpu,
    _check_devices,
    _check_console,
    _check_modes,
    _check_names,
    _check_annotations,
    _check_security,
    _check_ports,
    _check_later,
)
