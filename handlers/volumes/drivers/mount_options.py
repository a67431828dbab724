"""The local driver's options: what is allowed, and how the text of `o` becomes flags and data for mount(2)."""

from collections.abc import Mapping

import msgspec

from events.errors import InvalidParameter
from handlers.volumes.errors import BadOption, MissingOption

OPTIONS = ("type", "o", "device", "size")
NEEDS: dict[str, tuple[str, ...]] = {"device": ("type",), "type": ("device",), "o": ("device", "type")}

# linux/mount.h; a word maps to (flag, whether it is set or cleared)
READ_ONLY, NO_SUID, NO_DEV, NO_EXEC = 1, 2, 4, 8
REMOUNT, BIND, RECURSIVE = 32, 4096, 16384
WORDS: dict[str, tuple[int, bool]] = {
    "defaults": (0, True),
    "ro": (READ_ONLY, True),
    "rw": (READ_ONLY, False),
    "nosuid": (NO_SUID, True),
    "suid": (NO_SUID, False),
    "nodev": (NO_DEV, True),
    "dev": (NO_DEV, False),
    "noexec": (NO_EXEC, True),
    "exec": (NO_EXEC, False),
    "sync": (16, True),
    "async": (16, False),
    "dirsync": (128, True),
    "noatime": (1024, True),
    "atime": (1024, False),
    "nodiratime": (2048, True),
    "diratime": (2048, False),
    "bind": (BIND, True),
    "rbind": (BIND | RECURSIVE, True),
    "relatime": (1 << 21, True),
    "norelatime": (1 << 21, False),
    "strictatime": (1 << 24, True),
    "nostrictatime": (1 << 24, False),
}
# A second mount(2) sets the propagation: the kernel takes it with no other flag.
PROPAGATIONS: dict[str, int] = {
    "private": 1 << 18,
    "rprivate": 1 << 18 | RECURSIVE,
    "slave": 1 << 19,
    "rslave": 1 << 19 | RECURSIVE,
    "shared": 1 << 20,
    "rshared": 1 << 20 | RECURSIVE,
    "unbindable": 1 << 17,
    "runbindable": 1 << 17 | RECURSIVE,
}
_SIZE_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


class MountPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A mount that a volume wants; `address` is a host name that the kernel can't look up itself."""

    device: str
    kind: str  # file system type
    flags: int = 0
    data: str = ""
    propagation: int = 0
    address: str = ""

    @property
    def remount_flags(self) -> int:
        """Flags that a bind mount only takes in a second call; 0 when there are none."""
        extra = self.flags & (READ_ONLY | NO_SUID | NO_DEV | NO_EXEC)
        return REMOUNT | self.flags if self.flags & BIND and extra else 0


def check(options: Mapping[str, str]) -> None:
    """Raise BadOption, MissingOption or InvalidParameter for options that can't be."""
    for option in options:
        if option not in OPTIONS:
            raise BadOption(option)
    for option, needed in NEEDS.items():
        missing = [name for name in needed if option in options and name not in options]
        if missing:
            raise MissingOption(missing[0])
    if size_bytes(options.get("size", "0")) > 0:
        raise InvalidParameter("quota size requested but no quota support")


def plan(options: Mapping[str, str]) -> MountPlan | None:
    """What to mount; None for a plain directory. Unknown words of `o` are the file system's own (`data`)."""
    if not options.get("device"):
        return None
    flags, propagation, address = 0, 0, ""
    data: list[str] = []
    for word in filter(None, options.get("o", "").split(",")):
        if word in WORDS:
            flag, is_set = WORDS[word]
            flags = flags | flag if is_set else flags & ~flag
        elif word in PROPAGATIONS:
            propagation = PROPAGATIONS[word]
        elif word.startswith("addr=") and _is_remote(options["type"]):
            address = word.removeprefix("addr=")
        else:
            data.append(word)
    return MountPlan(
        device=options["device"],
        kind=options["type"],
        flags=flags,
        data=",".join(data),
        propagation=propagation,
        address=address,
    )


def size_bytes(text: str) -> int:
    """A size as Docker writes it (`10`, `10b`, `1.5k`, `2GiB`). Raises InvalidParameter."""
    lower = text.strip().lower().removesuffix("ib").removesuffix("b")
    number = lower.rstrip("kmgtp")
    try:
        return int(float(number) * _SIZE_UNITS[lower[len(number) :]])
    except (ValueError, KeyError, OverflowError) as error:
        raise InvalidParameter(f"invalid size: '{text}'") from error


def _is_remote(kind: str) -> bool:
    return kind in ("nfs", "nfs4", "cifs", "smb3")
