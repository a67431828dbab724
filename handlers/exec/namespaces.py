"""Which namespaces a container has of its own, and whose it joins. Pure."""

from collections.abc import Callable

from events.messages.container import HostConfig
from handlers.exec.oci import Namespace

_JOIN = "container:"


def joined(mode: str) -> str:
    """The container that a mode `container:<id or name>` joins, else ""."""
    return mode[len(_JOIN) :] if mode.startswith(_JOIN) else ""


def plan(
    host: HostConfig, *, network_path: str, cgroup_version: int, pid_of: Callable[[str], int]
) -> tuple[Namespace, ...]:
    """Namespaces to make or join; what is missing is shared with the host.

    `network_path` "" is the host's network. `pid_of` gives the pid of a container that must run.
    A `time` namespace is never asked for: runc 1.1 refuses it.
    """
    found = [Namespace(type="mount")]
    if network_path:
        found.append(Namespace(type="network", path=network_path))
    if host.uts_mode != "host":
        found.append(Namespace(type="uts"))
    found += _maybe("pid", host.pid_mode, "pid", pid_of)
    found += _maybe("ipc", host.ipc_mode, "ipc", pid_of)
    if joined(host.cgroupns_mode) or own_cgroup(host, cgroup_version):
        found += _maybe("cgroup", host.cgroupns_mode, "cgroup", pid_of)
    return tuple(found)


def own_cgroup(host: HostConfig, cgroup_version: int) -> bool:
    """Docker's default: private with cgroup v2 (unless privileged), the host's with v1."""
    if host.cgroupns_mode:
        return host.cgroupns_mode in ("private", "shareable")
    return cgroup_version == 2 and not host.privileged


def _maybe(kind: str, mode: str, file: str, pid_of: Callable[[str], int]) -> list[Namespace]:
    if mode == "host":
        return []
    other = joined(mode)
    return [Namespace(type=kind, path=f"/proc/{pid_of(other)}/ns/{file}" if other else "")]
