"""Attempts to get out of a container, or to do in it what it has no right to; none may work."""

import errno
import io
import tarfile

import pytest

from tests.clients.options import refusal, run
from tests.clients.raw import RawClient
from tests.engines import wait_until
from tests.fakes.system_calls import needs_x86_64, program
from tests.fakes.tars import TarBuilder

pytestmark = pytest.mark.root
REFUSED = (errno.EPERM, errno.ENOSYS, errno.EACCES)
SECRET = "only for the host"

# what needs a capability that containers haven't, or what the filter of system calls keeps from everybody (x86-64)
CALLS: dict[str, tuple[int, ...]] = {
    "ptrace of a process that root runs": (101, 16, 1),
    "mount": (165, 0, 0, 0, 32, 0),
    "umount": (166, 0, 0),
    "pivot_root": (155, 0, 0),
    "unshare a mount namespace": (272, 0x20000),
    "unshare a user namespace": (272, 0x10000000),
    "setns": (308, 0, 0),
    "add_key": (248, 0, 0, 0, 0, 0),
    "request_key": (249, 0, 0, 0, 0),
    "keyctl": (250, 0, 0),
    "init_module": (175, 0, 0, 0),
    "finit_module": (313, 0, 0, 0),
    "delete_module": (176, 0, 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "reboot": (169, 0xFEE1DEAD, 672274793, 0x89ABCDEF),
    "swapon": (167, 0, 0),
    "open_by_handle_at": (304, -100, 0, 0),
    "bpf": (321, 0, 0, 0),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "userfaultfd": (323, 0),
    "acct": (163, 0),
    "settimeofday": (164, 0, 0),
    "sethostname": (170, 0, 0),
    "quotactl": (179, 0, 0, 0, 0),
    "iopl": (172, 3),
    "ioperm": (173, 0, 1, 1),
    "fsopen": (430, 0, 0),
    "open_tree": (428, -100, 0, 1),
    "move_mount": (429, -100, 0, -100, 0, 0),
    "mount_setattr": (442, -100, 0, 0, 0, 0),
    "lookup_dcookie": (212, 0, 0, 0),
    "io_uring_setup": (425, 0, 0),
}
RAW = {"a raw socket": (41, 2, 3, 1), "a packet socket": (41, 17, 3, 0)}


@pytest.fixture(scope="module")
def secret(engine):
    """A directory of the host that no container is given."""
    place = engine.directory / "secret"
    place.mkdir()
    (place / "key").write_text(SECRET)
    (place / "passwd").write_text("hostonly:x:0:0::/:/bin/sh\n")
    return place


@pytest.fixture(scope="module")
def cell(engine):
    """A container that runs as root with what a container has by default, and with programs for each call."""
    engine.docker("run", "-d", "--name", "cell", "busybox", "sleep", "1000")
    programs = TarBuilder().directory("calls/")
    for name, call in (CALLS | RAW).items():
        programs.file(f"calls/{name}", program(*call), mode=0o755)
    engine.docker("cp", "-", "cell:/", stdin=programs.bytes())
    return "cell"


def statuses(engine, container: str, names, *options: str) -> dict[str, int]:
    script = "cd /calls; " + "; ".join(f"'./{name}'; echo $?" for name in names)
    codes = engine.out("exec", *options, container, "sh", "-c", script).split()
    return dict(zip(names, map(int, codes), strict=True))


# ---- system calls


@needs_x86_64
def test_calls_that_a_container_has_no_right_to(engine, cell):
    for options in (("-u", "web"), ()):
        names = [name for name in CALLS if options or not name.startswith("ptrace")]  # root may trace root's own
        codes = statuses(engine, cell, names, *options)
        assert {name: code for name, code in codes.items() if code not in REFUSED} == {}


@needs_x86_64
def test_raw_sockets_need_their_capability(engine, cell):
    assert statuses(engine, cell, RAW) == dict.fromkeys(RAW, 0)  # CAP_NET_RAW is among what Docker gives
    assert statuses(engine, cell, RAW, "-u", "web") == dict.fromkeys(RAW, errno.EPERM)
    engine.docker("commit", cell, "caller:1")
    engine.docker("run", "-d", "--name", "without", "--cap-drop", "NET_RAW", "caller:1")
    assert statuses(engine, "without", RAW) == dict.fromkeys(RAW, errno.EPERM)
    engine.docker("rm", "-f", "without")


def test_devices_are_made_but_not_opened(engine):
    script = (
        "mknod /disk b 8 0 && dd if=/disk of=/dev/null count=1; mknod /mem c 1 1 && dd if=/mem of=/dev/null count=1"
    )
    said = run(engine, script=f"{script} 2>&1; true", check=False)
    assert "records in" not in said
    assert run(engine, "--cap-drop", "MKNOD", script="mknod /x c 1 3 2>/dev/null || echo refused") == "refused"
    assert run(engine, "-u", "web", script="mknod /tmp/x c 1 3 2>/dev/null || echo refused") == "refused"


def test_file_systems_are_not_mounted(engine):
    for what in (
        "-t tmpfs none /tmp",
        "-t proc none /tmp",
        "--bind / /tmp",
        "-o remount,rw /sys",
        "-t cgroup none /tmp",
    ):
        assert run(engine, script=f"mount {what} 2>/dev/null && echo mounted; true") == "", what
    script = (
        "busybox umount /proc/kcore 2>/dev/null && echo gone; busybox umount -l /sys 2>/dev/null && echo gone; true"
    )
    assert run(engine, script=script) == ""


# ---- the kernel's own files


def test_masked_and_read_only_paths(engine):
    writes = (
        "/proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/vm/drop_caches "
        "/proc/irq/default_smp_affinity /proc/bus/pci/00 /sys/kernel/uevent_helper /sys/power/state "
        "/sys/fs/cgroup/memory/release_agent /sys/fs/cgroup/memory/cgroup.procs /sys/fs/cgroup/devices/devices.allow "
        "/sys/fs/cgroup/cgroup.subtree_control"
    )
    script = f"for f in {writes}; do [ -e $f ] && (echo x >$f) 2>/dev/null && echo $f; done; true"
    assert run(engine, script=script) == ""
    reads = "/proc/kcore /proc/keys /proc/timer_list /proc/sched_debug /proc/latency_stats"
    assert run(engine, script=f"for f in {reads}; do head -c 1 $f 2>/dev/null; done; true") == ""
    assert run(engine, script="ls -A /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -v : ; true") == ""


def test_masks_hold_for_execs_too(engine, cell):
    script = "(echo x >/proc/sys/kernel/core_pattern) 2>/dev/null && echo written; head -c 1 /proc/kcore; true"
    assert engine.out("exec", cell, "sh", "-c", script) == ""


def test_no_descriptor_of_the_engine_is_left_open(engine, cell):
    """What was inherited could be a directory of the host."""
    seen = set(run(engine, script="ls /proc/self/fd").split())
    assert seen <= {"0", "1", "2", "3"}  # 3 is what ls reads
    assert set(engine.out("exec", cell, "ls", "/proc/self/fd").split()) <= {"0", "1", "2", "3"}


@pytest.mark.parametrize("number", range(3, 12))
def test_a_working_directory_that_is_a_descriptor(engine, cell, secret, number):
    """A directory that the runtime has open must not be where a process begins."""
    leak = f"/proc/self/fd/{number}"
    script = f"cat ../../../../../../../..{secret}/key; cat {secret}/key"
    for said in (
        engine.docker("run", "--rm", "-w", leak, "busybox", "sh", "-c", script, check=False),
        engine.docker("exec", "-w", leak, cell, "sh", "-c", script, check=False),
    ):
        assert said.returncode != 0
        assert SECRET.encode() not in said.stdout + said.stderr


# ---- files that the engine reads for the container


def test_a_working_directory_behind_a_link(engine, cell, secret):
    engine.docker("exec", cell, "busybox", "ln", "-s", str(secret), "/leak")
    for directory in ("/leak", f"/proc/1/root{secret}", f"/../../../..{secret}"):
        said = engine.docker("exec", "-w", directory, cell, "cat", "key", check=False)
        assert said.returncode != 0
        assert SECRET.encode() not in said.stdout + said.stderr


def test_user_files_that_lead_out_or_never_end(engine, secret):
    engine.docker("run", "-d", "--name", "users", "busybox", "sleep", "1000")
    tricks = (
        TarBuilder().symlink("etc/passwd", f"{secret}/passwd"),
        TarBuilder().symlink("etc/passwd", f"/proc/1/root/../../../..{secret}/passwd"),
        TarBuilder().symlink("etc/passwd", "/dev/zero"),
        TarBuilder().symlink("etc/passwd", "passwd"),
        TarBuilder().add("etc/passwd", kind=tarfile.FIFOTYPE),
        TarBuilder().directory("etc/passwd"),
    )
    for trick in tricks:
        with RawClient(engine.socket) as raw:
            assert raw.ask("PUT", "/containers/users/archive?path=/", trick.bytes()).status == 200
        said = engine.docker("exec", "-u", "hostonly", "users", "id", check=False)
        assert said.returncode != 0
        assert b"hostonly" in said.stdout + said.stderr
    engine.docker("rm", "-f", "users")


def test_names_of_the_containers_own_files(engine, secret):
    """The engine writes hosts and resolv.conf beside the container's files, never through links in them."""
    engine.docker("create", "--name", "linked", "busybox", "cat", "/etc/hosts")
    links = TarBuilder().directory("etc/")
    for name in ("hosts", "hostname", "resolv.conf"):
        links.symlink(f"etc/{name}", f"{secret}/key")
    engine.docker("cp", "-", "linked:/", stdin=links.bytes())
    engine.docker("start", "-a", "linked", check=False)
    assert (secret / "key").read_text() == SECRET
    engine.docker("rm", "-f", "linked")


# ---- volumes and binds


def test_an_image_cannot_fill_a_volume_from_the_host(engine, secret):
    engine.docker("create", "--name", "planted", "busybox", "true")
    engine.docker("cp", "-", "planted:/", stdin=TarBuilder().symlink("alias", str(secret)).bytes())
    engine.docker("commit", "planted", "planted:1")
    engine.docker("rm", "planted")
    said = engine.docker("run", "--rm", "-v", "filler:/alias", "planted:1", "ls", "-A", "/alias", check=False)
    assert b"key" not in said.stdout
    assert sorted(path.name for path in secret.iterdir()) == ["key", "passwd"]
    mountpoint = engine.out("volume", "inspect", "--format", "{{.Mountpoint}}", "filler")
    assert b"key" not in engine.inside("ls", "-A", mountpoint).stdout


def test_a_mount_below_a_link_stays_inside(engine, secret):
    engine.docker("run", "--rm", "-v", "inner:/alias/below", "planted:1", "touch", "/alias/below/x", check=False)
    assert sorted(path.name for path in secret.iterdir()) == ["key", "passwd"]


@pytest.mark.parametrize("link", ["/", "..", "../../../../../..", "/proc/self/root"])
def test_a_part_of_a_volume_that_is_a_link(engine, secret, link):
    run(engine, "-v", "parts:/v", script=f"busybox ln -sfn {link} /v/out")
    said = refusal(engine, "--mount", f"type=volume,source=parts,target=/b,volume-subpath=out{secret}")
    assert "cannot access path" in said or "must be a relative path" in said


def test_a_part_of_a_volume_that_is_exchanged_again_and_again(engine, secret):
    """A link comes and goes in its place: at worst the container doesn't start."""
    script = (
        f"mkdir -p /v/real; touch /v/ready; while :; do busybox ln -s {secret} /v/part; rm /v/part; "
        "mkdir /v/part; busybox rmdir /v/part; done"
    )
    engine.docker("run", "-d", "--name", "swapper", "-v", "swapped:/v", "busybox", "sh", "-c", script)
    wait_until(
        lambda: engine.docker("exec", "swapper", "ls", "/v/ready", check=False).returncode == 0,
        "the swapping has begun",
    )
    for _ in range(8):
        said = engine.docker(
            "run", "--rm", "--mount", "type=volume,source=swapped,target=/b,volume-subpath=part", "busybox",
            "cat", "/b/key", check=False,
        )  # fmt: skip
        assert SECRET.encode() not in said.stdout
    engine.docker("rm", "-f", "swapper")


def test_what_was_written_by_root_stays_in_the_container(engine, cell, secret):
    """An archive made of the whole container holds nothing of the host."""
    engine.docker("exec", cell, "busybox", "ln", "-sfn", str(secret), "/leak")
    exported = engine.docker("export", cell).stdout
    with tarfile.open(fileobj=io.BytesIO(exported)) as tar:
        assert tar.getmember("leak").linkname == str(secret)
        assert not [name for name in tar.getnames() if name.endswith("/key")]
