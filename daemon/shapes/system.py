"""Engine and host as `/version`, `/info` and `/system/df` show them."""

from collections import Counter
from typing import Final

from daemon.shapes.go_values import NEWEST, JsonObject, Version, list_or_null
from daemon.shapes.information import Component, Information, Registries
from daemon.shapes.times import rfc3339
from events.projections.state import State

OLDEST: Final[Version] = (1, 24)
_INDEX: Final = "https://index.docker.io/v1/"


def version_text(version: Version) -> str:
    """`1.51`."""
    return ".".join(map(str, version))


def version_shape(facts: Information) -> JsonObject:
    """The answer of `/version`: components, and the engine's own fields once more for old clients."""
    engine = {
        "ApiVersion": version_text(NEWEST),
        "MinAPIVersion": version_text(OLDEST),
        "GitCommit": facts.git_commit,
        "GoVersion": "",
        "Os": "linux",
        "Arch": facts.go_architecture,
        "KernelVersion": facts.kernel_version,
        "BuildTime": facts.build_time,
    }
    details = engine | {"Experimental": "false"}
    first = Component(name="Engine", version=facts.version, details=details)
    return {
        "Platform": {"Name": "Shiplog"},
        "Components": [_component(component) for component in (first, *facts.components)],
        "Version": facts.version,
        **engine,
    }


def _component(component: Component) -> JsonObject:
    return {"Name": component.name, "Version": component.version, "Details": component.details}


def info_shape(facts: Information, state: State, now_ns: int, listeners: int, version: Version) -> JsonObject:
    """The answer of `/info`. `listeners` is the number of clients that follow events."""
    return {
        "ID": facts.engine_id,
        **_counts(state),
        "Driver": facts.storage_driver,
        "DriverStatus": facts.storage_status,
        "Plugins": _plugins(facts),
        **_limits(facts),
        "Debug": facts.debug,
        "NFd": -1,
        "NGoroutines": -1,
        "SystemTime": rfc3339(now_ns),
        "LoggingDriver": facts.logging_driver,
        "CgroupDriver": facts.cgroup_driver,
        "CgroupVersion": str(facts.cgroup_version),
        "NEventsListener": listeners,
        **_host(facts),
        "IndexServerAddress": _INDEX,
        "RegistryConfig": _registries(facts.registries, version),
        "GenericResources": None,
        "DockerRootDir": facts.data_root,
        "Labels": facts.labels,
        "ExperimentalBuild": False,
        "ServerVersion": facts.version,
        **_runtimes(facts, version),
        "Swarm": _NO_SWARM,
        "LiveRestoreEnabled": facts.live_restore,
        "Isolation": "",
        "SecurityOptions": facts.security_options,
        "ProductLicense": "",
        "DefaultAddressPools": list_or_null({"Base": base, "Size": size} for base, size in facts.address_pools),
        **_firewall(facts, version),
        "CDISpecDirs": [],
        "Warnings": list_or_null(facts.warnings),
    }


_NO_SWARM: Final[JsonObject] = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}


def _counts(state: State) -> JsonObject:
    by_status = Counter(container.status for container in state.containers if container.status != "creating")
    running = by_status["running"] + by_status["restarting"]
    return {
        "Containers": by_status.total(),
        "ContainersRunning": running,
        "ContainersPaused": by_status["paused"],
        "ContainersStopped": by_status.total() - running - by_status["paused"],
        "Images": sum(image.status == "ready" for image in state.images),
    }


def _plugins(facts: Information) -> JsonObject:
    return {
        "Volume": facts.volume_drivers,
        "Network": facts.network_drivers,
        "Authorization": None,
        "Log": facts.log_drivers,
    }


def _limits(facts: Information) -> JsonObject:
    can = facts.capabilities
    return {
        "MemoryLimit": can.memory_limit,
        "SwapLimit": can.swap_limit,
        "CpuCfsPeriod": can.cpu_period,
        "CpuCfsQuota": can.cpu_quota,
        "CPUShares": can.cpu_shares,
        "CPUSet": can.cpu_set,
        "PidsLimit": can.pids_limit,
        "OomKillDisable": can.oom_kill_disable,
        "IPv4Forwarding": can.ipv4_forwarding,
    }


def _host(facts: Information) -> JsonObject:
    return {
        "Name": facts.host_name,
        "KernelVersion": facts.kernel_version,
        "OperatingSystem": facts.operating_system,
        "OSVersion": facts.os_version,
        "OSType": "linux",
        "Architecture": facts.architecture,
        "NCPU": facts.cpus,
        "MemTotal": facts.memory_bytes,
        "HttpProxy": facts.http_proxy,
        "HttpsProxy": facts.https_proxy,
        "NoProxy": facts.no_proxy,
    }


def _registries(registries: Registries, version: Version) -> JsonObject:
    public = {"Name": "docker.io", "Mirrors": registries.mirrors, "Secure": True, "Official": True}
    indexes = {
        host: {"Name": host, "Mirrors": [], "Secure": False, "Official": False} for host in registries.insecure_hosts
    }
    shape: JsonObject = {
        "InsecureRegistryCIDRs": registries.insecure_cidrs,
        "IndexConfigs": {"docker.io": public} | indexes,
        "Mirrors": list_or_null(registries.mirrors),
    }
    if version < (1, 47):
        shape |= {"AllowNondistributableArtifactsCIDRs": None, "AllowNondistributableArtifactsHostnames": None}
    return shape


def _runtimes(facts: Information, version: Version) -> JsonObject:
    versions = {component.name: component.version for component in facts.components}
    commits = (("ContainerdCommit", "containerd"), ("RuncCommit", "runc"), ("InitCommit", "docker-init"))
    return {
        "Runtimes": {name: {"path": path} for name, path in facts.runtimes.items()},
        "DefaultRuntime": facts.default_runtime,
        "InitBinary": facts.init_binary,
        **{field: _commit(versions.get(name, ""), version) for field, name in commits},
    }


def _commit(commit: str, version: Version) -> JsonObject:
    return {"ID": commit, "Expected": commit} if version < (1, 49) else {"ID": commit}


def _firewall(facts: Information, version: Version) -> JsonObject:
    shape: JsonObject = {"FirewallBackend": {"Driver": facts.firewall_backend}} if version >= (1, 49) else {}
    if version < (1, 50):
        shape |= {"BridgeNfIptables": False, "BridgeNfIp6tables": False}
    return shape
