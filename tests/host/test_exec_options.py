"""The effect of a container's options, seen from inside: a field that is only written down does nothing."""

import json
import re
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from events.errors import SystemFailure
from events.messages.container import ContainerConfig, Device, HostConfig, Ulimit
from events.messages.exec import ResolvedMount
from handlers.exec import capabilities, host_devices, seccomp
from handlers.exec.drivers.conmon import ConmonRuntime
from handlers.exec.ports import LogQuery, StartError
from handlers.kernel.namespaces import PinnedNamespaces
from tests.fakes.processes import ProcessHost, make_rootfs, short_directory

pytestmark = pytest.mark.root
LIMIT_S = 20
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("rootfs"))


@pytest.fixture
async def host(rootfs) -> AsyncIterator[ProcessHost]:
    with short_directory() as directory:
        made = ProcessHost(directory, rootfs)
        yield made
        await made.clean()


async def shell(host: ProcessHost, script: str, config=None, options=None, **plan) -> str:
    """What a script prints in a container; a failing script fails the test."""
    runtime = host.runtime()
    made = host.plan("/bin/sh", "-ec", script, config=config, host=options, **plan)
    await runtime.create(made)
    await runtime.start(made.container_id)
    with anyio.fail_after(LIMIT_S):
        status = await runtime.wait(made.container_id)
    output = await text(runtime, made.container_id)
    assert status.exit_code == 0, output
    return output


async def text(runtime: ConmonRuntime, container_id: str) -> str:
    chunks = [chunk async for chunk in runtime.output(container_id, LogQuery(framed=False))]
    return b"".join(chunks).decode()


def status_fields(text: str) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def held(fields: dict[str, str], name: str) -> frozenset[str]:
    return frozenset(capabilities.from_mask(int(fields[name], 16)))


# ---- rights


async def test_the_default_rights(host):
    fields = status_fields(await shell(host, "cat /proc/self/status"))
    assert held(fields, "CapBnd") == capabilities.DEFAULT
    assert held(fields, "CapEff") == held(fields, "CapPrm") == capabilities.DEFAULT
    assert held(fields, "CapInh") == held(fields, "CapAmb") == frozenset()
    assert (fields["Seccomp"], fields["NoNewPrivs"]) == ("2", "0")


async def test_capabilities_are_added_and_dropped(host):
    options = HostConfig(cap_add=("NET_ADMIN", "cap_sys_nice"), cap_drop=("ALL",))
    fields = status_fields(await shell(host, "cat /proc/self/status", options=options))
    assert held(fields, "CapEff") == {"CAP_NET_ADMIN", "CAP_SYS_NICE"}
    options = HostConfig(cap_add=("ALL",), cap_drop=("KILL",))
    fields = status_fields(await shell(host, "cat /proc/self/status", options=options))
    assert held(fields, "CapEff") == set(host.facts.bounding_capabilities) - {"CAP_KILL"}


async def test_a_user_keeps_no_effective_capability(host):
    script = "id -u; id -g; id -G; echo $HOME; cat /proc/self/status"
    output = await shell(host, script, ContainerConfig(user="ada"), HostConfig(group_add=("7",)))
    uid, gid, gids, home, *rest = output.splitlines()
    assert (uid, gid, set(gids.split()), home) == ("1000", "1001", {"1001", "2000", "7"}, "/home/ada")
    fields = status_fields("\n".join(rest))
    assert held(fields, "CapEff") == frozenset()
    assert held(fields, "CapBnd") == capabilities.DEFAULT


async def test_numbers_need_no_entry(host):
    output = await shell(host, "id -u; id -g; echo $HOME", ContainerConfig(user="4711:4712"))
    assert output.splitlines() == ["4711", "4712", "/"]


async def test_an_environment_larger_than_a_pipe_arrives_whole(host):
    """The runtime is handed its configuration through one."""
    env = tuple(f"LARGE{number}={'x' * 100_000}" for number in range(6))
    assert await shell(host, "echo ${#LARGE0} ${#LARGE5}", env=env) == "100000 100000\n"


