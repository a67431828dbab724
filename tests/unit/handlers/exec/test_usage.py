"""Counters of both versions of control groups."""

from handlers.exec import usage
from handlers.exec.usage import BlockCounter, Host

HOST = Host(cpu_ns=9, cpus=2, memory_bytes=8 * 2**30)
V1 = {
    ("cpuacct", "cpuacct.usage"): "5000\n",
    ("cpuacct", "cpuacct.usage_percpu"): "2000 3000 \n",
    ("cpuacct", "cpuacct.stat"): "user 7\nsystem 3\n",
    ("cpu", "cpu.stat"): "nr_periods 10\nnr_throttled 4\nthrottled_time 77\n",
    ("memory", "memory.usage_in_bytes"): "4096\n",
    ("memory", "memory.max_usage_in_bytes"): "8192\n",
    ("memory", "memory.failcnt"): "3\n",
    ("memory", "memory.limit_in_bytes"): "9223372036854771712\n",
    ("memory", "memory.stat"): "cache 1\nrss 2\n",
    (
        "blkio",
        "blkio.throttle.io_service_bytes_recursive",
    ): "8:0 Read 512\n8:0 Write 24\n8:0 Total 536\nTotal 536\n",
    ("blkio", "blkio.throttle.io_serviced_recursive"): "Total 0\n",
    ("pids", "pids.current"): "5\n",
    ("pids", "pids.max"): "100\n",
}
V2 = {
    ("cpu", "cpu.stat"): "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 1\nnr_throttled 1\nthrottled_usec 4\n",
    ("memory", "memory.current"): "4096\n",
    ("memory", "memory.max"): "max\n",
    ("memory", "memory.events"): "low 0\nhigh 0\nmax 9\noom 4\noom_kill 2\noom_group_kill 0\n",
    ("memory", "memory.stat"): "anon 1\nfile 2\n",
    ("io", "io.stat"): "8:16 rbytes=512 wbytes=1024 rios=1 wios=2 dbytes=0 dios=0\n",
    ("pids", "pids.current"): "1\n",
    ("pids", "pids.max"): "max\n",
}


def reader(files):
    return lambda controller, name: files.get((controller, name), "")


def test_version_1():
    read = reader(V1)
    cpu = usage.cpu(read, HOST, 1)
    assert (cpu.total_ns, cpu.user_ns, cpu.kernel_ns, cpu.per_cpu_ns) == (5000, 70_000_000, 30_000_000, (2000, 3000))
    assert (cpu.periods, cpu.throttled_periods, cpu.throttled_ns, cpu.host_ns, cpu.online) == (10, 4, 77, 9, 2)
    memory = usage.memory(read, HOST, 1)
    assert (memory.usage, memory.peak, memory.failures) == (4096, 8192, 3)
    assert (memory.limit, memory.stats) == (HOST.memory_bytes, {"cache": 1, "rss": 2})
    block = usage.block(read, 1)
    assert block.io_service_bytes is not None
    assert block.io_service_bytes[0] == BlockCounter(major=8, minor=0, operation="Read", value=512)
    assert [counter.operation for counter in block.io_service_bytes] == ["Read", "Write", "Total"]
    assert (block.io_serviced, block.sectors) == ((), ())
    assert usage.pids(read) == (5, 100)


def test_version_2():
    read = reader(V2)
    cpu = usage.cpu(read, HOST, 2)
    assert (cpu.total_ns, cpu.user_ns, cpu.kernel_ns, cpu.throttled_ns, cpu.per_cpu_ns) == (5000, 3000, 2000, 4000, ())
    memory = usage.memory(read, HOST, 2)
    assert (memory.usage, memory.limit, memory.stats) == (4096, HOST.memory_bytes, {"anon": 1, "file": 2})
    assert (memory.peak, memory.failures) == (0, 4)
    block = usage.block(read, 2)
    assert block.io_service_bytes == (
        BlockCounter(major=8, minor=16, operation="read", value=512),
        BlockCounter(major=8, minor=16, operation="write", value=1024),
    )
    assert block.io_serviced is None
    assert usage.pids(read) == (1, 2**64 - 1)


def test_a_limit_counts_where_there_is_one():
    assert usage.memory(reader({("memory", "memory.max"): "1048576\n"}), HOST, 2).limit == 1048576


def test_a_group_without_files_has_used_nothing():
    read = reader({})
    for version in (1, 2):
        assert usage.cpu(read, HOST, version).total_ns == 0
        assert usage.memory(read, HOST, version).limit == HOST.memory_bytes
    assert usage.pids(read) == (0, 0)


def test_interfaces_without_loopback():
    text = (
        "Inter-|   Receive                    |  Transmit\n"
        " face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier\n"
        "    lo:    9  9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n"
        "  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n"
    )
    found = usage.interfaces(text)
    assert list(found) == ["eth0"]
    assert (found["eth0"].rx_bytes, found["eth0"].rx_dropped, found["eth0"].tx_packets, found["eth0"].tx_errors) == (
        1000,
        2,
        20,
        3,
    )


def test_the_host():
    assert usage.host_cpu_ns("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1\n") == 28 * 10_000_000
    assert usage.host_memory_bytes("MemTotal:        2048 kB\nMemFree: 1 kB\n") == 2 * 2**20
