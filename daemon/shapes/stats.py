"""What a container uses, as `GET /containers/{id}/stats` shows it."""

from daemon.shapes.go_values import JsonObject
from daemon.shapes.times import NEVER, rfc3339
from events.projections.containers import Container
from handlers.exec.usage import BlockCounter, BlockIO, Cpu, Interface, Memory, Usage


def stats_shape(container: Container, now: Usage | None, before: Usage | None) -> JsonObject:
    """`now` None: it doesn't run; `before` None: there is nothing to compare with."""
    shape: JsonObject = {
        "id": container.id,
        "name": f"/{container.name}",
        "os_type": "linux",
        "read": rfc3339(now.read_ns) if now else NEVER,
        "preread": rfc3339(before.read_ns) if before else NEVER,
        "cpu_stats": _cpu(now.cpu) if now else _no_cpu(),
        "precpu_stats": _cpu(before.cpu) if before else _no_cpu(),
        "memory_stats": _memory(now.memory) if now else {},
        "pids_stats": _pids(now) if now else {},
        "blkio_stats": _block(now.block if now else BlockIO()),
        "num_procs": 0,
        "storage_stats": {},
    }
    if now is not None and now.interfaces:
        shape["networks"] = {name: _interface(each) for name, each in now.interfaces.items()}
    return shape


def _no_cpu() -> JsonObject:
    usage = {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0}
    return {"cpu_usage": usage, "throttling_data": _throttling(Cpu())}


def _cpu(cpu: Cpu) -> JsonObject:
    usage: JsonObject = {
        "total_usage": cpu.total_ns,
        "usage_in_kernelmode": cpu.kernel_ns,
        "usage_in_usermode": cpu.user_ns,
    }
    if cpu.per_cpu_ns:
        usage["percpu_usage"] = cpu.per_cpu_ns
    return {
        "cpu_usage": usage,
        "system_cpu_usage": cpu.host_ns,
        "online_cpus": cpu.online,
        "throttling_data": _throttling(cpu),
    }


def _throttling(cpu: Cpu) -> JsonObject:
    return {
        "periods": cpu.periods,
        "throttled_periods": cpu.throttled_periods,
        "throttled_time": cpu.throttled_ns,
    }


def _memory(memory: Memory) -> JsonObject:
    optional = {"max_usage": memory.peak, "failcnt": memory.failures}
    return {
        "usage": memory.usage,
        **{name: value for name, value in optional.items() if value},
        "stats": memory.stats,
        "limit": memory.limit,
    }


def _pids(usage: Usage) -> JsonObject:
    limit: JsonObject = {"limit": usage.pids_limit} if usage.pids_limit else {}
    return {"current": usage.pids, **limit}


def _block(block: BlockIO) -> JsonObject:
    return {
        "io_service_bytes_recursive": _counters(block.io_service_bytes),
        "io_serviced_recursive": _counters(block.io_serviced),
        "io_queue_recursive": _counters(block.io_queue),
        "io_service_time_recursive": _counters(block.io_service_time),
        "io_wait_time_recursive": _counters(block.io_wait_time),
        "io_merged_recursive": _counters(block.io_merged),
        "io_time_recursive": _counters(block.io_time),
        "sectors_recursive": _counters(block.sectors),
    }


def _counters(counters: tuple[BlockCounter, ...] | None) -> list[JsonObject] | None:
    if counters is None:
        return None
    return [{"major": c.major, "minor": c.minor, "op": c.operation, "value": c.value} for c in counters]


def _interface(counters: Interface) -> JsonObject:
    return {name: getattr(counters, name) for name in Interface.__struct_fields__}