async def test_no_new_privileges(host):
    options = HostConfig(security_opt=("no-new-privileges",))
    assert status_fields(await shell(host, "cat /proc/self/status", options=options))["NoNewPrivs"] == "1"


async def test_a_privileged_container_has_what_the_engine_has(host):
    options = HostConfig(privileged=True)
    script = "cat /proc/self/status; mount | grep -E ' /(sys|proc)'; ls /sys/firmware | wc -l"
    output = await shell(host, script, options=options, devices=host_devices.of_container(options))
    fields = status_fields(output)
    assert held(fields, "CapEff") == set(host.facts.bounding_capabilities)
    assert fields["Seccomp"] == "0"
    assert re.search(r"sysfs on /sys .*\(rw,", output)
    assert "/proc/keys" not in output
    assert (
        await shell(
            host,
            "test -c /dev/mem || test -c /dev/loop-control || test -b /dev/vda; echo yes",
            options=options,
            devices=host_devices.of_container(options),
        )
        == "yes\n"
    )


# ---- seccomp


async def test_the_filter_refuses_what_needs_a_capability(host):
    script = "unshare -U true 2>&1 || true; mount -t tmpfs x /tmp 2>&1 || true; linux64 true && echo fine"
    refused = await shell(host, script)
    assert refused.count("Operation not permitted") + refused.count("ermission denied") == 2
    assert refused.endswith("fine\n")


async def test_the_filter_can_be_taken_off_or_replaced(host):
    unconfined = HostConfig(security_opt=("seccomp=unconfined",))
    assert status_fields(await shell(host, "cat /proc/self/status", options=unconfined))["Seccomp"] == "0"
    profile = json.dumps(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "archMap": [{"architecture": seccomp.ARCHITECTURES[host.facts.machine][0], "subArchitectures": []}],
            "syscalls": [{"names": ["mkdir", "mkdirat", "unknown_to_everybody"], "action": "SCMP_ACT_ERRNO"}],
        }
    )
    own = HostConfig(security_opt=(f"seccomp={profile}",))
    assert "Operation not permitted" in await shell(host, "mkdir /tmp/new 2>&1 || true", options=own)


async def test_every_listed_system_call_is_accepted_with_every_capability(host):
    """Names that the host's libseccomp doesn't know must not keep a container from starting."""
    options = HostConfig(cap_add=("ALL",))
    assert await shell(host, "echo up", options=options) == "up\n"


# ---- what is hidden, and what is read-only


async def test_paths_that_tell_of_the_host_are_hidden_or_read_only(host):
    script = (
        "cat /proc/keys /proc/timer_list | wc -c; ls /sys/firmware | wc -l;"
        "(echo 1 > /proc/sys/kernel/domainname) 2>&1 || true; mount | grep -E ' /(sys|proc/sys) '"
    )
    output = await shell(host, script)
    assert output.startswith("0\n0\n")
    assert "Read-only file system" in output
    assert re.search(r"/sys type sysfs \(ro,", output)


async def test_paths_can_be_left_open(host):
    options = HostConfig(security_opt=("systempaths=unconfined",))
    assert "/proc/keys" not in await shell(host, "mount", options=options)


async def test_a_read_only_root_with_a_writable_tmpfs(host):
    mounts = (ResolvedMount(type="tmpfs", destination="/tmp", options="size=1m,mode=1777"),)
    script = "(touch /etc/new) 2>&1 || true; touch /tmp/new; df -k /tmp | tail -1"
    output = await shell(host, script, options=HostConfig(readonly_rootfs=True), mounts=mounts)
    assert "Read-only file system" in output
    assert " 1024 " in output


async def test_binds_are_writable_or_not_and_come_parents_first(host, tmp_path):
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    (outer / "deep").mkdir(parents=True)
    inner.mkdir()
    mounts = (
        ResolvedMount(type="bind", source=str(inner), destination="/x/deep"),
        ResolvedMount(type="bind", source=str(outer), destination="/x", writable=False),
    )
    output = await shell(host, "(touch /x/no) 2>&1 || true; touch /x/deep/yes", mounts=mounts)
    assert "Read-only file system" in output
    assert (inner / "yes").exists()
    assert not (outer / "no").exists()


