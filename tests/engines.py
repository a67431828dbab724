"""Engines for tests: each in directories and a network namespace of its own, and nothing of it left afterwards."""

import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handlers.instance import Instance

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_S = 60.0
LEFTOVERS_TIMEOUT_S = 20.0
APPLETS = (
    "sh ls cat echo sleep true false id ps mount env hostname ip wget nc ping stty touch head dd grep kill "
    "tr seq rm mkdir chmod httpd pwd stat tail test yes wc ln mknod cut sort find readlink sync usleep date"
)


def wait_until(holds, what: str, timeout_s: float = 20.0) -> None:
    """Poll where the host gives no event."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.01)


class EngineUnderTest:
    """A real daemon, a docker CLI pointed at it, and what it needs to be looked at."""

    def __init__(self, *arguments: str, namespace: str = "") -> None:
        """`namespace`: a network namespace that others use too and somebody else removes; "" for one of its own."""
        self.directory = Path(tempfile.mkdtemp(prefix="sl", dir="/tmp"))  # short: sun_path has 107 bytes
        self.instance = "t" + secrets.token_hex(4)
        self.shares_namespace = bool(namespace)
        self.namespace = namespace or f"sl-{self.instance}"
        self.socket = self.directory / "s.sock"
        self.data_root, self.exec_root = self.directory / "d", self.directory / "e"
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        self.names = Instance(name=self.instance, data_root=self.data_root, exec_root=self.exec_root)
        if not self.shares_namespace:
            subprocess.run(["ip", "netns", "add", self.namespace], check=True)
            self.inside("ip", "link", "set", "lo", "up")

    # ---- life

    def start(
        self,
        *more: str,
        environment: dict[str, str] | None = None,
        module: str = "daemon",
        timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        """Start the daemon, or a module that surrounds it, and wait until it answers."""
        command = [sys.executable, "-m", module, "--instance", self.instance, "-H", f"unix://{self.socket}"]
        command += ["--data-root", str(self.data_root), "--exec-root", str(self.exec_root), *self.arguments, *more]
        with (self.directory / "log").open("ab") as output:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.namespace}", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env=os.environ | (environment or {}),
            )
        wait_until(self._answers, f"the engine answers; its log:\n{self.log()}", timeout_s)

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the engine ended with {self.process.returncode}:\n{self.log()}")
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
                client.settimeout(START_TIMEOUT_S)
                client.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return client.recv(15) == b"HTTP/1.1 200 OK"
            except (ConnectionRefusedError, FileNotFoundError, ConnectionResetError, TimeoutError):
                return False

    def kill(self) -> None:
        """SIGKILL to the daemon alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def cpu_s(self) -> float:
        """What the daemon has had of the processors: on a busy machine it tells more than the clock."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log(self) -> str:
        """What the daemon has written."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    # ---- use

    def docker(
        self, *arguments: str, check: bool = True, stdin: bytes | None = None, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> subprocess.CompletedProcess[bytes]:
        """The docker CLI. With `check` a status other than 0 fails the test with all that was said."""
        result = subprocess.run(
            ["docker", "-H", f"unix://{self.socket}", *arguments],
            capture_output=True,
            timeout=timeout_s,
            check=False,
            input=stdin or b"",
        )
        if check:
            said = (result.stdout + result.stderr).decode(errors="replace") + self.log()[-4000:]
            assert result.returncode == 0, f"docker {arguments}: {result.returncode}\n{said}"
        return result

    def out(self, *arguments: str, **keywords) -> str:
        """What the docker CLI prints, without the last line's end."""
        return self.docker(*arguments, **keywords).stdout.decode().rstrip("\n")

    def inspect(self, name: str) -> dict[str, Any]:
        """`docker inspect` of one object."""
        found: list[dict[str, Any]] = json.loads(self.out("inspect", name))
        return found[0]

    def popen(self, *arguments: str, **keywords) -> subprocess.Popen[bytes]:
        """The docker CLI, not waited for."""
        options: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | keywords
        return subprocess.Popen(["docker", "-H", f"unix://{self.socket}", *arguments], **options)

    def inside(self, *command: str, check: bool = True, timeout_s: float = 30.0) -> subprocess.CompletedProcess[bytes]:
        """A command in the engine's network namespace."""
        return subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.namespace}", *command],
            check=check,
            capture_output=True,
            timeout=timeout_s,
        )

    def load_busybox(self) -> None:
        """The image `busybox:latest` from the machine's own busybox."""
        self.docker("load", "-q", stdin=busybox_archive())

    # ---- end

    def leftovers(self) -> list[str]:
        """What of this engine stays on the host once its containers were removed, and what only they have.

        The kernel removes links some time after their namespace, and a killed process is still to be reaped.
        """
        deadline = time.monotonic() + LEFTOVERS_TIMEOUT_S
        while (left := self.present()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left

    def present(self) -> list[str]:
        """What of it is on the host now."""
        text = str(self.directory)
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if text in line]
        processes = [f"process {pid}: {arguments}" for pid, arguments in self._processes()]
        prefix = self.names.link_prefix if self.shares_namespace else ""
        listed = self.inside("ip", "-br", "link").stdout.decode().splitlines()
        links = [line for line in listed if "@" in line and line.startswith(prefix)]
        own = ("/netns", "/overlay2", "/fuse-overlayfs", "/d")  # made private once, where the host's mounts are shared
        left = [f"mount {mount}" for mount in mounts if not mount.endswith(own)] + processes + links
        return left + [str(path) for path in self._left_paths()]

    def _left_paths(self) -> Iterator[Path]:
        """What only containers have."""
        for pattern in ("c/*", "r/*/*", "netns/*"):
            yield from self.exec_root.glob(pattern)
        for pattern in ("containers/*", "*/container-*"):
            yield from self.data_root.glob(pattern)
        for root in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
            yield from (path for path in root.glob(f"{self.names.cgroup_parent.lstrip('/')}/*") if path.is_dir())

    def _processes(self, *, forwarders: bool = False) -> Iterator[tuple[int, str]]:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    arguments = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if str(self.directory) in arguments and (forwarders or "forwarder" not in arguments):
                        yield int(entry.name), arguments

    def close(self) -> None:
        """Remove everything, by force if need be."""
        with contextlib.suppress(Exception):
            if self.process is not None and self.process.poll() is None:
                ids = self.out("ps", "-aq").split()
                if ids:
                    self.docker("rm", "-f", "-v", *ids, check=False)
                self.stop()
        self._clear()

    def _clear(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for pid in self._owned():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        for mount in reversed([line.split()[4] for line in lines if str(self.directory) in line]):
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
        if not self.shares_namespace:
            subprocess.run(["ip", "netns", "delete", self.namespace], check=False, capture_output=True)
        remove_cgroups(self.names.cgroup_parent)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _owned(self) -> list[int]:
        """Everything in the engine's own namespace, and what names its directory."""
        if self.shares_namespace:
            return [pid for pid, _ in self._processes(forwarders=True)]
        listed = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, check=False).stdout
        return [int(pid) for pid in listed.split()] + [pid for pid, _ in self._processes()]


