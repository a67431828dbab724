"""Facts for `docker info` and `docker version`, put together anew at every use: a reload changes some of them."""

import ipaddress
import platform
from importlib.metadata import version
from pathlib import Path

from daemon import host
from daemon.config import Configuration
from daemon.shapes.information import Capabilities, Component, Information, Registries
from daemon.tools import Tools
from handlers.exec.host_facts import HostFacts

_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le"}
_THROTTLES_V1 = tuple(f"blkio throttle.{way}_device" for way in ("read_bps", "write_bps", "read_iops", "write_iops"))
_THROTTLES_V2 = tuple(f"io.max ({way})" for way in ("rbps", "wbps", "riops", "wiops"))


def collect(
    configuration: Configuration,
    tools: Tools,
    components: tuple[Component, ...],
    facts: HostFacts,
    storage_driver: str,
    storage_status: tuple[tuple[str, str], ...],
    engine_id: str,
    host_warnings: tuple[str, ...] = (),
) -> Information:
    """What is known of engine and host now."""
    system, system_version = host.operating_system()
    machine = platform.machine()
    return Information(
        engine_id=engine_id,
        version=version("shiplog"),
        components=components,
        host_name=host.host_name(),
        kernel_version=platform.release(),
        operating_system=system,
        os_version=system_version,
        architecture=machine,
        go_architecture=_GO_NAMES.get(machine, machine),
        cpus=len(host.online_cpus()),
        memory_bytes=host.memory_bytes(),
        data_root=str(configuration.instance.data_root),
        storage_driver=storage_driver,
        storage_status=storage_status,
        cgroup_driver=configuration.cgroup_driver,
        cgroup_version=facts.cgroup_version,
        logging_driver=configuration.log.type,
        runtimes=tools.runtimes,
        default_runtime=configuration.default_runtime,
        init_binary=Path(tools.init).name,
        security_options=security_options(facts),
        labels=configuration.labels,
        debug=configuration.debug,
        live_restore=configuration.live_restore,
        http_proxy=configuration.registries.proxies.http,
        https_proxy=configuration.registries.proxies.https,
        no_proxy=configuration.registries.proxies.exceptions,
        registries=registries(configuration),
        address_pools=tuple((pool.base, pool.size) for pool in configuration.network.address_pools),
        firewall_backend="nftables" if configuration.network.iptables else "none",
        capabilities=capabilities(facts),
        warnings=(*warnings(configuration, facts), *host_warnings),
    )


def capabilities(facts: HostFacts) -> Capabilities:
    """What the host's control groups can limit."""
    has = facts.controllers
    return Capabilities(
        memory_limit="memory" in has,
        swap_limit=facts.swap_limit,
        cpu_period="cpu" in has,
        cpu_quota="cpu" in has,
        cpu_shares="cpu" in has,
        cpu_set="cpuset" in has,
        pids_limit="pids" in has,
        oom_kill_disable=facts.cgroup_version == 1 and "memory" in has,
    )


def security_options(facts: HostFacts) -> tuple[str, ...]:
    """As `docker info` lists them."""
    options = ["name=apparmor"] if facts.apparmor else []
    options += ["name=seccomp,profile=builtin"] if facts.seccomp else []
    options += ["name=cgroupns"] if facts.cgroup_version == 2 else []
    return tuple(options)


def registries(configuration: Configuration) -> Registries:
    """Insecure ones, networks apart from hosts."""
    insecure = configuration.registries.insecure
    networks = [text for text in insecure if is_network(text)]
    hosts = [text for text in insecure if text not in networks]
    return Registries(
        insecure_hosts=tuple(hosts), insecure_cidrs=tuple(networks), mirrors=configuration.registries.mirrors
    )


def is_network(text: str) -> bool:
    """Whether it is a subnet in CIDR notation."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return "/" in text


def warnings(configuration: Configuration, facts: HostFacts) -> tuple[str, ...]:
    """What an administrator should know."""
    found = [
        f"WARNING: API is accessible on {address} without encryption. Access to the remote API is equivalent to root "
        "access on the host."
        for address in configuration.hosts
        if address.startswith("tcp://") and configuration.tls is None
    ]
    return (*found, *limits_missing(facts))


def limits_missing(facts: HostFacts) -> tuple[str, ...]:
    """What the host's control groups can't limit.

    Nothing is said of what a whole version lacks, as nobody can do anything about it: weights of block devices in
    version 1, switching the OOM killer off in version 2.
    """
    can, unified = capabilities(facts), facts.cgroup_version == 2
    throttles = _THROTTLES_V2 if unified else _THROTTLES_V1
    lacking = {
        "memory limit": not can.memory_limit,
        "swap limit": not can.swap_limit,
        "oom kill disable": not can.oom_kill_disable and not unified,
        "cpu cfs quota": not can.cpu_quota,
        "cpu cfs period": not can.cpu_period,
        "cpu shares": not can.cpu_shares,
        "cpuset": not can.cpu_set,
        "io.weight": not facts.blkio_weight and unified,
        "io.weight (per device)": not facts.blkio_weight_device and unified,
        **dict.fromkeys(throttles, "blkio" not in facts.controllers),
    }
    return tuple(f"WARNING: No {limit} support" for limit, is_missing in lacking.items() if is_missing)
