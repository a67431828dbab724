"""Control groups of both versions: who is in one, freezing, killing, counting OOM kills, removing.

Without it every pause and every removal would cost a run of the OCI runtime.
Sources: the kernel's admin-guide/cgroup-v1 (freezer-subsystem, memory) and admin-guide/cgroup-v2; cgroups(7).
"""

import functools
import itertools
import os
import re
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from events.errors import SystemFailure
from handlers.kernel.calls import attempt
from handlers.kernel.pidfd import ProcessHandle

_MOUNT_POINT = "/sys/fs/cgroup"
_POLL_S = 0.002
_FREEZES_PER_THAW = 5
_FREEZE_TIMEOUT_S = 10.0
_REMOVE_TIMEOUT_S = 10.0
_FULL_CONTROLLERS = ("pids", "freezer", "memory", "devices", "")  # any of them knows all processes
_OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


class Hierarchy(msgspec.Struct, frozen=True, kw_only=True):
    """A mounted hierarchy; `controllers` is empty for cgroup v2."""

    mount_point: str
    root: str  # the group that is mounted there
    controllers: frozenset[str]

    def place(self, path: str) -> str:
        """The directory of the group at a path."""
        below = path if self.root == "/" else f"/{os.path.relpath(path, self.root)}"
        return f"{self.mount_point}{below}"


def hierarchies() -> tuple[Hierarchy, ...]:
    """What is mounted, from proc_pid_mountinfo(5). Of several mounts of one the first counts: the system's own."""
    found: dict[frozenset[str], Hierarchy] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ")[:3]
        fields = left.split(" ")
        if kind == "cgroup":
            names = frozenset(options.split(",")) - {"rw", "ro", "xattr", "clone_children", "noprefix"}
        elif kind == "cgroup2":
            names = frozenset()
        else:
            continue
        found.setdefault(names, Hierarchy(mount_point=fields[4], root=fields[3], controllers=names))
    return tuple(found.values())


def known_hierarchies() -> tuple[Hierarchy, ...]:
    """The same, read anew only when the kernel has other hierarchies: it takes longer with every container's mounts."""
    return _hierarchies_of(frozenset(_memberships(os.getpid())))


@functools.lru_cache(maxsize=1)
def _hierarchies_of(_: frozenset[str]) -> tuple[Hierarchy, ...]:
    return hierarchies()


def version(found: Iterable[Hierarchy]) -> int:
    """As OCI runtimes tell: 2 where cgroup v2 is what /sys/fs/cgroup shows, else 1 (also for a hybrid).

    A single v1 hierarchy beside it, as some VPN services mount for net_cls, doesn't make it a hybrid.
    """
    return 2 if any(h.mount_point == _MOUNT_POINT and not h.controllers for h in found) else 1


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A container's group in every hierarchy: controller -> directory, "" for cgroup v2."""

    directories: dict[str, str]

    def processes(self) -> tuple[int, ...]:
        """Pids in the group and in groups that it has made below. Blocking."""
        place = self._place()
        return _pids_below(place) if place else ()

    def oom_kills(self) -> int:
        """How many processes of the group the kernel killed for want of memory."""
        text = _read(self._file("memory", "memory.events" if self.is_unified else "memory.oom_control"))
        match = _OOM_KILLS.search(text)
        return int(match[1]) if match else 0

    def is_frozen(self) -> bool:
        """Whether all its processes stand still."""
        if self.is_unified:
            return "frozen 1" in _read(self._file("", "cgroup.events"))
        return _read(self._file("freezer", "freezer.state")).strip() == "FROZEN"

    async def freeze(self, *, frozen: bool) -> None:
        """Freeze or thaw, and wait until it is so. Raises SystemFailure; a failed freeze is thawed again."""
        with anyio.move_on_after(_FREEZE_TIMEOUT_S):
            for attempt_number in itertools.count(1):
                self._set_freezer(frozen=frozen)
                if self.is_frozen() == frozen:
                    return
                await anyio.sleep(_POLL_S)
                if attempt_number % _FREEZES_PER_THAW == 0:
                    self._set_freezer(frozen=False)  # v1 can hang in FREEZING; a short thaw loosens it
                    await anyio.sleep(_POLL_S)
        if frozen:
            self._set_freezer(frozen=False)
        word = "freeze" if frozen else "thaw"
        raise SystemFailure(f"the kernel did not {word} all processes of the container in {_FREEZE_TIMEOUT_S:g} s")

    async def kill(self) -> None:
        """Kill everything in the group, frozen or not, and wait until it is empty. Raises SystemFailure."""
        left: tuple[int, ...] = ()
        with anyio.move_on_after(_REMOVE_TIMEOUT_S):
            while left := await anyio.to_thread.run_sync(self._kill_all):  # noqa: ASYNC110  # no event
                await anyio.sleep(_POLL_S)
            return
        raise SystemFailure(f"processes {', '.join(map(str, left))} could not be killed")

    async def remove(self) -> None:
        """Remove the group and those below it; absent is fine. Raises SystemFailure while processes are in it."""
        left = tuple(sorted(set(self.directories.values())))
        with anyio.move_on_after(_REMOVE_TIMEOUT_S):
            while left := await anyio.to_thread.run_sync(_remove_trees, left):  # noqa: ASYNC110  # no event
                await anyio.sleep(_POLL_S)
            return
        raise SystemFailure(f"control groups could not be removed: {', '.join(left)}")

    def read(self, controller: str, name: str) -> str:
        """The text of one of its files; "" where there is none. Blocking."""
        return _read(self._file(controller, name))

    @property
    def is_unified(self) -> bool:
        """Whether it is a group of cgroup v2 alone."""
        return set(self.directories) == {""}

    def _file(self, controller: str, name: str) -> Path | None:
        directory = self.directories.get("" if self.is_unified else controller)
        return Path(directory, name) if directory else None

    def _set_freezer(self, *, frozen: bool) -> None:
        if self.is_unified:
            path, word = self._file("", "cgroup.freeze"), "1" if frozen else "0"
        else:
            path, word = self._file("freezer", "freezer.state"), "FROZEN" if frozen else "THAWED"
        if path is None:
            raise SystemFailure("the host has no cgroup freezer")
        with attempt("cgroup freezer"):
            path.write_text(word)

    def _kill_all(self) -> tuple[int, ...]:
        """Kill who is in it and below, and tell who that was. Blocking."""
        place = self._place()
        pids = _pids_below(place) if place else ()
        if place and pids and not (self.is_unified and _kill_tree(place)):
            found = known_hierarchies()
            for pid in pids:
                _kill_member(pid, str(place), found)
        if pids and self.is_frozen():
            self._set_freezer(frozen=False)
        return pids

    def _place(self) -> Path | None:
        """The directory by which its processes are known."""
        for controller in _FULL_CONTROLLERS:
            directory = self.directories.get(controller)
            if directory and Path(directory).is_dir():
                return Path(directory)
        return None


