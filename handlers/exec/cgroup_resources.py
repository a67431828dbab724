"""Limits of a container as the runtime wants them; what the host can't do becomes a warning. Pure."""

from collections.abc import Callable

import msgspec

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

Numbers = Callable[[str], tuple[int, int]]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The cgroup's settings and what had to be left out."""

    resources: Resources
    warnings: tuple[str, ...]


def build(host: HostConfig, facts: HostFacts, devices: tuple[DeviceRule, ...], numbers: Numbers) -> Limits:
    """`numbers` gives major and minor of a block device's path."""
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
    return Limits(resources=resources, warnings=(*memory_warnings, *block_warnings))


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
