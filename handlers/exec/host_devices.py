"""Looks up devices of the host for `--device`, `--privileged` and block I/O limits. Blocking."""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from events.errors import InvalidParameter, SystemFailure
from events.messages.container import Device, HostConfig, ThrottleDevice, WeightDevice
from handlers.exec.devices import HostDevice
from handlers.kernel.calls import reason

_ACCESS = re.compile(r"[rwm]{1,3}")
_DEVICES = Path("/dev")
# what a container has of its own, or what belongs to the host's terminals alone
_NOT_SHOWN = frozenset({"console", "fd", "mqueue", "pts", "shm", "ptmx"})


def of_container(host: HostConfig) -> tuple[HostDevice, ...]:
    """What a container asks for; with --privileged all the host has as well. Raises SystemFailure."""
    every = tuple(_below(_DEVICES, str(_DEVICES), "rwm", _NOT_SHOWN)) if host.privileged else ()
    return (*every, *(found for device in host.devices for found in _asked(device)))


def block_numbers(host: HostConfig) -> dict[str, tuple[int, int]]:
    """Major and minor of the devices that limits name. Raises SystemFailure."""
    limited: tuple[ThrottleDevice | WeightDevice, ...] = (
        *host.blkio_device_read_bps,
        *host.blkio_device_write_bps,
        *host.blkio_device_read_iops,
        *host.blkio_device_write_iops,
        *host.blkio_weight_device,
    )
    return {device.path: _numbers(device.path) for device in limited}


def _numbers(path: str) -> tuple[int, int]:
    try:
        status = Path(path).stat()
    except OSError as error:
        raise SystemFailure(f"stat {path}: {reason(error.errno or 0)}") from error
    return os.major(status.st_rdev), os.minor(status.st_rdev)


def _asked(device: Device) -> Iterable[HostDevice]:
    """A device, or all devices in a directory."""
    inside, access = device.path_in_container or device.path_on_host, device.cgroup_permissions or "rwm"
    if not _ACCESS.fullmatch(access):
        raise InvalidParameter(f"invalid device mode: {access}")
    path = Path(device.path_on_host)
    try:
        status = path.stat()
    except OSError as error:
        raise _unusable(device.path_on_host, reason(error.errno or 0)) from error
    if stat.S_ISDIR(status.st_mode):
        return tuple(_below(path, inside, access, frozenset()))
    found = _device(status, inside, access)
    if found is None:
        raise _unusable(device.path_on_host, "not a device node")
    return (found,)


def _unusable(path: str, why: str) -> SystemFailure:
    return SystemFailure(f'error gathering device information while adding custom device "{path}": {why}')


def _below(directory: Path, inside: str, access: str, skipped: frozenset[str]) -> Iterator[HostDevice]:
    for entry in sorted(directory.iterdir()):
        if entry.name in skipped or entry.is_symlink():
            continue
        place = f"{inside}/{entry.name}"
        if entry.is_dir():
            yield from _below(entry, place, access, frozenset())
            continue
        try:
            found = _device(entry.stat(), place, access)
        except FileNotFoundError:  # devices come and go
            continue
        if found is not None:
            yield found


def _device(status: os.stat_result, path: str, access: str) -> HostDevice | None:
    kind = "b" if stat.S_ISBLK(status.st_mode) else "c" if stat.S_ISCHR(status.st_mode) else ""
    if not kind:
        return None
    return HostDevice(
        path=path,
        type=kind,
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        access=access,
    )
