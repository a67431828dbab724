"""Network namespaces: made, pinned to a path, entered; without a pin one would vanish with its last process.

A namespace belongs to a thread, not to a process, so whoever makes or enters one does it in a thread of its own that
ends afterwards: a pooled thread left in the wrong namespace would configure the wrong machine.

Sources: man 7 network_namespaces, man 2 unshare, man 2 setns, man 8 ip-netns (the mount point's propagation).
"""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import anyio.to_thread

from handlers.kernel.calls import KernelRefused, attempt, call
from handlers.kernel.messages import IFF_UP, RTM_NEWLINK, ifinfmsg
from handlers.kernel.mounts import MountFlag, mount, unmount
from handlers.kernel.netlink import Netlink, message

Result = TypeVar("Result")

_CLONE_NEWNET = 0x40000000
_LOOPBACK_INDEX = 1
_STACKED_MOUNTS = 8
_DEFAULTS = {
    # Nobody gives these containers IPv6 addresses; without this each interface would make itself a link-local one.
    "net/ipv6/conf/default/disable_ipv6": "1",
    # Neighbours are told when an interface comes up or gets a hardware address.
    "net/ipv4/conf/default/arp_notify": "1",
}


def in_new_thread(function: Callable[[], Result]) -> Result:
    """Run `function` in a thread that ends with it, and hand on its result or exception."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def inside(path: str, function: Callable[[], Result]) -> Result:
    """Run `function` in the network namespace at `path`; what it opens stays there. Blocking. Raises KernelRefused."""

    def run() -> Result:
        with attempt(f"network namespace {path}"):
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(handle)
        finally:
            os.close(handle)
        return function()

    return in_new_thread(run)


def leave_host() -> None:
    """Give the calling thread a new, empty network namespace."""
    call("unshare", _CLONE_NEWNET, what="new network namespace")


def enter(handle: int) -> None:
    """Move the calling thread to the network namespace of an open file descriptor."""
    call("setns", handle, _CLONE_NEWNET, what="network namespace")


def pin_new(path: Path) -> None:
    """Make a namespace with its loopback up and pin it to the file `path`. Blocking. Raises KernelRefused."""

    def make() -> None:
        leave_host()
        for name, value in _DEFAULTS.items():
            _set_if_there(Path("/proc/sys", name), value)
        raise_loopback()
        own = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        mount(own, str(path), flags=MountFlag.BIND)

    with attempt(f"pin network namespace {path}"):
        path.touch(mode=0o444)
        in_new_thread(make)


def raise_loopback() -> None:
    """Bring up the loopback of the calling thread's namespace."""
    with Netlink() as netlink:
        netlink.request(message(ifinfmsg, RTM_NEWLINK, index=_LOOPBACK_INDEX, flags=IFF_UP, change=IFF_UP))


def _set_if_there(path: Path, value: str) -> None:
    try:
        path.write_text(value)
    except FileNotFoundError:  # a kernel without IPv6
        return


def unpin(path: Path) -> None:
    """Take the pin away; the namespace goes when nobody uses it any more. Absent is fine. Raises KernelRefused."""
    for _ in range(_STACKED_MOUNTS):
        if not unmount(str(path)):
            break
    with attempt(f"unpin network namespace {path}"):
        path.unlink(missing_ok=True)


def is_pinned(path: Path) -> bool:
    """Whether a namespace is mounted on the file."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except FileNotFoundError:
        return False


def share(directory: Path) -> None:
    """Make a directory a shared mount point of its own: unpinning then also reaches other mount namespaces."""
    with attempt(f"directory {directory}"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    shared = MountFlag.SHARED | MountFlag.RECURSIVE
    try:
        mount("", str(directory), flags=shared)
    except KernelRefused as error:
        if error.errno != errno.EINVAL:  # EINVAL: no mount point yet
            raise
        mount(str(directory), str(directory), flags=MountFlag.BIND | MountFlag.RECURSIVE)
        mount("", str(directory), flags=shared)


class PinnedNamespaces:
    """`Namespaces` of handlers/networks/ports.py: one file for each container in `directory` (below exec-root)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sharing = threading.Lock()
        self._shared = False

    def path(self, container_id: str) -> str:
        """Where a container's namespace is pinned, whether it is there or not."""
        return str(self._directory / container_id)

    async def create(self, container_id: str) -> str:
        """Make one with its loopback up, return its path; there already is fine."""
        await anyio.to_thread.run_sync(self._create, container_id)
        return self.path(container_id)

    async def remove(self, container_id: str) -> None:
        """Unpin it; absent is fine."""
        await anyio.to_thread.run_sync(unpin, self._directory / container_id)

    async def list(self) -> frozenset[str]:
        """Container ids that have one, or the file of one that a reboot took."""
        return await anyio.to_thread.run_sync(self._list)

    async def exists(self, container_id: str) -> bool:
        """Whether the namespace is there, not only its file."""
        return await anyio.to_thread.run_sync(is_pinned, self._directory / container_id)

    def _create(self, container_id: str) -> None:
        with self._sharing:  # twice at once would mount twice
            if not self._shared:
                share(self._directory)
                self._shared = True
        path = self._directory / container_id
        if not is_pinned(path):
            pin_new(path)

    def _list(self) -> frozenset[str]:
        if not self._directory.is_dir():
            return frozenset()
        return frozenset(entry.name for entry in self._directory.iterdir())