# ---- devices


async def test_default_devices_and_nothing_else(host):
    script = "ls /dev; echo x > /dev/null; head -c 2 /dev/zero | wc -c; head -c 1 /dev/urandom | wc -c"
    output = await shell(host, script)
    names = set(output.split())
    assert {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "fd"} <= names
    assert not names & {"mem", "kmsg", "loop0", "vda"}


async def test_nodes_can_be_made_but_not_used(host):
    script = "mknod /tmp/kmsg$$ c 1 11; (head -c1 /tmp/kmsg$$) 2>&1 || true; rm /tmp/kmsg$$"
    assert "Operation not permitted" in await shell(host, script)


async def test_a_device_that_was_asked_for_can_be_used(host):
    options = HostConfig(
        devices=(Device(path_on_host="/dev/zero", path_in_container="/dev/nought", cgroup_permissions="r"),),
        device_cgroup_rules=("c 1:11 r",),
    )
    found = host_devices.of_container(options)
    output = await shell(
        host, "head -c 3 /dev/nought | wc -c; stat -c %t:%T /dev/nought", options=options, devices=found
    )
    assert output.split() == ["3", "1:5"]


def test_what_is_no_device_is_refused(tmp_path):
    for path, why in ((tmp_path / "none", "no such file or directory"), (Path("/etc/passwd"), "not a device node")):
        with pytest.raises(SystemFailure, match=why):
            host_devices.of_container(HostConfig(devices=(Device(path_on_host=str(path)),)))


def test_a_directory_stands_for_its_devices():
    found = host_devices.of_container(
        HostConfig(devices=(Device(path_on_host="/dev/pts", path_in_container="/dev/p"),))
    )
    assert all(device.path.startswith("/dev/p/") and device.type == "c" for device in found)


def test_privileged_finds_the_hosts_devices():
    paths = {device.path for device in host_devices.of_container(HostConfig(privileged=True))}
    assert "/dev/null" in paths
    assert not {path for path in paths if path.startswith(("/dev/pts", "/dev/shm"))}
    assert all(stat.S_ISCHR(Path(path).stat().st_mode) or stat.S_ISBLK(Path(path).stat().st_mode) for path in paths)


# ---- limits


async def test_limits_of_the_control_group(host):
    options = HostConfig(
        memory=32 * MEBIBYTE,
        memory_swap=48 * MEBIBYTE,
        memory_reservation=16 * MEBIBYTE,
        memory_swappiness=-1,
        cpu_shares=512,
        nano_cpus=500_000_000,
        cpuset_cpus="0",
        pids_limit=33,
    )
    runtime = host.runtime()
    plan = host.plan("/bin/sleep", "100", host=options)
    live = await runtime.create(plan)
    found = group_values(live.pid)
    assert (
        found.items() >= {"memory": 32 * MEBIBYTE, "pids": 33, "cpus": "0", "quota": 50_000, "period": 100_000}.items()
    )
    assert found["swap"] == (48 if host.facts.cgroup_version == 1 else 16) * MEBIBYTE
    assert f"{host.settings.cgroup_parent}/{plan.container_id}" in memberships(live.pid)


def memberships(pid: int) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text()


def group_values(pid: int) -> dict[str, object]:
    """The limits of a process's control group, of either version."""
    places = dict(line.split(":", 2)[1:] for line in memberships(pid).splitlines())
    if places.keys() == {""}:
        root = Path("/sys/fs/cgroup" + places[""])
        quota, period = (root / "cpu.max").read_text().split()
        values = {name: (root / f"{name}.max").read_text() for name in ("memory", "pids")}
        swap, cpus = (root / "memory.swap.max").read_text(), (root / "cpuset.cpus").read_text()
    else:
        read = lambda controller, name: Path(f"/sys/fs/cgroup/{controller}{places[controller]}/{name}").read_text()  # noqa: E731
        quota, period = read("cpu", "cpu.cfs_quota_us"), read("cpu", "cpu.cfs_period_us")
        values = {"memory": read("memory", "memory.limit_in_bytes"), "pids": read("pids", "pids.max")}
        swap, cpus = read("memory", "memory.memsw.limit_in_bytes"), read("cpuset", "cpuset.cpus")
    numbers = {name: int(value) for name, value in values.items()}
    return {**numbers, "swap": int(swap), "cpus": cpus.strip(), "quota": int(quota), "period": int(period)}


