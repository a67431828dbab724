"""What the daemon reads of its host once, at start: limits for containers, facts for `docker info`."""

import os
import platform
import socket
from pathlib import Path

from handlers.containers.cpu_sets import parse_set
from handlers.images.platforms import host_platform

_CGROUP = Path("/sys/fs/cgroup")
_AMD64_LEVELS = (  # x86-64 psABI, "Microarchitecture levels", in the kernel's words; each needs those before it
    ("v2", frozenset("cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3".split())),
    ("v3", frozenset("avx avx2 bmi1 bmi2 f16c fma abm movbe".split())),
    ("v4", frozenset("avx512f avx512bw avx512cd avx512dq avx512vl".split())),
)


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


def platform_parts() -> tuple[str, str, str]:
    """Operating system, architecture and variant as images name them (`linux`, `amd64`, `v3`)."""
    found = host_platform()
    variant = amd64_level(processor_flags()) if found.architecture == "amd64" else found.variant
    return found.os, found.architecture, variant


def amd64_level(flags: frozenset[str]) -> str:
    """The highest level that a processor with these flags has; "" for the first."""
    level = ""
    for name, needed in _AMD64_LEVELS:
        if not needed <= flags:
            break
        level = name
    return level


def processor_flags() -> frozenset[str]:
    """What the first processor can do (proc_cpuinfo(5))."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def host_name() -> str:
    """The host's own name."""
    return socket.gethostname()


def operating_system() -> tuple[str, str]:
    """PRETTY_NAME and VERSION_ID of os-release(5)."""
    release = platform.freedesktop_os_release()
    return release.get("PRETTY_NAME", "Linux"), release.get("VERSION_ID", "")
