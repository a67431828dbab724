"""Keeps the three name files of every container; without them a container couldn't resolve a name, not even its own."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import anyio.to_thread

from events.errors import SystemFailure
from handlers.networks.names import HostNames, NameFileTexts
from handlers.networks.ports import NameFilePaths

Result = TypeVar("Result")

_HOSTS = Path("/etc/hosts")
_RESOLV_CONF = Path("/etc/resolv.conf")
_SYSTEMD_RESOLV_CONF = Path("/run/systemd/resolve/resolv.conf")
_HOSTS_CHARACTERS = 1024 * 1024  # a container may make its own as long as it likes
_NAMES = ("hostname", "hosts", "resolv.conf")


class HostNameFiles:
    """`NameFiles` of handlers/networks/ports.py: `<data-root>/containers/<id>/{hostname,hosts,resolv.conf}`."""

    def __init__(self, data_root: Path) -> None:
        self._directory = data_root / "containers"

    def paths(self, container_id: str) -> NameFilePaths:
        """Where a container's files are, whether they are there or not."""
        hostname, hosts, resolv_conf = (str(self._directory / container_id / name) for name in _NAMES)
        return NameFilePaths(hostname=hostname, hosts=hosts, resolv_conf=resolv_conf)

    async def host(self) -> HostNames:
        """What the host itself uses; a file that isn't there reads empty."""
        return await self._in_thread(_host_names)

    async def write(self, container_id: str, texts: NameFileTexts) -> None:
        """Make or replace them, each at once."""
        await self._in_thread(lambda: self._write(container_id, texts))

    async def change_hosts(self, container_id: str, change: Callable[[str], str]) -> None:
        """Rewrite the hosts file in place: it is mounted in the container, which may have written to it."""
        await self._in_thread(lambda: _change(self._directory / container_id / "hosts", change))

    async def remove(self, container_id: str) -> None:
        """Remove them, and their directory if nothing else is in it; absent is fine."""
        await self._in_thread(lambda: self._remove(container_id))

    async def _in_thread(self, action: Callable[[], Result]) -> Result:
        try:
            return await anyio.to_thread.run_sync(action)
        except OSError as error:
            raise SystemFailure(f"name files: {error}") from error

    def _write(self, container_id: str, texts: NameFileTexts) -> None:
        directory = self._directory / container_id
        directory.mkdir(mode=0o710, parents=True, exist_ok=True)
        for name, text in zip(_NAMES, (texts.hostname, texts.hosts, texts.resolv_conf), strict=True):
            _replace(directory / name, text)

    def _remove(self, container_id: str) -> None:
        directory = self._directory / container_id
        for name in _NAMES:
            (directory / name).unlink(missing_ok=True)
            _temporary(directory / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others keep files there too
            directory.rmdir()


def _replace(path: Path, text: str) -> None:
    temporary = _temporary(path)
    temporary.write_text(text)
    temporary.chmod(0o644)
    os.replace(temporary, path)  # noqa: PTH105  # says what it does


def _change(path: Path, change: Callable[[str], str]) -> None:
    with path.open("r+", errors="surrogateescape", newline="") as file:
        before = file.read(_HOSTS_CHARACTERS + 1)
        after = change(before)
        if len(before) <= _HOSTS_CHARACTERS and after != before:
            file.seek(0)
            file.write(after)
            file.truncate()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _host_names() -> HostNames:
    return HostNames(
        hosts=_read(_HOSTS), resolv_conf=_read(_RESOLV_CONF), systemd_resolv_conf=_read(_SYSTEMD_RESOLV_CONF)
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
