"""What the daemon is told of registries."""

from pathlib import Path

import msgspec


class Proxies(msgspec.Struct, frozen=True, kw_only=True):
    """HTTP proxies by the scheme of the target; `exceptions` as in NO_PROXY."""

    http: str = ""
    https: str = ""
    exceptions: str = ""


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How registries are reached, and how much at once."""

    insecure: tuple[str, ...] = ()  # HOST[:PORT] or a CIDR range, besides loopback
    mirrors: tuple[str, ...] = ()  # of docker.io, as URLs
    certificates: tuple[Path, ...] = ()  # directories with a directory per HOST[:PORT]
    proxies: Proxies = Proxies()
    trust_policy: Path | None = None  # None: everything is let in
    downloads: int = 3
    uploads: int = 5
    attempts: int = 5  # of a download that makes no progress
