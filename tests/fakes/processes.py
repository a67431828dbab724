"""Containers, plans and a root file system for tests that run processes."""

import contextlib
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from events.messages.container import ContainerConfig, ContainerSecrets, HostConfig
from events.messages.exec import ResolvedMount
from events.projections.containers import Container
from events.sealed import Sealed
from handlers.containers.configuration import DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS
from handlers.exec import specification
from handlers.exec.drivers.conmon import ConmonRuntime
from handlers.exec.drivers.host_facts import read_host_facts
from handlers.exec.host_facts import HostFacts
from handlers.exec.ports import ExecPlan, ProcessPlan
from handlers.exec.processes import shared_memory_bytes
from handlers.instance import Instance
from handlers.kernel import cgroups

RUNC = shutil.which("runc") or "/usr/sbin/runc"
CONMON = shutil.which("conmon") or "/usr/bin/conmon"
NOT_SEALED = Sealed(owner="", nonce=b"", ciphertext=b"")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1001:Ada:/home/ada:/bin/sh\n"
GROUP = "root:x:0:\nada:x:1001:\nmathematics:x:2000:ada\n"


def new_id() -> str:
    """A container's or exec's id."""
    return secrets.token_hex(32)


def filled_in(host: HostConfig) -> HostConfig:
    """With the paths that are masked and read-only, as every stored configuration has them."""
    bare = host.privileged or "systempaths=unconfined" in host.security_opt
    paths = ((), ()) if bare else (DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS)
    return msgspec.structs.replace(host, masked_paths=paths[0], readonly_paths=paths[1])


def a_container(config: ContainerConfig | None = None, host: HostConfig | None = None, **fields) -> Container:
    """A container as the log would tell it."""
    known: dict[str, Any] = {
        "id": new_id(),
        "name": "web",
        "image_id": "sha256:0",
        "image_reference": "busybox",
        "config": config or ContainerConfig(),
        "host": filled_in(host or HostConfig()),
        "secrets": NOT_SEALED,
        "endpoints": {},
        "mounts": (),
        "platform": "linux",
        "created_at_ns": 1,
        "run": 1,
    }
    return Container(**(known | fields))


def some_facts(**fields) -> HostFacts:
    """A host with everything, unless told otherwise."""
    known: dict[str, Any] = {
        "cgroup_version": 2,
        "bounding_capabilities": ("CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"),
        "hard_limits": {"RLIMIT_NOFILE": 20000},
        "oom_score_adj": 0,
        "kernel": (6, 1),
        "machine": "x86_64",
        "seccomp": True,
        "apparmor": False,
        "selinux": False,
        "swap_limit": True,
        "blkio_weight": True,
        "blkio_weight_device": True,
    }
    return HostFacts(**(known | fields))


class ProcessHost:
    """Directories, a root file system and a cgroup of one test's own, and runtimes on them."""

    def __init__(self, root: Path, rootfs: Path) -> None:
        self.rootfs = rootfs
        self.instance = Instance(name=f"test-{root.name}", data_root=root / "d", exec_root=root / "x")
        self.facts = read_host_facts()
        self.settings = specification.Settings(
            cgroup_parent=f"/shiplog-test-{root.name}",
            runtimes={"runc": RUNC},
            init_path=shutil.which("tini-static") or "",
        )

    def runtime(self) -> ConmonRuntime:
        """A daemon's driver; another one is the daemon after it."""
        return ConmonRuntime(self.instance, CONMON)

    def plan(
        self,
        *command: str,
        config: ContainerConfig | None = None,
        host: HostConfig | None = None,
        env: tuple[str, ...] = (),
        mounts: tuple[ResolvedMount, ...] = (),
        namespace_path: str = "",
        run: int = 1,
        container_id: str = "",
        shared_memory: Mapping[str, str] = MappingProxyType({}),
        **request,
    ) -> ProcessPlan:
        """A plan as the exec handler would make it."""
        container = a_container(config, host, id=container_id or new_id(), run=run)
        built = specification.build(
            specification.Request(
                container=container,
                secrets=ContainerSecrets(cmd=command, env=env),
                rootfs=str(self.rootfs),
                namespace_path=namespace_path,
                mounts=mounts,
                passwd=PASSWD,
                group=GROUP,
                shared_memory={container.id: self.runtime().shared_memory(container.id), **shared_memory},
                **request,
            ),
            self.facts,
            self.settings,
        )
        return ProcessPlan(
            container_id=container.id,
            run=run,
            name=container.name,
            specification=msgspec.json.encode(built.specification),
            runtime=RUNC,
            terminal=container.config.tty,
            stdin=container.config.open_stdin,
            stdin_once=container.config.stdin_once,
            shared_memory_bytes=shared_memory_bytes(container),
        )

    async def clean(self) -> None:
        """Take down what tests left, and the cgroup."""
        runtime = self.runtime()
        for container_id in await runtime.list():
            await runtime.delete(container_id)
        await cgroups.at(self.settings.cgroup_parent, cgroups.hierarchies()).remove()


def exec_plan(plan: ProcessPlan, *command: str, terminal: bool = False, stdin: bool = False, attached: bool = True):
    """A process to run in the container of another plan."""
    process = {"args": command, "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"], "terminal": terminal}
    return ExecPlan(
        exec_id=new_id(),
        container_id=plan.container_id,
        process=msgspec.json.encode(process),
        runtime=plan.runtime,
        terminal=terminal,
        stdin=stdin,
        attached=attached,
    )


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's; pytest's own are too long."""
    path = Path(tempfile.mkdtemp(prefix="sl", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def make_rootfs(path: Path) -> Path:
    """A root file system of busybox."""
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    path.mkdir(exist_ok=True)
    path.chmod(0o755)
    for name in ("bin", "dev", "etc", "home/ada", "proc", "root", "sbin", "sys", "tmp", "x"):
        (path / name).mkdir(parents=True)
    shutil.copy(busybox, path / "bin/busybox")
    for name in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        with contextlib.suppress(FileExistsError):
            (path / "bin" / name).symlink_to("busybox")
    (path / "etc/passwd").write_text(PASSWD)
    (path / "etc/group").write_text(GROUP)
    (path / "etc/plain").write_text("not a program\n")
    return path
