"""Limits of a container as the runtime wants them; what the host can't do becomes a warning. Pure."""

from collections.abc import Callable
from typing import Any

import msgspec

from events.errors import InvalidParameter
from events.messages.container import HostConfig, ThrottleDevice
from handlers.exec.host_facts import HostFacts
from handlers.exec.oci import BlockIO, Cpu, DeviceRule, Memory, Pids, Resources, Throttle, Weight

_PERIOD_US = 100_000
_UNLIMITED = -1
_SWAP_WARNING = (
    "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
)
_SWAPPINESS_WARNING = (
    "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. "
    "Memory swappiness discarded."
)
_OOM_WARNING = "Your kernel does not support OomKillDisable. OomKillDisable discarded."
_WEIGHT_WARNING = "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."
_DEVICE_WEIGHT_WARNING = (
    "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded."
)

_NOT_MOUNTED = "or the cgroup is not mounted"
# controller, the fields that need it with what stands for nothing, and what Docker says where it isn't there
_NEEDS: tuple[tuple[str, dict[str, object], str], ...] = (
    (
        "memory",
        {"memory": 0, "memory_swap": 0},
        f"Your kernel does not support memory limit capabilities {_NOT_MOUNTED}. Limitation discarded.",
    ),
    (
        "memory",
        {"memory_reservation": 0},
        f"Your kernel does not support memory soft limit capabilities {_NOT_MOUNTED}. Limitation discarded.",
    ),
    ("memory", {"memory_swappiness": None}, _SWAPPINESS_WARNING),
    ("memory", {"oom_kill_disable": None}, _OOM_WARNING),
    (
        "pids",
        {"pids_limit": None},
        f"Your kernel does not support PIDs limit capabilities {_NOT_MOUNTED}. PIDs limit discarded.",
    ),
    ("cpu", {"cpu_shares": 0}, f"Your kernel does not support CPU shares {_NOT_MOUNTED}. Shares discarded."),
    (
        "cpu",
        {"cpu_period": 0, "cpu_quota": 0},
        f"Your kernel does not support CPU CFS scheduler {_NOT_MOUNTED}. CPU period and quota discarded.",
    ),
    (
        "cpuset",
        {"cpuset_cpus": "", "cpuset_mems": ""},
        f"Your kernel does not support cpuset {_NOT_MOUNTED}. Cpuset discarded.",
    ),
    (
        "blkio",
        {"blkio_device_read_bps": (), "blkio_device_write_bps": ()},
        f"Your kernel does not support BPS Block I/O limits {_NOT_MOUNTED}. Block I/O BPS limits discarded.",
    ),
    (
        "blkio",
        {"blkio_device_read_iops": (), "blkio_device_write_iops": ()},
        f"Your kernel does not support IOPS Block I/O limits {_NOT_MOUNTED}. Block I/O IOPS limits discarded.",
    ),
)

Numbers = Callable[[str], tuple[int, int]]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The cgroup's settings and what had to be left out."""

    resources: Resources
    warnings: tuple[str, ...]


def supported(host: HostConfig, facts: HostFacts) -> tuple[HostConfig, tuple[str, ...]]:
    """The limits whose controllers the host has, and warnings for the others. Raises InvalidParameter.

    Docker refuses `--cpus` where it can't be had, and drops the rest.
    """
    changes: dict[str, Any] = {}
    warnings = []
    for controller, fields, warning in _NEEDS:
        given = {field: nothing for field, nothing in fields.items() if getattr(host, field) not in (nothing, None)}
        if given and controller not in facts.controllers:
            changes |= given
            warnings.append(warning)
    if host.nano_cpus and "cpu" not in facts.controllers:
        raise InvalidParameter(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted"
        )
    return msgspec.structs.replace(host, **changes), tuple(warnings)