async def test_limits_of_the_process(host):
    options = HostConfig(
        ulimits=(
            Ulimit(name="nofile", soft=100, hard=200),
            Ulimit(name="core", soft=-1, hard=-1),
        ),
        oom_score_adj=500,
    )
    script = "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj"
    assert (await shell(host, script, options=options)).split() == ["100", "200", "unlimited", "500"]


async def test_what_the_engine_cannot_give_is_cut(host):
    own = host.facts.hard_limits["RLIMIT_NOFILE"]
    options = HostConfig(ulimits=(Ulimit(name="nofile", soft=own + 1, hard=own + 1),), oom_score_adj=-1000)
    output = await shell(host, "ulimit -Hn; cat /proc/self/oom_score_adj", options=options)
    limit, score = map(int, output.split())
    raised = host.facts.may_raise_limits
    assert limit == (own + 1 if raised else own)
    assert score == (-1000 if raised else host.facts.oom_score_adj)


async def test_running_out_of_memory_is_told(host):
    runtime = host.runtime()
    options = HostConfig(memory=16 * MEBIBYTE, memory_swap=16 * MEBIBYTE)
    plan = host.plan("/bin/sh", "-c", "x=x; while true; do x=$x$x; done", host=options)
    await runtime.create(plan)
    await runtime.start(plan.container_id)
    with anyio.fail_after(LIMIT_S):
        status = await runtime.wait(plan.container_id)
    assert (status.exit_code, status.oom_killed) == (137, True)


async def test_shared_memory_has_its_size(host):
    assert " 65536 " in await shell(host, "df -k /dev/shm | tail -1")
    assert " 2048 " in await shell(host, "df -k /dev/shm | tail -1", options=HostConfig(shm_size=2 * MEBIBYTE))
    assert "/dev/shm" not in await shell(host, "mount", options=HostConfig(ipc_mode="none"))


# ---- namespaces


def own_namespace(name: str, process: int | str = "self") -> str:
    return str(Path(f"/proc/{process}/ns/{name}").readlink())


async def test_a_namespace_for_everything_but_what_is_shared(host):
    script = "for n in mnt pid ipc uts cgroup net; do readlink /proc/self/ns/$n; done"
    own = [own_namespace(name) for name in ("mnt", "pid", "ipc", "uts", "cgroup", "net")]
    inside = (await shell(host, script, options=HostConfig(cgroupns_mode="private"))).split()
    assert [mine == theirs for mine, theirs in zip(own, inside, strict=True)] == [False] * 5 + [True]
    shared = HostConfig(pid_mode="host", ipc_mode="host", uts_mode="host", cgroupns_mode="host")
    inside = (await shell(host, script, options=shared)).split()
    assert [mine == theirs for mine, theirs in zip(own, inside, strict=True)] == [False] + [True] * 5


async def test_another_containers_namespaces_are_joined(host):
    runtime = host.runtime()
    first = host.plan("/bin/sh", "-c", "echo shared > /dev/shm/note; sleep 100", host=HostConfig(ipc_mode="shareable"))
    live = await runtime.create(first)
    await runtime.start(first.container_id)
    options = HostConfig(pid_mode="container:first", ipc_mode="container:first")
    script = (
        "cd /dev/shm; until test -s note; do :; done; cat note; readlink /proc/self/ns/pid; readlink /proc/1/ns/ipc"
    )
    output = (
        await shell(
            host,
            script,
            options=options,
            pids={"first": live.pid},
            shared_memory={"first": runtime.shared_memory(first.container_id)},
        )
    ).split()
    assert output == ["shared", own_namespace("pid", live.pid), own_namespace("ipc", live.pid)]


