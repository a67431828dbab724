"""A device-mapper thin pool: block devices that share blocks until they change.

Kernel: Documentation/admin-guide/device-mapper/thin-provisioning.rst. Works by the command dmsetup(8). Blocking.
"""

import hashlib
import time
from pathlib import Path

from events.errors import SystemFailure
from handlers.kernel.calls import attempt
from handlers.kernel.programs import ProgramFailed, find_program, run_program

SECTOR_BYTES = 512
_BLOCK_SECTORS = 128  # 64 KiB, dockerd's dm.blocksize
_LOW_WATER_BLOCKS = 32768
_ATTEMPTS, _PAUSE_S = 100, 0.1
_DEVICES = Path("/dev/mapper")
_ABSENT = ("No such device", "No data available")
_PROGRAMS = {"dmsetup": "dmsetup", "losetup": "mount", "mkfs.ext4": "e2fsprogs", "resize2fs": "e2fsprogs"}


class DeviceMapperUnusable(SystemFailure):
    """The host lacks what the driver needs."""

    def __init__(self, why: str) -> None:
        super().__init__(f"devicemapper can't be used: {why}")


class ThinPool:
    """The pool of one engine; `mark` is derived from its root and begins the name of every device."""

    def __init__(self, root: Path, pool: str) -> None:
        self.mark = f"shiplog-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}"
        self.device = pool or str(_DEVICES / f"{self.mark}-pool")
        self._root, self._is_given = root, bool(pool)

    def open(self, data_bytes: int, metadata_bytes: int) -> None:
        """Make the pool, of two sparse files below the root, unless it was given or is there.

        Raises DeviceMapperUnusable that names what is missing.
        """
        check_host()
        if self._is_given:
            if not Path(self.device).exists():
                raise DeviceMapperUnusable(f"there is no thin pool {self.device} (dm.thinpooldev)")
        elif not self._is_active(f"{self.mark}-pool"):
            metadata, data = self._loop("metadata", metadata_bytes), self._loop("data", data_bytes)
            sectors = (self._root / "data").stat().st_size // SECTOR_BYTES
            table = f"0 {sectors} thin-pool {metadata} {data} {_BLOCK_SECTORS} {_LOW_WATER_BLOCKS} 1 skip_block_zeroing"
            _dmsetup("create", f"{self.mark}-pool", "--table", table)

    def create(self, number: int) -> None:
        """A new, empty device."""
        self._tell(f"create_thin {number}")

    def snapshot(self, number: int, origin: int) -> None:
        """A new device with what another one holds, which must not be active."""
        self._tell(f"create_snap {number} {origin}")

    def delete(self, number: int) -> None:
        """Absent is fine; one that is still in use for a moment is waited for."""
        for left in reversed(range(_ATTEMPTS)):
            try:
                self._tell(f"delete {number}")
            except ProgramFailed as error:
                if any(word in error.why for word in _ABSENT):
                    return
                if "busy" not in error.why.lower() or not left:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return

    def activate(self, name: str, number: int, size_bytes: int) -> Path:
        """Make a device's node; active already is fine."""
        full = f"{self.mark}-{name}"
        if self._is_active(full):
            self._keep(full)
        else:
            _dmsetup("create", full, "--table", f"0 {size_bytes // SECTOR_BYTES} thin {self.device} {number}")
        return _DEVICES / full

    def deactivate(self, name: str) -> None:
        """Take the node away, or have the kernel do it once nobody uses it; absent is fine."""
        full = f"{self.mark}-{name}"
        if self._is_active(full):
            _dmsetup("remove", "--deferred", full)

    def usage(self) -> tuple[tuple[str, str], ...]:
        """Rows for `docker info`."""
        rows = [("Pool Name", Path(self.device).name), ("Pool Blocksize", f"{_BLOCK_SECTORS * SECTOR_BYTES}")]
        if not self._is_given:
            rows += [("Data loop file", f"{self._root}/data"), ("Metadata loop file", f"{self._root}/metadata")]
        return tuple(rows)

    def _keep(self, full: str) -> None:
        """Somebody may have asked for its removal once it is free."""
        try:
            _dmsetup("message", full, "0", "@cancel_deferred_remove")
        except ProgramFailed as error:
            if "Invalid argument" not in error.why:  # nobody had
                raise

    def _tell(self, message: str) -> None:
        _dmsetup("message", self.device, "0", message)

    def _is_active(self, full: str) -> bool:
        try:
            _dmsetup("info", "--columns", "--noheadings", "-o", "name", full)
        except ProgramFailed as error:
            if "does not exist" in error.why or "not found" in error.why:
                return False
            raise
        return True

    def _loop(self, name: str, size_bytes: int) -> str:
        """A loop device for a sparse file, the one that there is or a new one."""
        path = self._root / name
        with attempt(f"make {path}"):
            if not path.exists():
                with path.open("xb") as file:
                    file.truncate(size_bytes)
        found = run_program(("losetup", "--noheadings", "--output", "NAME", "--associated", str(path))).split()
        return found[0] if found else run_program(("losetup", "--find", "--show", str(path))).strip()


def check_host() -> None:
    """Raises DeviceMapperUnusable that names what is missing."""
    for program, package in _PROGRAMS.items():
        if not find_program(program):
            raise DeviceMapperUnusable(f"the program {program} is missing (Debian package {package})")
    try:
        targets = _dmsetup("targets")
    except ProgramFailed as error:
        raise DeviceMapperUnusable(f"the kernel has no device mapper (module dm_mod): {error.why}") from error
    if "thin-pool" not in targets:
        try:
            run_program(("modprobe", "dm_thin_pool"))
        except ProgramFailed as error:
            raise DeviceMapperUnusable(f"the kernel has no thin pools (module dm_thin_pool): {error.why}") from error


def _dmsetup(*arguments: str) -> str:
    # without udev's help: its rules may be absent, and dmsetup would wait for them
    return run_program(("dmsetup", *arguments), environment={"DM_DISABLE_UDEV": "1"})
