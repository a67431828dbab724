"""Device nodes and the rules of the device cgroup. Pure: what is on the host comes in as `HostDevice`."""

import re

import msgspec

from events.errors import InvalidParameter
from handlers.exec.oci import Device, DeviceRule

_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})")
# mem(4), random(4), tty(4): null, zero, full, random, urandom, tty, console, ptmx, and the pseudo-terminals
_DEFAULT_NUMBERS = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None))


class HostDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device node as found on the host; `path` is where it goes inside."""

    path: str
    type: str  # "c" or "b"
    major: int
    minor: int
    mode: int  # permission bits
    uid: int = 0
    gid: int = 0
    access: str = "rwm"  # for the cgroup rule


def nodes(found: tuple[HostDevice, ...]) -> tuple[Device, ...]:
    """Nodes to make; of several for one place the last counts."""
    unique = {device.path: device for device in found}
    return tuple(
        Device(
            path=device.path,
            type=device.type,
            major=device.major,
            minor=device.minor,
            file_mode=device.mode,
            uid=device.uid,
            gid=device.gid,
        )
        for device in unique.values()
    )


def rules(found: tuple[HostDevice, ...], extra: tuple[str, ...], *, privileged: bool) -> tuple[DeviceRule, ...]:
    """Deny all, then what every container may use, then what was asked for (`--device`, `--device-cgroup-rule`)."""
    if privileged:
        return (DeviceRule(allow=True, access="rwm"),)
    return (
        DeviceRule(allow=False, access="rwm"),
        DeviceRule(allow=True, type="c", access="m"),  # making any node is harmless while using it is denied
        DeviceRule(allow=True, type="b", access="m"),
        *(DeviceRule(allow=True, type="c", major=a, minor=b, access="rwm") for a, b in _DEFAULT_NUMBERS),
        *(DeviceRule(allow=True, type=d.type, major=d.major, minor=d.minor, access=d.access) for d in found),
        *map(parse_rule, extra),
    )


def parse_rule(text: str) -> DeviceRule:
    """`c 1:3 rwm`, as the kernel's cgroup-v1/devices.rst has it. Raises InvalidParameter."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise InvalidParameter(f'invalid device cgroup rule format: "{text}"')
    kind, major, minor, access = match.groups()
    return DeviceRule(allow=True, type=kind, major=_wild(major), minor=_wild(minor), access=access)


def _wild(text: str) -> int | None:
    return None if text == "*" else int(text)