def build(host: HostConfig, facts: HostFacts, devices: tuple[DeviceRule, ...], numbers: Numbers) -> Limits:
    """`numbers` gives major and minor of a block device's path."""
    host, warnings = supported(host, facts)
    memory, memory_warnings = _memory(host, facts)
    block, block_warnings = _block(host, facts, numbers)
    pids = host.pids_limit or 0
    resources = Resources(
        devices=devices,
        memory=memory,
        cpu=_cpu(host),
        pids=Pids(limit=pids) if pids > 0 else None,
        block_io=block,
    )
    return Limits(resources=resources, warnings=(*warnings, *memory_warnings, *block_warnings))


def for_update(host: HostConfig, facts: HostFacts) -> Limits:
    """What can change while the container runs; devices and their limits can't."""
    limits = build(host, facts, (), lambda _: (0, 0))
    block = BlockIO(weight=host.blkio_weight) if host.blkio_weight and facts.blkio_weight else None
    pids = Pids(limit=host.pids_limit or _UNLIMITED)
    resources = msgspec.structs.replace(limits.resources, pids=pids, block_io=block)
    return msgspec.structs.replace(limits, resources=resources)


def _memory(host: HostConfig, facts: HostFacts) -> tuple[Memory | None, tuple[str, ...]]:
    swap = host.memory_swap or (2 * host.memory if host.memory > 0 else 0)
    swappiness = None if host.memory_swappiness in (None, -1) else host.memory_swappiness
    disable_oom_killer = bool(host.oom_kill_disable)
    warnings = []
    if swap and not facts.swap_limit:
        warnings += [_SWAP_WARNING] if host.memory_swap else []
        swap = 0
    if facts.cgroup_version == 2:
        warnings += [_SWAPPINESS_WARNING] if swappiness is not None else []
        warnings += [_OOM_WARNING] if disable_oom_killer else []
        swappiness, disable_oom_killer = None, False
    memory = Memory(
        limit=host.memory or None,
        reservation=host.memory_reservation or None,
        swap=swap or None,
        swappiness=swappiness,
        disable_oom_killer=disable_oom_killer,
    )
    return (None if memory == Memory() else memory), tuple(warnings)


def _cpu(host: HostConfig) -> Cpu | None:
    quota, period = host.cpu_quota, host.cpu_period
    if host.nano_cpus > 0:
        period = _PERIOD_US
        quota = host.nano_cpus * period // 10**9
    cpu = Cpu(
        shares=host.cpu_shares or None,
        quota=quota or None,
        period=period or None,
        cpus=host.cpuset_cpus,
        mems=host.cpuset_mems,
        realtime_period=host.cpu_realtime_period or None,
        realtime_runtime=host.cpu_realtime_runtime or None,
    )
    return None if cpu == Cpu() else cpu


def _block(host: HostConfig, facts: HostFacts, numbers: Numbers) -> tuple[BlockIO | None, tuple[str, ...]]:
    weights, warnings = [], []
    if facts.blkio_weight_device:
        for device in host.blkio_weight_device:
            major, minor = numbers(device.path)
            weights.append(Weight(major=major, minor=minor, weight=device.weight))
    block = BlockIO(
        weight=(host.blkio_weight or None) if facts.blkio_weight else None,
        weight_device=tuple(weights),
        throttle_read_bps_device=_throttles(host.blkio_device_read_bps, numbers),
        throttle_write_bps_device=_throttles(host.blkio_device_write_bps, numbers),
        throttle_read_iops_device=_throttles(host.blkio_device_read_iops, numbers),
        throttle_write_iops_device=_throttles(host.blkio_device_write_iops, numbers),
    )
    if host.blkio_weight and not facts.blkio_weight:
        warnings.append(_WEIGHT_WARNING)
    if host.blkio_weight_device and not facts.blkio_weight_device:
        warnings.append(_DEVICE_WEIGHT_WARNING)
    return (None if block == BlockIO() else block), tuple(warnings)


def _throttles(devices: tuple[ThrottleDevice, ...], numbers: Numbers) -> tuple[Throttle, ...]:
    found = []
    for device in devices:
        major, minor = numbers(device.path)
        found.append(Throttle(major=major, minor=minor, rate=device.rate))
    return tuple(found)
