"""What the daemon reads of its host once, at start: limits for containers, facts for `docker info`."""

import os
import platform
import socket
from pathlib import Path

from handlers.containers.configuration import parse_set

_CGROUP = Path("/sys/fs/cgroup")


def boot_id() -> str:
    """The kernel's id of this boot (random(4)); another one means that nothing of before runs any more."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def online_cpus() -> frozenset[int]:
    """Numbers of the CPUs that are online."""
    return parse_set(Path("/sys/devices/system/cpu/online").read_text().strip())


def memory_nodes() -> frozenset[int]:
    """Numbers of the memory nodes."""
    path = Path("/sys/devices/system/node/online")
    return parse_set(path.read_text().strip()) if path.exists() else frozenset({0})


def memory_bytes() -> int:
    """Total memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cgroup_version() -> int:
    """2 where the unified hierarchy is the only one (cgroups(7)), else 1."""
    return 2 if (_CGROUP / "cgroup.controllers").exists() else 1


def host_name() -> str:
    """The host's own name."""
    return socket.gethostname()


def operating_system() -> tuple[str, str]:
    """PRETTY_NAME and VERSION_ID of os-release(5)."""
    release = platform.freedesktop_os_release()
    return release.get("PRETTY_NAME", "Linux"), release.get("VERSION_ID", "")