async def test_a_network_namespace_of_its_own_has_dockers_settings(host, tmp_path):
    namespaces = PinnedNamespaces(host.instance.exec_root / "netns")
    path = await namespaces.create("test")
    script = (
        "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_unprivileged_port_start"
        " /proc/sys/net/ipv4/ping_group_range /proc/sys/net/ipv4/ip_forward; readlink /proc/self/ns/net"
    )
    config = ContainerConfig(hostname="box", domainname="example.org")
    options = HostConfig(sysctls={"net.ipv4.ip_forward": "1"})
    output = (await shell(host, script, config, options, namespace_path=path)).split()
    await host.clean()
    await namespaces.remove("test")
    await anyio.run_process(["umount", str(host.instance.exec_root / "netns")])
    assert output[:6] == ["box", "example.org", "0", "0", "2147483647", "1"]
    assert output[6] != own_namespace("net")


# ---- the process


async def test_environment_directory_and_descriptors(host):
    script = "pwd; env | sort; ls /proc/self/fd"
    config = ContainerConfig(hostname="box", working_dir="/var/deep/work", env=())
    output = await shell(host, script, config, env=("A=b", "PATH=/bin:/mine"))
    lines = output.split()
    assert lines[0] == "/var/deep/work"
    assert {"A=b", "PATH=/bin:/mine", "HOME=/root", "HOSTNAME=box"} <= set(lines)
    assert lines[-4:] == ["0", "1", "2", "3"]  # 3 is the directory being listed


async def test_a_terminal_has_its_size_from_the_start(host):
    config, options = ContainerConfig(tty=True, open_stdin=True), HostConfig(console_size=(33, 99))
    output = await shell(host, "stty size; tty; echo $TERM", config, options)
    assert output.split() == ["33", "99", "/dev/pts/0", "xterm"]


async def test_an_init_reaps_and_passes_the_exit_code_on(host):
    assert "docker-init" in await shell(host, "cat /proc/1/comm", options=HostConfig(init=True))


async def test_a_sysctl_of_the_host_is_refused_and_nothing_is_left(host):
    runtime = host.runtime()
    plan = host.plan("/bin/true", host=HostConfig(sysctls={"kernel.pid_max": "1000"}))
    with pytest.raises(StartError, match=r"kernel\.pid_max") as refusal:
        await runtime.create(plan)
    assert refusal.value.exit_code == 128
    assert await runtime.list() == frozenset()


async def test_the_default_filter_lets_32_bit_programs_run(host):
    """On x86_64 the filter must know both architectures, or such a program is killed at its first system call."""
    names = host.plan("/bin/true").specification
    architectures = json.loads(names)["linux"]["seccomp"]["architectures"]
    assert architectures == list(seccomp.ARCHITECTURES[host.facts.machine])
    if host.facts.machine == "x86_64":
        program = host.rootfs / "bin" / "exit7-32"
        program.write_bytes(exit_7_for_i386())
        program.chmod(0o755)
        runtime = host.runtime()
        plan = host.plan("/bin/exit7-32")
        await runtime.create(plan)
        await runtime.start(plan.container_id)
        assert (await runtime.wait(plan.container_id)).exit_code == 7


def exit_7_for_i386() -> bytes:
    """A 32-bit ELF program of three instructions: mov eax, 1; mov ebx, 7; int 0x80 (elf(5))."""
    code = b"\xb8\x01\0\0\0\xbb\x07\0\0\0\xcd\x80"
    base, offset = 0x08048000, 52 + 32
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += b"".join(
        number.to_bytes(size, "little")
        for number, size in (
            *((2, 2), (3, 2), (1, 4), (base + offset, 4), (52, 4), (0, 4), (0, 4)),
            *((52, 2), (32, 2), (1, 2), (0, 2), (0, 2), (0, 2)),
        )
    )
    size = offset + len(code)
    segment = (1, 0, base, base, size, size, 5, 0x1000)
    return header + b"".join(number.to_bytes(4, "little") for number in segment) + code
