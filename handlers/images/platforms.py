"""Platforms as images name them (`linux/arm64/v8`) and the one that this host is."""

import os

import msgspec

from events.errors import InvalidParameter

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
}


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """OCI image specification, image-index.md, `platform`."""

    os: str = "linux"
    architecture: str = ""
    variant: str = ""

    @property
    def text(self) -> str:
        """As a client writes it."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def fits(self, wanted: "Platform") -> bool:
        """Whether an image for this platform is one for the wanted; a variant that isn't told fits any."""
        same = (self.os, self.architecture) == (wanted.os, wanted.architecture)
        return same and (not self.variant or not wanted.variant or self.variant == wanted.variant)


def host_platform() -> Platform:
    """What this machine runs."""
    machine = os.uname().machine
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    return Platform(os="linux", architecture=architecture, variant=variant)


def parse_platform(text: str) -> Platform:
    """Read `os[/architecture[/variant]]`; "" is the host's. Raises InvalidParameter."""
    if not text:
        host = host_platform()
        return msgspec.structs.replace(host, variant="") if host.architecture == "arm64" else host
    parts = text.lower().split("/")
    if len(parts) > 3 or not all(parts):
        raise InvalidParameter(f'"{text}" is an invalid OS or architecture component of a platform')
    if parts[0] != "linux":
        raise InvalidParameter(f"operating system is not supported: {parts[0]}")
    architecture = parts[1] if len(parts) > 1 else host_platform().architecture
    return Platform(os="linux", architecture=architecture, variant=parts[2] if len(parts) > 2 else "")
