"""Reads a container's counters; without it `docker stats` would have nothing to tell."""

import os
import time
from pathlib import Path

from handlers.exec import usage
from handlers.exec.drivers.record import Record


def look(found: Record) -> usage.Usage | None:
    """All counters now; None when its process has ended. Blocking."""
    group = found.cgroup
    if group is None:
        return None
    try:
        network = Path(f"/proc/{found.pid}/net/dev").read_text()
    except OSError:
        return None
    version = 2 if group.is_unified else 1
    host = _host()
    pids, pids_limit = usage.pids(group.read)
    return usage.Usage(
        read_ns=time.time_ns(),
        cpu=usage.cpu(group.read, host, version),
        memory=usage.memory(group.read, host, version),
        block=usage.block(group.read, version),
        pids=pids,
        pids_limit=pids_limit,
        interfaces={} if _shares_the_hosts_network(found.pid) else usage.interfaces(network),
    )


def _host() -> usage.Host:
    return usage.Host(
        cpu_ns=usage.host_cpu_ns(Path("/proc/stat").read_text()),
        cpus=os.cpu_count() or 1,
        memory_bytes=usage.host_memory_bytes(Path("/proc/meminfo").read_text()),
    )


def _shares_the_hosts_network(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino == Path("/proc/self/ns/net").stat().st_ino
    except OSError:
        return False
