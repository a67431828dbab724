"""Reads what the engine must know of its host, once, at its start."""

import platform
import re
import resource
from pathlib import Path

from handlers.exec import capabilities
from handlers.exec.host_facts import HostFacts
from handlers.exec.process_limits import NAMES
from handlers.kernel import cgroups

_BOUNDING = re.compile(r"^CapBnd:\s*([0-9a-f]+)$", re.MULTILINE)
_SECCOMP = re.compile(r"^Seccomp:", re.MULTILINE)


def read_host_facts() -> HostFacts:
    """Facts of this host and of this process's own limits. Blocking, some milliseconds."""
    status = Path("/proc/self/status").read_text()
    bounding = _BOUNDING.search(status)
    found = cgroups.hierarchies()
    version = cgroups.version(found)
    return HostFacts(
        cgroup_version=version,
        bounding_capabilities=capabilities.from_mask(int(bounding[1], 16)) if bounding else (),
        hard_limits=_hard_limits(),
        oom_score_adj=int(Path("/proc/self/oom_score_adj").read_text()),
        kernel=_kernel(platform.release()),
        machine=platform.machine(),
        seccomp=_SECCOMP.search(status) is not None,
        apparmor=_has_apparmor(),
        selinux=Path("/sys/fs/selinux/enforce").exists(),
        swap_limit=_has(found, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max", version),
        blkio_weight=_has(found, "blkio", "blkio.weight", "io.weight", version),
    )


def _hard_limits() -> dict[str, int]:
    limits = {}
    for name in NAMES:
        kind = f"RLIMIT_{name.upper()}"
        number = getattr(resource, kind, None)
        if number is not None:
            limits[kind] = resource.getrlimit(number)[1]
    return limits


def _kernel(release: str) -> tuple[int, int]:
    numbers = [int(part) for part in re.findall(r"\d+", release)[:2]]
    return numbers[0], numbers[1]


def _has(found: tuple[cgroups.Hierarchy, ...], controller: str, file_v1: str, file_v2: str, version: int) -> bool:
    """Whether a group has a file. The root of cgroup v2 has no limits: any group below it shows what there is."""
    for hierarchy in found:
        if version == 1 and controller in hierarchy.controllers:
            return Path(hierarchy.mount_point, file_v1).exists()
        if version == 2 and not hierarchy.controllers:
            return any((place / file_v2).exists() for place in Path(hierarchy.mount_point).iterdir())
    return False


def _has_apparmor() -> bool:
    """As OCI runtimes see it: they refuse a profile where the security file system doesn't show AppArmor."""
    shown = Path("/sys/kernel/security/apparmor").exists()
    return shown and _text("/sys/module/apparmor/parameters/enabled").startswith("Y")


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
