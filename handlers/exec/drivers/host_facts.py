"""Reads what the engine must know of its host, once, at its start."""

import platform
import re
import resource
from pathlib import Path

import msgspec

from handlers.exec import capabilities
from handlers.exec.host_facts import HostFacts
from handlers.exec.process_limits import NAMES
from handlers.kernel import cgroups

_BOUNDING = re.compile(r"^CapBnd:\s*([0-9a-f]+)$", re.MULTILINE)
_SECCOMP = re.compile(r"^Seccomp:", re.MULTILINE)


class LimitFiles(msgspec.Struct, frozen=True, kw_only=True):
    """By which files a limit shows, in both versions: in v1 one at the root or one below, in v2 any below."""

    controller: str
    file: str
    file_below: str = ""  # BFQ, the only scheduler with weights since Linux 5.0, keeps them from the root
    controller_v2: str
    files_v2: tuple[str, ...]
    root_file_v2: str = ""  # which the root of v2 has where those below it have one of the files
    scheduler: str = ""  # or the scheduler of block devices that brings one


_BLOCK_DEVICES = Path("/sys/block")

_SWAP = LimitFiles(
    controller="memory", file="memory.memsw.limit_in_bytes", controller_v2="memory", files_v2=("memory.swap.max",)
)
_WEIGHT = LimitFiles(
    controller="blkio",
    file="blkio.weight",
    file_below="blkio.bfq.weight",
    controller_v2="io",
    files_v2=("io.weight", "io.bfq.weight"),
    root_file_v2="io.cost.qos",
    scheduler="bfq",
)
# In v2 runc writes weights of devices to BFQ's file alone; in v1 BFQ refuses those of devices that it doesn't schedule.
_DEVICE_WEIGHT = LimitFiles(
    controller="blkio",
    file="blkio.weight_device",
    controller_v2="io",
    files_v2=("io.bfq.weight",),
    scheduler="bfq",
)
# Cgroup v2 has nothing of the kind.
_REALTIME = LimitFiles(controller="cpu", file="cpu.rt_runtime_us", controller_v2="cpu", files_v2=())


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
        swap_limit=limits(found, version, _SWAP),
        blkio_weight=limits(found, version, _WEIGHT),
        blkio_weight_device=limits(found, version, _DEVICE_WEIGHT),
        controllers=controllers(found, version),
        cpu_realtime=version == 1 and limits(found, version, _REALTIME),
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


def controllers(found: tuple[cgroups.Hierarchy, ...], version: int) -> frozenset[str]:
    """Which controllers there are; version 2's `io` goes by its older name."""
    if version == 1:
        return frozenset(name for hierarchy in found for name in hierarchy.controllers)
    unified = [hierarchy for hierarchy in found if not hierarchy.controllers]
    names = [name for h in unified for name in _text(f"{h.mount_point}/cgroup.controllers").split()]
    return frozenset("blkio" if name == "io" else name for name in names)


def limits(
    found: tuple[cgroups.Hierarchy, ...], version: int, files: LimitFiles, devices: Path = _BLOCK_DEVICES
) -> bool:
    """Whether groups can have a limit. `devices`: the directory of block devices in sysfs."""
    for hierarchy in found:
        if version == 1 and files.controller in hierarchy.controllers:
            root = Path(hierarchy.mount_point)
            return (root / files.file).exists() or any(root.glob(f"*/{files.file_below or files.file}"))
        if version == 2 and not hierarchy.controllers:
            return _limits_below(Path(hierarchy.mount_point), files, devices)
    return False


def _limits_below(root: Path, files: LimitFiles, devices: Path) -> bool:
    """The root of cgroup v2 has no limits: groups below it show what there is.

    Where none has the controller yet (systemd gives `io` to nobody who doesn't ask) other signs tell, and what has none
    is taken to be complete.
    """
    controlled = [place for place in root.iterdir() if (place / f"{files.controller_v2}.max").exists()]
    if controlled:
        return any((place / name).exists() for place in controlled for name in files.files_v2)
    if files.controller_v2 not in (root / "cgroup.controllers").read_text().split():
        return False
    if not (files.root_file_v2 or files.scheduler):
        return True
    if files.root_file_v2 and (root / files.root_file_v2).exists():
        return True
    return any(files.scheduler in _schedulers(path) for path in devices.glob("*/queue/scheduler"))


def _schedulers(path: Path) -> list[str]:
    """Those that a device may have, of `none [mq-deadline] bfq`; a kernel has them all for every device."""
    return _text(str(path)).replace("[", " ").replace("]", " ").split()


def _has_apparmor() -> bool:
    """As OCI runtimes see it: they refuse a profile where the security file system doesn't show AppArmor."""
    shown = Path("/sys/kernel/security/apparmor").exists()
    return shown and _text("/sys/module/apparmor/parameters/enabled").startswith("Y")


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
