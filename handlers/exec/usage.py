"""What a container uses, from the counters of its control groups and of its network. Pure but for what is handed in.

Sources: the kernel's admin-guide/cgroup-v1 (cpuacct, memory, blkio-controller, pids), admin-guide/cgroup-v2,
scheduler/sched-bwc, proc_stat(5), proc_pid_net(5).
"""

from collections.abc import Callable

import msgspec

_USER_TICK_NS = 10**9 // 100  # USER_HZ is 100 on every architecture that Linux still runs on
_US_NS = 1000
_UNLIMITED = 2**64 - 1

ReadFile = Callable[[str, str], str]  # controller and file name -> text, "" where there is none


class Cpu(msgspec.Struct, frozen=True, kw_only=True):
    """CPU time in ns; `per_cpu_ns` is known to cgroup v1 alone."""

    total_ns: int = 0
    user_ns: int = 0
    kernel_ns: int = 0
    per_cpu_ns: tuple[int, ...] = ()
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0
    host_ns: int = 0  # of all CPUs of the host since its boot
    online: int = 0


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes; `stats` as the kernel's memory.stat has them. `peak` is known to cgroup v1 alone.

    `failures`: how often the limit was met (v1), or how often there was nothing left to reclaim either (v2).
    """

    usage: int = 0
    peak: int = 0
    failures: int = 0
    limit: int = 0
    stats: dict[str, int] = {}


class BlockCounter(msgspec.Struct, frozen=True, kw_only=True):
    """One number of one device."""

    major: int
    minor: int
    operation: str = ""
    value: int


class BlockIO(msgspec.Struct, frozen=True, kw_only=True):
    """By Docker's names; None where the host's cgroups have no such counter."""

    io_service_bytes: tuple[BlockCounter, ...] | None = None
    io_serviced: tuple[BlockCounter, ...] | None = None
    io_queue: tuple[BlockCounter, ...] | None = None
    io_service_time: tuple[BlockCounter, ...] | None = None
    io_wait_time: tuple[BlockCounter, ...] | None = None
    io_merged: tuple[BlockCounter, ...] | None = None
    io_time: tuple[BlockCounter, ...] | None = None
    sectors: tuple[BlockCounter, ...] | None = None


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of a network interface since it was made."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a container that runs. `pids_limit` 0: not known."""

    read_ns: int
    cpu: Cpu
    memory: Memory
    block: BlockIO
    pids: int
    pids_limit: int
    interfaces: dict[str, Interface]


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What the host contributes."""

    cpu_ns: int
    cpus: int
    memory_bytes: int


def cpu(read: ReadFile, host: Host, version: int) -> Cpu:
    """Of a group, in either version."""
    stat = _pairs(read("cpu", "cpu.stat"))
    common = Cpu(
        periods=stat.get("nr_periods", 0),
        throttled_periods=stat.get("nr_throttled", 0),
        host_ns=host.cpu_ns,
        online=host.cpus,
    )
    if version == 2:
        return msgspec.structs.replace(
            common,
            total_ns=stat.get("usage_usec", 0) * _US_NS,
            user_ns=stat.get("user_usec", 0) * _US_NS,
            kernel_ns=stat.get("system_usec", 0) * _US_NS,
            throttled_ns=stat.get("throttled_usec", 0) * _US_NS,
        )
    ticks = _pairs(read("cpuacct", "cpuacct.stat"))
    return msgspec.structs.replace(
        common,
        total_ns=_number(read("cpuacct", "cpuacct.usage")),
        user_ns=ticks.get("user", 0) * _USER_TICK_NS,
        kernel_ns=ticks.get("system", 0) * _USER_TICK_NS,
        per_cpu_ns=tuple(map(int, read("cpuacct", "cpuacct.usage_percpu").split())),
        throttled_ns=stat.get("throttled_time", 0),
    )


def memory(read: ReadFile, host: Host, version: int) -> Memory:
    """Of a group; what has no limit has the host's memory."""
    stats = _pairs(read("memory", "memory.stat"))
    if version == 2:
        limit = _number(read("memory", "memory.max"), _UNLIMITED)
        usage = _number(read("memory", "memory.current"))
        failures = _pairs(read("memory", "memory.events")).get("oom", 0)
        return Memory(usage=usage, failures=failures, limit=min(limit, host.memory_bytes), stats=stats)
    return Memory(
        usage=_number(read("memory", "memory.usage_in_bytes")),
        peak=_number(read("memory", "memory.max_usage_in_bytes")),
        failures=_number(read("memory", "memory.failcnt")),
        limit=min(_number(read("memory", "memory.limit_in_bytes"), _UNLIMITED), host.memory_bytes),
        stats=stats,
    )