def _kill_tree(place: Path) -> bool:
    """All at once, those being forked too: cgroup v2 since Linux 5.14. False where the kernel can't."""
    try:
        descriptor = os.open(place / "cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(descriptor, "wb", buffering=0) as file, attempt("cgroup.kill"):
        file.write(b"1")
    return True


def _kill_member(pid: int, place: str, found: Iterable[Hierarchy]) -> None:
    """Look again once the process is held, so that no later one with the same number is hit."""
    handle = ProcessHandle.open(pid)
    if handle is not None:
        with handle:
            now = _directories(_memberships(pid), found).values()
            if any(directory == place or directory.startswith(f"{place}/") for directory in now):
                handle.send(signal.SIGKILL)


def at(path: str, found: Iterable[Hierarchy]) -> Group:
    """The group of an absolute path such as /shiplog/<id>, which every hierarchy has at the same place."""
    return Group(directories={controller: h.place(path) for h in found for controller in (h.controllers or {""})})


def give_realtime(path: str, runtime_us: int, period_us: int, found: Iterable[Hierarchy]) -> None:
    """Let a group of version 1, and those above it, have time of the real-time scheduler; each gives of its own.

    `period_us` 0 leaves the kernel's. Blocking. Raises SystemFailure. Source: scheduler/sched-rt-group.rst.
    """
    for hierarchy in found:
        if "cpu" in hierarchy.controllers:
            place = Path(hierarchy.mount_point)
            for name in Path(os.path.relpath(path, hierarchy.root)).parts:
                place /= name
                with attempt(f"real-time scheduling of {place}"):
                    place.mkdir(exist_ok=True)
                    if period_us:
                        (place / "cpu.rt_period_us").write_text(str(period_us))
                    (place / "cpu.rt_runtime_us").write_text(str(runtime_us))


def of_process(pid: int, found: Iterable[Hierarchy]) -> Group:
    """The group a process has of its own.

    Hierarchies where it is in the root, or where this process is too, are left out, so that nobody harms those.
    """
    ours, theirs = _memberships(os.getpid()), _memberships(pid)
    own = {controller: path for controller, path in theirs.items() if ours.get(controller) != path}
    return Group(directories=_directories(own, found))


def ease_next_move() -> None:
    """Move this process to the group where it is. Blocking; it takes some 10 ms after a while without moves.

    The kernel waits for a grace period of RCU at such a move, but not at those that come soon after: whoever is about
    to have a process moved has that wait beside other work.
    """
    path = _memberships(os.getpid())
    for h in known_hierarchies():
        for controller in h.controllers or {""}:
            if controller in path:
                with suppress(OSError):  # no more than an attempt
                    Path(h.place(path[controller]), "cgroup.procs").write_text(str(os.getpid()))
                return


def _directories(paths: Mapping[str, str], found: Iterable[Hierarchy]) -> dict[str, str]:
    """Controller -> directory of the group at a path, unless that is the root."""
    directories = {}
    for h in found:
        for controller in h.controllers or {""}:
            path = paths.get(controller, "/")
            if path != "/" and not path.startswith("/.."):
                directories[controller] = h.place(path)
    return directories


def _memberships(pid: int) -> dict[str, str]:
    """Controller -> path, from proc_pid_cgroup(5)."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return {}
    rows = (line.split(":", 2) for line in lines)
    return {controller: path for _, names, path in rows for controller in names.split(",")}


def _pids_below(directory: Path) -> tuple[int, ...]:
    pids: set[int] = set()
    for place, _, files in os.walk(directory):
        if "cgroup.procs" in files:
            with suppress(OSError):  # gone meanwhile, or a threaded group
                pids.update(map(int, Path(place, "cgroup.procs").read_text().split()))
    return tuple(sorted(pids))


def _read(path: Path | None) -> str:
    try:
        return path.read_text() if path else ""
    except OSError:
        return ""


def _remove_trees(directories: tuple[str, ...]) -> tuple[str, ...]:
    """Remove groups with those below them; returns those that are busy. Blocking."""
    return tuple(directory for directory in directories if not _remove_tree(Path(directory)))


def _remove_tree(directory: Path) -> bool:
    """True when it is gone. A group whose last process is being reaped is busy for a moment."""
    try:
        for place, _, _ in os.walk(directory, topdown=False):
            Path(place).rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
