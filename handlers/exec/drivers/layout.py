"""Where everything of a process lies on disk; without it two modules would soon disagree about a path.

    <exec-root>/c/<24 digits>/             a run: bundle, conmon's sockets and files; gone after a reboot
        record.json config.json attach ctl winsz pidfile conmon.pid runtime.log persist/ oom
        shm/                               a /dev/shm that other containers may join
        e/<16 digits>/                     an exec in it, the same files
    <exec-root>/r/<runtime>-<digits>/      state of an OCI runtime
    <data-root>/containers/<id>/           what outlives a reboot
        output.log exits/<run>/<id>

Names in exec-root are short because a socket's path has a limit of 107 bytes (unix(7)).
"""

import hashlib
import os
import shutil
from pathlib import Path

from events.errors import SystemFailure
from handlers.instance import Instance

SOCKET_PATH_BYTES = 107
_CONTAINER_DIGITS, _EXEC_DIGITS = 24, 16


class SocketPathTooLong(SystemFailure):
    """The exec-root leaves no room for the sockets of processes."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"exec-root is too long: {path} has {len(os.fsencode(path))} bytes, a socket's path may have "
            f"{SOCKET_PATH_BYTES}; choose a shorter --exec-root"
        )


class Layout:
    """Paths of one instance. Raises SocketPathTooLong at once, not at the first container."""

    def __init__(self, instance: Instance) -> None:
        self._runs = instance.exec_root / "c"
        self._runtimes = instance.exec_root / "r"
        self._containers = instance.data_root / "containers"
        longest = self.exec("0" * 64, "0" * 64) / "attach"
        if len(os.fsencode(longest)) > SOCKET_PATH_BYTES:
            raise SocketPathTooLong(longest)

    def run(self, container_id: str) -> Path:
        """Bundle of a container's present run."""
        return self._runs / container_id[:_CONTAINER_DIGITS]

    def shared_memory(self, container_id: str) -> Path:
        """A tmpfs that containers share as their /dev/shm: one in a container's own mount namespace can't be bound."""
        return self.run(container_id) / "shm"

    def staging(self, container_id: str) -> Path:
        """Where a bundle is begun: it counts only once its record is in it."""
        return self._runs / f".{container_id[:_CONTAINER_DIGITS]}"

    def exec(self, container_id: str, exec_id: str) -> Path:
        """Directory of an exec."""
        return self.run(container_id) / "e" / exec_id[:_EXEC_DIGITS]

    def execs(self, container_id: str) -> tuple[Path, ...]:
        """Directories of all execs of a run."""
        return _entries(self.run(container_id) / "e")

    def runs(self) -> tuple[Path, ...]:
        """Bundles that exist, whatever their state, half-begun ones included."""
        return _entries(self._runs)

    def runtime_root(self, runtime: str) -> Path:
        """State directory of a runtime; each program has its own, for their formats differ."""
        digits = hashlib.sha256(runtime.encode()).hexdigest()[:6]
        return self._runtimes / f"{Path(runtime).name}-{digits}"

    def runtime_roots(self) -> tuple[Path, ...]:
        """State directories of all runtimes that were ever used."""
        return _entries(self._runtimes)

    def output(self, container_id: str) -> Path:
        """The durable output of all runs."""
        return self._containers / container_id / "output.log"

    def exits(self, container_id: str) -> Path:
        """Directory with a directory for the last run's exit status."""
        return self._containers / container_id / "exits"


def _entries(directory: Path) -> tuple[Path, ...]:
    """What is in a directory; absent, or deleted by somebody else meanwhile, is empty."""
    try:
        return tuple(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return ()


def remove_tree(path: Path) -> None:
    """Delete a directory; absent, or deleted by somebody else meanwhile, is fine."""
    shutil.rmtree(path, ignore_errors=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