@contextlib.contextmanager
def engine_with_image(*options: str) -> Iterator[EngineUnderTest]:
    """A running engine with `busybox:latest`; whatever its tests do to it, nothing stays."""
    subject = EngineUnderTest(*options)
    try:
        subject.start()
        subject.load_busybox()
        yield subject
    finally:
        subject.close()


def remove_cgroups(parent: str) -> None:
    """Remove the empty control groups at and below a parent, in every hierarchy."""
    for root in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
        for place, _, _ in os.walk(root / parent.lstrip("/"), topdown=False):
            with contextlib.suppress(OSError):
                Path(place).rmdir()


def busybox_archive() -> bytes:
    """A docker-archive with one image, `busybox:latest`."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name in ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "var", "usr"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        busybox = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
        _add(tar, "bin/busybox", busybox, 0o755)
        for applet in APPLETS.split():
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home:/bin/sh\n", 0o644)
        _add(tar, "etc/group", b"root:x:0:\nweb:x:1000:\nextra:x:1001:web\n", 0o644)
    diff = layer.getvalue()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(diff).hexdigest()]},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "busybox"}],
        }
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": ["busybox:latest"], "Layers": ["layer.tar"]}]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        _add(tar, "config.json", config, 0o644)
        _add(tar, "layer.tar", diff, 0o644)
        _add(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)
    return archive.getvalue()


def _add(tar, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
