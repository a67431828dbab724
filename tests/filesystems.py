"""File systems of the tests' own, made in files: what graph drivers stand on that the host's disk isn't."""

import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from handlers.kernel.programs import ProgramFailed, run_program
from handlers.layers.drivers.thin_pool import DeviceMapperUnusable, check_host

ZFS_SWITCH = "SHIPLOG_TEST_ZFS_FUSE"
_SIZE_BYTES = 1024**3  # sparse
_ZFS_LIMIT_S = 600.0
_ZFS_LOCK = Path("/run/lock/shiplog-tests-zfs")
_ZFS_SOCKET = Path("/var/run/zfs/zfs_socket")


def run(*command: str | Path) -> str:
    """What a program prints; it must succeed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


class Grounds:
    """Directories that drivers can be put on; each file system is made when it is first asked for."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._stack, self._directory = stack, directory
        self._made: dict[str, Path] = {}

    def root(self, driver: str, otherwise: Path) -> Path:
        """An empty directory for a driver; `otherwise` where any file system will do."""
        if driver == "devicemapper":
            need_device_mapper()
        elif driver == "fuse-overlayfs":
            need_fuse_overlayfs()
        make = _MAKERS.get(driver)
        if make is None:
            return otherwise
        if driver not in self._made:
            self._made[driver] = self._stack.enter_context(make(self._directory))
        return Path(tempfile.mkdtemp(dir=self._made[driver]))


def need_fuse_overlayfs() -> None:
    """Skip where the host lacks it."""
    if not shutil.which("fuse-overlayfs") or not Path("/dev/fuse").exists():
        pytest.skip("fuse-overlayfs or /dev/fuse is missing")


def need_device_mapper() -> None:
    """Skip where the host lacks it."""
    try:
        check_host()
    except DeviceMapperUnusable as error:
        pytest.skip(str(error))


@contextmanager
def mounted(
    kind: str, directory: Path, *, making: Sequence[str] = (), mounting: str = "loop", size_bytes: int = _SIZE_BYTES
) -> Iterator[Path]:
    """A file system in a file, made and mounted with these options; skips where the host has none of its kind."""
    if not shutil.which(f"mkfs.{kind}"):
        pytest.skip(f"mkfs.{kind} is missing")
    image, place = directory / f"{kind}.img", directory / kind
    with image.open("wb") as file:
        file.truncate(size_bytes)
    run(f"mkfs.{kind}", "-q", *making, image)
    place.mkdir()
    try:
        run("mount", "-t", kind, "-o", mounting, image, place)
    except AssertionError as error:
        pytest.skip(f"no {kind} can be mounted here ({mounting}): {error}")
    try:
        yield place
    finally:
        run("umount", place)
        image.unlink()


def btrfs(directory: Path) -> AbstractContextManager[Path]:
    """A btrfs in a file, mounted."""
    return mounted("btrfs", directory)


@contextmanager
def zfs(directory: Path) -> Iterator[Path]:
    """A pool in a file, served by zfs-fuse, mounted. There can be one zfs-fuse on a host: others wait."""
    if not os.environ.get(ZFS_SWITCH) or not shutil.which("zfs-fuse"):
        pytest.skip(f"zfs-fuse sometimes hangs: say {ZFS_SWITCH}=1 to test with it")
    with ExitStack() as stack:
        lock = stack.enter_context(_ZFS_LOCK.open("w"))
        until(lambda: _is_locked(lock), "no other zfs-fuse serves", _ZFS_LIMIT_S)
        server = stack.enter_context(_zfs_fuse(directory))
        pool, place = f"shiplog-{server.pid}", directory / "zfs"
        image = directory / "zfs.img"
        with image.open("wb") as file:
            file.truncate(_SIZE_BYTES)
        run("zpool", "create", "-f", "-m", place, "-o", "cachefile=none", pool, image)
        stack.callback(_destroy_pool, pool)
        yield place


def _is_locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _destroy_pool(pool: str) -> None:
    """It may be busy for a while; without its server it is only a file."""
    for _ in range(100):
        with suppress(ProgramFailed):
            run_program(("zpool", "destroy", "-f", pool), timeout_s=10)
            return
        time.sleep(0.1)


@contextmanager
def _zfs_fuse(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    before = _ZFS_SOCKET.stat().st_ino if _ZFS_SOCKET.exists() else 0
    command = ["zfs-fuse", "--no-daemon", "--no-kstat-mount", "--enable-xattr", "-p", str(directory / "zfs.pid")]
    with (directory / "zfs.log").open("wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = threading.Timer(_ZFS_LIMIT_S, server.kill)  # who waits for a file system that hangs can only be freed so
    end.start()
    try:
        until(lambda: _ZFS_SOCKET.exists() and _ZFS_SOCKET.stat().st_ino != before, "zfs-fuse serves")
        yield server
    finally:
        end.cancel()
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(30)
        server.kill()
        with suppress(subprocess.TimeoutExpired):
            server.wait(30)


def until(holds: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Wait for a condition of the host."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.02)


_MAKERS: dict[str, Callable[[Path], AbstractContextManager[Path]]] = {"btrfs": btrfs, "zfs": zfs}