def block(read: ReadFile, version: int) -> BlockIO:
    """Of a group with those below it. In v1 the scheduler's counters, or else those of throttling."""
    if version == 2:
        moved = _unified_counters(read("io", "io.stat"), {"rbytes": "read", "wbytes": "write"})
        return BlockIO(io_service_bytes=moved or None)

    def counters(name: str, *more: str) -> tuple[BlockCounter, ...]:
        files = (f"blkio.bfq.{name}_recursive", f"blkio.{name}_recursive", *more)
        return next((found for file in files if (found := _device_counters(read("blkio", file)))), ())

    return BlockIO(
        io_service_bytes=counters("io_service_bytes", "blkio.throttle.io_service_bytes_recursive"),
        io_serviced=counters("io_serviced", "blkio.throttle.io_serviced_recursive"),
        io_queue=counters("io_queued"),
        io_service_time=counters("io_service_time"),
        io_wait_time=counters("io_wait_time"),
        io_merged=counters("io_merged"),
        io_time=counters("time"),
        sectors=counters("sectors"),
    )


def pids(read: ReadFile) -> tuple[int, int]:
    """Processes and threads of a group, and how many it may have; without a limit the largest number there is."""
    limit = read("pids", "pids.max")
    return _number(read("pids", "pids.current")), _number(limit, _UNLIMITED) if limit else 0


def interfaces(text: str) -> dict[str, Interface]:
    """From /proc/PID/net/dev, without loopback."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = list(map(int, rest.split()))
        if name.strip() != "lo":
            found[name.strip()] = Interface(
                rx_bytes=numbers[0],
                rx_packets=numbers[1],
                rx_errors=numbers[2],
                rx_dropped=numbers[3],
                tx_bytes=numbers[8],
                tx_packets=numbers[9],
                tx_errors=numbers[10],
                tx_dropped=numbers[11],
            )
    return found


def host_cpu_ns(text: str) -> int:
    """From /proc/stat: user, nice, system, idle, iowait, irq and softirq of all CPUs."""
    return sum(map(int, text.split("\n", 1)[0].split()[1:8])) * _USER_TICK_NS


def host_memory_bytes(text: str) -> int:
    """From /proc/meminfo."""
    return int(text.partition("MemTotal:")[2].split()[0]) * 1024


def _pairs(text: str) -> dict[str, int]:
    words = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdecimal()}


def _number(text: str, otherwise: int = 0) -> int:
    return int(text) if text.strip().isdecimal() else otherwise


def _device_counters(text: str) -> tuple[BlockCounter, ...]:
    """Lines of v1: `8:0 Read 4096`, `8:0 4096`; the last line's total has no device."""
    found = []
    for line in text.splitlines():
        device, *operation, value = line.split() or ("", "")
        major, colon, minor = device.partition(":")
        if colon:
            word = operation[0] if operation else ""
            found.append(BlockCounter(major=int(major), minor=int(minor), operation=word, value=int(value)))
    return tuple(found)


def _unified_counters(text: str, operations: dict[str, str]) -> tuple[BlockCounter, ...]:
    """Lines of v2: `8:0 rbytes=4096 wbytes=0 ...`."""
    found = []
    for line in text.splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        for pair in pairs:
            key, _, value = pair.partition("=")
            if key in operations:
                found.append(
                    BlockCounter(major=int(major), minor=int(minor), operation=operations[key], value=int(value))
                )
    return tuple(found)
